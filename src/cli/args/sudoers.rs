//! The options of `sudoers`.

use std::path::PathBuf;

use clap::Args;

use super::reach::user;

/// `offshoot sudoers`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(override_usage = "offshoot sudoers [OPTIONS] --allow WHAT...")]
pub(crate) struct SudoersArgs {
    /// What it may run: commands, files, sockets, children, or the name of a function; may be repeated
    #[arg(long, value_name = "WHAT", value_delimiter = ',', required = true)]
    pub(crate) allow: Vec<String>,
    /// Who may do so: a user, or %GROUP [default: who runs this]
    #[arg(short, long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// The user that the functions run as
    #[arg(long = "as", value_name = "USER", default_value = "root", value_parser = user)]
    pub(crate) as_user: String,
    /// Where the program is on the hosts, as for --binary of run
    #[arg(long, value_name = "PATH", default_value = "/usr/local/libexec/offshoot")]
    pub(crate) binary: String,
    /// The program that is installed there, whose SHA-256 the rule has [default: this one]
    #[arg(long, value_name = "FILE")]
    pub(crate) program: Option<PathBuf>,
    /// Leave out the SHA-256, which sudo-rs does not know
    #[arg(long)]
    pub(crate) no_digest: bool,
}
