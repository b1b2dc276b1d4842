//! The options of `doctor`.

use std::time::Duration;

use clap::Args;

use super::ReachArgs;
use super::choosing::ChoiceArgs;
use super::passwords::PasswordArgs;
use super::reach::{LeastArgs, SshArgs, become_method, user};
use crate::cli::duration;
use crate::cli::hosts::path::Method;

/// `offshoot doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct DoctorArgs {
    /// The host, with all hops that lead to it, as bastion/web1
    #[arg(value_name = "HOST")]
    pub(crate) host: String,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// The inventory that has the host; may be repeated
    #[arg(short = 'I', long, value_name = "PATH")]
    pub(crate) inventory: Vec<String>,
    /// Become this user there, root if none is named
    #[arg(short = 'b', long = "become", value_name = "USER", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "root", value_parser = user)]
    pub(crate) become_user: Option<String>,
    /// How to become that user
    #[arg(long, value_name = "METHOD", default_value = "sudo", value_parser = become_method())]
    #[arg(hide_short_help = true)]
    pub(crate) become_method: Method,
    /// How long each hop may take to connect
    #[arg(long, value_name = "TIME", default_value = "4s", value_parser = duration::parse)]
    #[arg(hide_short_help = true)]
    pub(crate) connect_timeout: Duration,
    /// As for run
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true)]
    #[arg(default_value = "false", default_missing_value = "true", hide_default_value = true)]
    #[arg(hide_possible_values = true, action = clap::ArgAction::Set)]
    #[arg(hide_short_help = true)]
    pub(crate) cache: bool,
    /// As for run
    #[arg(long, value_name = "PATH", conflicts_with = "cache")]
    #[arg(hide_short_help = true)]
    pub(crate) binary: Option<String>,
    #[command(flatten)]
    pub(crate) least: LeastArgs,
    #[command(flatten)]
    pub(crate) passwords: PasswordArgs,
    #[command(flatten)]
    pub(crate) ssh: SshArgs,
}

impl DoctorArgs {
    pub(crate) fn reach(&self) -> ReachArgs {
        ReachArgs {
            hosts: vec![self.host.clone()],
            choosing: ChoiceArgs { inventory: self.inventory.clone(), ..ChoiceArgs::default() },
            via: None,
            fanout: 1,
            connect_timeout: self.connect_timeout,
            become_user: self.become_user.clone(),
            become_method: self.become_method,
            cache: self.cache,
            keep: None,
            kept_at: None,
            binary: self.binary.clone(),
            least: self.least.clone(),
            passwords: self.passwords.clone(),
            ssh: self.ssh.clone(),
        }
    }
}
