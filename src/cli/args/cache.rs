//! The command line of `offshoot cache`.

use clap::{Args, ValueEnum};

use super::ReachArgs;

/// `offshoot cache`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(override_usage = CACHE_USAGE, after_help = CACHE_HELP, mut_arg("cache", |cache| cache.hide(true)))]
#[command(mut_arg("keep", |keep| keep.hide(true)))]
pub(crate) struct CacheArgs {
    /// ls lists the images; purge removes them
    #[arg(value_name = "ls|purge", hide_possible_values = true)]
    pub(crate) what: What,
    /// With purge, leave the images that this program sends
    #[arg(long)]
    pub(crate) old: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    // Last, since the heading of a group holds for all that follow.
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

const CACHE_USAGE: &str = "offshoot cache ls [OPTIONS] -w HOSTS
       offshoot cache purge [--old] [OPTIONS] -w HOSTS";

pub(super) const CACHE_HELP: &str = "\
An image that this program sends is marked `current`. The command itself puts nothing into the
cache. What a host keeps is that of the user at the end of its path: -b or web1/sudo is root's.

Examples:
  offshoot cache ls -w 'web[1-9]'
  offshoot cache purge --old -w 'web[1-9],web[1-9]/sudo'";

/// What is done with the images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    Ls,
    Purge,
}
