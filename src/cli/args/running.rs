//! The options of `run` and `call` about the order, the attempts and the end of a run.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::number::number;
use crate::cli::batches::Batches;
use crate::cli::duration;
use crate::cli::question::AskAbove;
use crate::cli::share::Share;

/// In which order hosts are started, how often, and what stops the run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Args)]
#[command(next_help_heading = "Running")]
pub(crate) struct RunningArgs {
    /// Start hosts in batches, each when the one before is done: sizes as 10, or 1,10%,rest; the last one repeats
    #[arg(long, value_name = "SIZES", value_parser = Batches::parse)]
    #[arg(hide_short_help = true)]
    pub(crate) batch: Option<Batches>,
    /// Start no more hosts when more than this many have failed, as 3 or 10%
    #[arg(long, value_name = "N", value_parser = Share::parse)]
    #[arg(hide_short_help = true)]
    pub(crate) max_fail: Option<Share>,
    /// Try a host that could not be reached up to this many times again
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = number(0, 100_u32))]
    #[arg(hide_short_help = true)]
    pub(crate) retries: u32,
    /// What to try again: failed connects only, or all that fails, also commands
    #[arg(long, value_name = "WHAT", default_value = "connect", requires = "retries")]
    #[arg(hide_short_help = true)]
    pub(crate) retry_on: RetryOn,
    /// Stop the whole run after this time, as 30 (seconds) or 5m
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    #[arg(hide_short_help = true)]
    pub(crate) deadline: Option<Duration>,
    /// Print what would be run where, and connect to nothing
    #[arg(long, conflicts_with_all = ["json", "jsonl"])]
    pub(crate) dry_run: bool,
    /// Do not ask whether to run on many hosts
    #[arg(short, long)]
    #[arg(hide_short_help = true)]
    pub(crate) yes: bool,
    /// Ask before a run on more hosts than this, if there is a terminal; never for never
    #[arg(long, value_name = "N", default_value = "50", value_parser = AskAbove::parse, hide_short_help = true)]
    pub(crate) ask_above: AskAbove,
    /// Write the output of each host to DIR/HOST.out and DIR/HOST.err, too; or, with %h or %n for the host in it, to
    /// DIR.out and DIR.err
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    #[arg(hide_short_help = true)]
    pub(crate) outdir: Option<PathBuf>,
    /// Replace files of --outdir that exist
    #[arg(long, requires = "outdir", help_heading = "Output")]
    #[arg(hide_short_help = true)]
    pub(crate) overwrite: bool,
}

/// What is tried again: with `Connect`, hosts that could not be reached, so that nothing was run there; with `All`,
/// also commands that failed, were too slow, or lost their connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum RetryOn {
    // Documentation of the values would make the help of all options long.
    #[default]
    Connect,
    All,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::args::{Cli, ToolCommand};

    fn parsed(words: &[&str]) -> Result<RunningArgs, String> {
        let line = [&["offshoot", "run", "-w", "a"], words, &["--", "true"]].concat();
        match Cli::try_parse_from(line).map_err(|error| error.to_string())?.command {
            ToolCommand::Run(args) => Ok(args.running),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn without_options_all_hosts_start_once() {
        assert_eq!(parsed(&[]), Ok(RunningArgs::default()));
    }

    #[test]
    fn the_options_are_taken_by_run_and_call() {
        let words =
            ["--batch", "1,10%,rest", "--max-fail", "5%", "--retries", "2", "--retry-on", "all", "--deadline", "5m"];
        let args = parsed(&words).unwrap();
        assert_eq!(args.batch, Some(Batches::parse("1,10%,rest").unwrap()));
        assert_eq!(args.max_fail, Some(Share::Percent(5)));
        assert_eq!((args.retries, args.retry_on), (2, RetryOn::All));
        assert_eq!(args.deadline, Some(Duration::from_secs(300)));
        let line = [&["offshoot", "call", "-w", "a"], &words[..], &["f"]].concat();
        let ToolCommand::Call(call) = Cli::try_parse_from(line).unwrap().command else { panic!() };
        assert_eq!(call.running, args);
    }

    #[test]
    fn other_values_are_refused_with_the_option_and_what_it_takes() {
        for (words, says) in [
            (&["--batch", "few"][..], "write 3 or 10%, or a list such as 1,10%,rest"),
            (&["--batch", "0"], "at least one host"),
            (&["--max-fail", "some"], "write 3 or 10%"),
            (&["--retries", "many"], "write a number from 0 to 100"),
            (&["--retries", "101"], "write a number from 0 to 100"),
            (&["--retries", "1", "--retry-on", "never"], "[possible values: connect, all]"),
            (&["--deadline", "soon"], "write 30s"),
            (&["--dry-run", "--json"], "cannot be used with"),
        ] {
            let error = parsed(words).unwrap_err();
            assert!(error.contains(words[words.len() - 2]) && error.contains(says), "{words:?}: {error}");
        }
        assert!(parsed(&["--retry-on", "all"]).unwrap_err().contains("--retries <N>"));
        assert!(parsed(&["--overwrite"]).unwrap_err().contains("--outdir <DIR>"));
    }
}
