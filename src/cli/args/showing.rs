//! The options of `run` and `call` about how the output of many hosts is shown.

use clap::{Args, ValueEnum};

/// What is shown of the hosts, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct ShowingArgs {
    /// Show output at the end, equal output once, with its hosts above it
    #[arg(short = 'B', long, conflicts_with_all = ["json", "jsonl"])]
    #[arg(hide_short_help = true)]
    pub(crate) gather: bool,
    /// Show at the end how the output of other hosts differs from that of most
    #[arg(long, conflicts_with_all = ["json", "jsonl"])]
    #[arg(hide_short_help = true)]
    pub(crate) diff: bool,
    /// Whether lines that several hosts print at about the same time are shown once [default: on a terminal]
    #[arg(long, value_name = "WHEN", default_value = "auto", hide_default_value = true)]
    #[arg(hide_short_help = true)]
    pub(crate) fold: Fold,
    /// Begin each line with the local time
    #[arg(long, conflicts_with_all = ["json", "jsonl", "gather"])]
    #[arg(hide_short_help = true)]
    pub(crate) timestamps: bool,
    /// Show output and failures only: no summary, no progress
    #[arg(short, long, conflicts_with = "json")]
    pub(crate) quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Fold {
    #[default]
    Auto,
    Always,
    Never,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::args::{Cli, ToolCommand};

    fn parsed(words: &[&str]) -> Result<ShowingArgs, String> {
        let line = [&["offshoot", "run", "-w", "a"], words, &["--", "true"]].concat();
        match Cli::try_parse_from(line).map_err(|error| error.to_string())?.command {
            ToolCommand::Run(args) => Ok(args.output.showing),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn the_options_are_taken_together() {
        let args = parsed(&["-Bq", "--diff", "--fold", "never"]).unwrap();
        assert!(args.gather && args.quiet && args.diff && args.fold == Fold::Never && !args.timestamps);
        assert_eq!(parsed(&[]), Ok(ShowingArgs::default()));
        assert!(parsed(&["--timestamps", "--diff"]).unwrap().timestamps);
    }

    #[test]
    fn what_has_no_meaning_together_is_refused() {
        for words in
            [&["-B", "--json"][..], &["--jsonl", "--diff"], &["--timestamps", "--json"], &["-B", "--timestamps"]]
        {
            let error = parsed(words).unwrap_err();
            assert!(error.contains("cannot be used with"), "{words:?}: {error}");
        }
        assert!(parsed(&["--fold", "often"]).unwrap_err().contains("[possible values: auto, always, never]"));
    }
}
