//! The command line of `offshoot shell`.

use std::ffi::OsString;

use clap::Args;

use super::ReachArgs;
use super::help::{SHELL_HELP, SHELL_USAGE};
use super::rsh::WayArgs;
use crate::cli::shell::escape;

/// `offshoot shell`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = SHELL_HELP, override_usage = SHELL_USAGE)]
pub(crate) struct ShellArgs {
    /// The host, with all hops that lead to it, as bastion/web1/sudo
    #[arg(value_name = "HOST")]
    pub(crate) host: String,
    /// The command and its arguments [default: the login shell of the user]
    #[arg(value_name = "CMD", last = true)]
    pub(crate) argv: Vec<OsString>,
    /// The character that begins a word for the tool at the start of a line; none for none
    #[arg(short, long, value_name = "CHAR", default_value = "~", value_parser = character)]
    pub(crate) escape: EscapeCharacter,
    /// Reach it through this path
    #[arg(long, value_name = "PATH")]
    pub(crate) via: Option<String>,
    #[command(flatten)]
    pub(crate) way: WayArgs,
}

/// The escape character, if there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EscapeCharacter(pub(crate) Option<u8>);

pub(super) fn character(text: &str) -> Result<EscapeCharacter, String> {
    escape::character(text).map(EscapeCharacter)
}

impl ShellArgs {
    pub(crate) fn reach(&self) -> ReachArgs {
        ReachArgs { hosts: vec![self.host.clone()], via: self.via.clone(), ..self.way.reach() }
    }
}
