//! The command line of `offshoot shell`.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;

use super::choosing::ChoiceArgs;
use super::help::{SHELL_HELP, SHELL_USAGE};
use super::{ReachArgs, SshArgs, become_method, user};
use crate::cli::duration;
use crate::cli::hosts::path::Method;
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
    /// The inventory that has the host; may be repeated
    #[arg(short = 'I', long, value_name = "PATH")]
    pub(crate) inventory: Vec<String>,
    /// Reach it through this path
    #[arg(long, value_name = "PATH")]
    pub(crate) via: Option<String>,
    /// How long each hop may take to connect
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration::parse)]
    pub(crate) connect_timeout: Duration,
    /// Become this user on the host, root if none is named
    #[arg(short = 'b', long = "become", value_name = "USER", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "root", value_parser = user)]
    pub(crate) become_user: Option<String>,
    /// How to become that user
    #[arg(long, value_name = "METHOD", default_value = "sudo", value_parser = become_method())]
    pub(crate) become_method: Method,
    /// Ask for the password of sudo, su or doas
    #[arg(short = 'K', long)]
    pub(crate) ask_become_pass: bool,
    /// Ask for the password of ssh
    #[arg(long)]
    pub(crate) ask_pass: bool,
    /// As for run
    #[arg(long)]
    pub(crate) cache: bool,
    /// As for run
    #[arg(long, value_name = "PATH", conflicts_with = "cache")]
    pub(crate) binary: Option<String>,
    #[command(flatten)]
    pub(crate) ssh: SshArgs,
}

/// The escape character, if there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EscapeCharacter(pub(crate) Option<u8>);

fn character(text: &str) -> Result<EscapeCharacter, String> {
    escape::character(text).map(EscapeCharacter)
}

impl ShellArgs {
    pub(crate) fn reach(&self) -> ReachArgs {
        ReachArgs {
            hosts: vec![self.host.clone()],
            choosing: ChoiceArgs { inventory: self.inventory.clone(), ..ChoiceArgs::default() },
            via: self.via.clone(),
            fanout: 1,
            connect_timeout: self.connect_timeout,
            become_user: self.become_user.clone(),
            become_method: self.become_method,
            ask_become_pass: self.ask_become_pass,
            ask_pass: self.ask_pass,
            cache: self.cache,
            binary: self.binary.clone(),
            ssh: self.ssh.clone(),
        }
    }
}
