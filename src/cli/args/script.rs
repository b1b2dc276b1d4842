//! The command line of `offshoot script`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::help::{SCRIPT_EXAMPLES, SCRIPT_FEW_EXAMPLES, SCRIPT_USAGE};
use super::running::RunningArgs;
use super::{OutputArgs, ReachArgs, Variable, variable_parser};
use crate::cli::duration;

/// `offshoot script`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = SCRIPT_FEW_EXAMPLES, after_long_help = SCRIPT_EXAMPLES, override_usage = SCRIPT_USAGE)]
pub(crate) struct ScriptArgs {
    /// How long the script may run on each host, as 30 (seconds) or 5m [default: no limit]
    #[arg(short, long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) timeout: Option<Duration>,
    /// Run in this directory [default: where the login begins]
    #[arg(short = 'C', long, value_name = "DIR")]
    pub(crate) chdir: Option<PathBuf>,
    /// Set an environment variable on the hosts; NAME alone passes on its value here; may be repeated
    #[arg(short, long, value_name = "NAME[=VALUE]", value_parser = variable_parser())]
    #[arg(hide_short_help = true)]
    pub(crate) env: Vec<Variable>,
    /// Give the scripts no input; by default they get stdin, unless it is a terminal
    #[arg(short, long)]
    pub(crate) no_stdin: bool,
    /// The script, a file here or - for stdin, and the arguments for it
    #[arg(value_name = "FILE", trailing_var_arg = true, required = true)]
    pub(crate) argv: Vec<OsString>,
    // Last, since the heading of a group holds for all that follow.
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
    #[command(flatten)]
    pub(crate) running: RunningArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
