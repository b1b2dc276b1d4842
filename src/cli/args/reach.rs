//! The options that say which hosts, and how to reach them.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, Args};

use super::choosing::{ChoiceArgs, how_else};
use super::number::number;
use super::passwords::PasswordArgs;
use crate::cli::allowed::{self, Allowed};
use crate::cli::duration;
use crate::cli::hosts::path::Method;

/// Which hosts, and how to reach them.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(next_help_heading = "Hosts")]
pub(crate) struct ReachArgs {
    /// The hosts, as web[01-40,50], @GROUP, web*, bastion/web1/sudo or ^FILE; may be repeated
    #[arg(short = 'w', long, value_name = "HOSTS", required_unless_present_any = how_else())]
    pub(crate) hosts: Vec<String>,
    #[command(flatten)]
    pub(crate) choosing: ChoiceArgs,
    /// Reach all of them through this path
    #[arg(long, value_name = "PATH")]
    #[arg(hide_short_help = true)]
    pub(crate) via: Option<String>,
    /// How many hosts at once
    #[arg(short, long, value_name = "N", default_value_t = 32, value_parser = number(1, 10_000_u32))]
    pub(crate) fanout: u32,
    /// How long each hop may take to connect
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration::parse)]
    #[arg(hide_short_help = true)]
    pub(crate) connect_timeout: Duration,
    #[command(flatten)]
    pub(crate) becoming: BecomeArgs,
    #[command(flatten)]
    pub(crate) image: ImageArgs,
    /// Keep the connections for this long after the run, as 10m; later commands to the same hosts use them
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    #[arg(hide_short_help = true)]
    pub(crate) keep: Option<Duration>,
    /// The socket of a keeper that `with` has started
    #[arg(skip)]
    pub(crate) kept_at: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) least: LeastArgs,
    #[command(flatten)]
    pub(crate) passwords: PasswordArgs,
    #[command(flatten)]
    pub(crate) ssh: SshArgs,
}

/// The user that is taken on a host.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct BecomeArgs {
    /// Become this user on each host, root if none is named
    #[arg(short = 'b', long = "become", value_name = "USER", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "root", value_parser = user)]
    pub(crate) become_user: Option<String>,
    /// How to become that user
    #[arg(long, value_name = "METHOD", default_value = "sudo", value_parser = become_method())]
    #[arg(hide_short_help = true)]
    pub(crate) become_method: Method,
}

/// The copy of the program that runs at a hop.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct ImageArgs {
    /// Keep the image on the hosts, below ~/.cache, so that it is sent once; its hash is checked at every use
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true)]
    #[arg(default_value = "false", default_missing_value = "true", hide_default_value = true)]
    #[arg(hide_possible_values = true, action = ArgAction::Set)]
    #[arg(hide_short_help = true)]
    pub(crate) cache: bool,
    /// Send nothing: run this copy of the program, which is there already, at each hop (all but fork)
    #[arg(long, value_name = "PATH", conflicts_with = "cache")]
    #[arg(hide_short_help = true)]
    pub(crate) binary: Option<String>,
    /// Send no image: a host that has none, by --binary or --cache, is unreachable
    #[arg(long)]
    #[arg(hide_short_help = true)]
    pub(crate) no_upload: bool,
}

/// What hosts may do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Args)]
pub(crate) struct LeastArgs {
    /// Let hosts run these functions only: commands, files, sockets, children, or names of functions; may be repeated
    #[arg(long, value_name = "WHAT", value_delimiter = ',', value_parser = allowed::parse)]
    #[arg(hide_short_help = true)]
    pub(crate) allow: Vec<Allowed>,
}

/// What is passed on to ssh. Options of a host's own, as in `deploy@web1:2222`,
/// come before these.
#[derive(Debug, Clone, PartialEq, Eq, Default, Args)]
#[command(next_help_heading = "Options passed to ssh")]
pub(crate) struct SshArgs {
    /// Configuration file
    #[arg(short = 'F', long, value_name = "FILE")]
    #[arg(hide_short_help = true)]
    pub(crate) ssh_config: Option<PathBuf>,
    /// An option as in the configuration file; may be repeated
    #[arg(short = 'o', long, value_name = "OPT")]
    #[arg(hide_short_help = true)]
    pub(crate) ssh_option: Vec<OsString>,
    /// Jump through these hosts
    #[arg(short = 'J', long, value_name = "DEST")]
    #[arg(hide_short_help = true)]
    pub(crate) jump: Option<OsString>,
    /// Port
    #[arg(short = 'p', long, value_parser = number(1, u16::MAX))]
    #[arg(hide_short_help = true)]
    pub(crate) port: Option<u16>,
    /// User to log in as
    #[arg(short = 'l', long, value_name = "USER")]
    #[arg(hide_short_help = true)]
    pub(crate) login: Option<OsString>,
    /// File with a private key; may be repeated
    #[arg(short = 'i', long, value_name = "FILE")]
    #[arg(hide_short_help = true)]
    pub(crate) identity: Vec<PathBuf>,
}

impl SshArgs {
    /// Whether any option is given. Its value may name a file.
    pub(crate) fn has_any(&self) -> bool {
        *self != Self::default()
    }

    /// The options as ssh, and the tool itself, take them.
    pub(crate) fn to_argv(&self) -> Vec<OsString> {
        let mut argv = Vec::new();
        let mut push = |option: &str, value: &OsStr| {
            let mut word = OsString::from(option);
            if value.as_encoded_bytes().starts_with(b"-") {
                // In one word, or the tool takes it for an option.
                word.push(value);
                argv.push(word);
            } else {
                argv.extend([word, value.to_owned()]);
            }
        };
        self.ssh_config.iter().for_each(|file| push("-F", file.as_os_str()));
        self.ssh_option.iter().for_each(|option| push("-o", option));
        self.jump.iter().for_each(|jump| push("-J", jump));
        self.port.iter().for_each(|port| push("-p", OsStr::new(&port.to_string())));
        self.login.iter().for_each(|login| push("-l", login));
        self.identity.iter().for_each(|file| push("-i", file.as_os_str()));
        argv
    }
}

fn become_method() -> impl TypedValueParser<Value = Method> {
    let names = PossibleValuesParser::new(Method::BECOMING.map(Method::as_str));
    names.map(|name| Method::by_name(&name).unwrap_or(Method::Sudo))
}

pub(super) fn user(name: &str) -> Result<String, String> {
    if name.is_empty() || name.starts_with('-') || name.contains(char::is_control) {
        return Err("this is not the name of a user".into());
    }
    Ok(name.to_owned())
}
