//! The commands that tell about the tool itself: help, completions and manual pages.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli::help_topics::names_of_topics;

/// `offshoot help`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct HelpArgs {
    /// A topic or a command [default: the list of both]
    #[arg(value_name = "TOPIC", help = help_of_topic())]
    pub(crate) topic: Option<String>,
}

fn help_of_topic() -> String {
    format!("A command, or one of the topics {}", names_of_topics())
}

/// `offshoot completions`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = COMPLETIONS_HELP)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: Shell,
}

const COMPLETIONS_HELP: &str = "\
Put one of these lines into the file that the shell reads at its start:
  bash, ~/.bashrc:                    source <(offshoot completions bash)
  zsh, ~/.zshrc, behind compinit:     source <(offshoot completions zsh)
  fish, ~/.config/fish/config.fish:   offshoot completions fish | source";

/// A shell with completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// `offshoot __complete`, which the scripts of `offshoot completions` call.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct CompleteArgs {
    /// `bash`, the line up to the cursor, and the word that bash replaces; or `words`, and the words up to the
    /// cursor
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) words: Vec<OsString>,
}

/// `offshoot man`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = MAN_HELP)]
pub(crate) struct ManArgs {
    /// The command whose page is printed [default: offshoot itself]
    #[arg(value_name = "COMMAND")]
    pub(crate) command: Option<String>,
    /// Write the pages of all commands into this directory
    #[arg(short, long, value_name = "DIR", conflicts_with = "command")]
    pub(crate) output: Option<PathBuf>,
}

const MAN_HELP: &str = "\
Examples:
  offshoot man run | man -l -
  offshoot man --output ~/.local/share/man/man1";
