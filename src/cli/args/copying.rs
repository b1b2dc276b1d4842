//! The command lines of `offshoot push` and `offshoot pull`.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;

use super::help::{PULL_FEW_EXAMPLES, PULL_HELP, PULL_USAGE, PUSH_FEW_EXAMPLES, PUSH_HELP, PUSH_USAGE};
use super::number::number;
use super::running::RunningArgs;
use super::{OutputArgs, ReachArgs};
use crate::cli::batches::Batches;
use crate::cli::duration;
use crate::cli::question::AskAbove;
use crate::cli::share::Share;

/// `offshoot push`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
// For rsync -a means something else than all hosts.
#[command(after_help = PUSH_FEW_EXAMPLES, after_long_help = PUSH_HELP, override_usage = PUSH_USAGE, mut_arg("all", |all| all.short(None)))]
pub(crate) struct PushArgs {
    #[command(flatten)]
    pub(crate) copying: CopyingArgs,
    /// As root, leave new files to root; by default the user and group of the same names own the copies
    #[arg(long)]
    #[arg(hide_short_help = true)]
    pub(crate) no_owner: bool,
    /// Files and directories here, and then the place on the hosts
    #[arg(value_name = "PATH", required = true)]
    pub(crate) paths: Vec<OsString>,
    // Last, since the heading of a group holds for all that follow.
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `offshoot pull`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = PULL_FEW_EXAMPLES, after_long_help = PULL_HELP, override_usage = PULL_USAGE, mut_arg("all", |all| all.short(None)))]
pub(crate) struct PullArgs {
    #[command(flatten)]
    pub(crate) copying: CopyingArgs,
    /// Files and directories on the hosts, and then a directory here, which gets one directory for each host
    #[arg(value_name = "PATH", required = true)]
    pub(crate) paths: Vec<OsString>,
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// What is copied, and how.
#[derive(Debug, Clone, PartialEq, Eq, Default, Args)]
pub(crate) struct CopyingArgs {
    /// Delete from the directories that are copied what the source does not have
    #[arg(long)]
    pub(crate) delete: bool,
    /// Compare, print what would be written and deleted, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Leave out files and directories that match, as '*.o', 'cache/' or 'doc/*.txt'; may be repeated
    #[arg(long, value_name = "GLOB")]
    pub(crate) exclude: Vec<String>,
    /// Compare files by their content, and not by size and time
    #[arg(long)]
    #[arg(hide_short_help = true)]
    pub(crate) checksum: bool,
    /// The most bytes in a second, for all hosts together, as 500K or 10M
    #[arg(long, value_name = "RATE", value_parser = rate)]
    #[arg(hide_short_help = true)]
    pub(crate) bwlimit: Option<u64>,
    /// How long the copy may take on each host, as 30 (seconds) or 5m [default: no limit]
    #[arg(short, long, value_name = "TIME", value_parser = duration::parse)]
    #[arg(hide_short_help = true)]
    pub(crate) timeout: Option<Duration>,
    /// As for run
    #[arg(long, value_name = "SIZES", value_parser = Batches::parse)]
    #[arg(hide_short_help = true)]
    pub(crate) batch: Option<Batches>,
    /// As for run
    #[arg(long, value_name = "N", value_parser = Share::parse)]
    #[arg(hide_short_help = true)]
    pub(crate) max_fail: Option<Share>,
    /// Try a host that could not be reached or was lost up to this many times again; the copy then goes on
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = number(0, 100_u32))]
    #[arg(hide_short_help = true)]
    pub(crate) retries: u32,
    /// As for run
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    #[arg(hide_short_help = true)]
    pub(crate) deadline: Option<Duration>,
    /// Do not ask whether to copy to or from many hosts
    #[arg(short, long)]
    #[arg(hide_short_help = true)]
    pub(crate) yes: bool,
    /// As for run
    #[arg(long, value_name = "N", default_value = "50", value_parser = AskAbove::parse, hide_short_help = true)]
    pub(crate) ask_above: AskAbove,
}

impl CopyingArgs {
    /// The options that hold for every run.
    pub(crate) fn running(&self) -> RunningArgs {
        RunningArgs {
            batch: self.batch.clone(),
            max_fail: self.max_fail,
            retries: self.retries,
            deadline: self.deadline,
            yes: self.yes,
            ask_above: self.ask_above,
            ..RunningArgs::default()
        }
    }
}

/// A number of bytes, with `K`, `M` or `G` for powers of 1024.
fn rate(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1 << 10),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 1 << 20),
        Some(b'g' | b'G') => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    let number = digits.parse().ok().and_then(|number: u64| number.checked_mul(unit)).filter(|number| *number > 0);
    number.ok_or_else(|| "write bytes in a second, as 65536, 500K or 10M".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_units() {
        for (text, bytes) in [("1", 1), ("500K", 512_000), ("10m", 10 << 20), ("2G", 2 << 30)] {
            assert_eq!(rate(text), Ok(bytes), "{text}");
        }
        for text in ["", "0", "K", "-1", "1.5M", "99999999999G", "10MB"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }
}
