//! The options that say where passwords come from. "pass" is the password of ssh, "become pass" that of sudo, su and
//! doas. Of each kind there is at most one source on the command line. It takes the place of that of the configuration.

use std::ffi::OsStr;
use std::os::fd::RawFd;
use std::path::PathBuf;

use clap::Args;
use clap::builder::{ArgPredicate, PathBufValueParser, TypedValueParser};

use super::number::number;
use crate::cli::config::Config;
use crate::sys::process::inherited;

/// Where the passwords come from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Args)]
#[command(next_help_heading = "Passwords")]
pub(crate) struct PasswordArgs {
    /// Ask once for the password of sudo, su or doas
    #[arg(short = 'K', long, conflicts_with_all = ["become_pass_file", "become_pass_command", "become_pass_fd"])]
    pub(crate) ask_become_pass: bool,
    /// Take that password from the first line of a file that only its owner can read
    #[arg(long, value_name = "FILE", value_parser = file(), hide_short_help = true)]
    #[arg(conflicts_with_all = ["become_pass_command", "become_pass_fd"], default_value_ifs = [
        ("ask_become_pass", ArgPredicate::from("true"), None::<&str>),
        ("become_pass_command", ArgPredicate::IsPresent, None),
        ("become_pass_fd", ArgPredicate::IsPresent, None),
    ])]
    pub(crate) become_pass_file: Option<PathBuf>,
    /// Take that password from the first line that this command prints; sh runs it once, on this machine
    #[arg(long, value_name = "CMD", conflicts_with = "become_pass_fd", hide_short_help = true)]
    #[arg(default_value_ifs = [
        ("ask_become_pass", ArgPredicate::from("true"), None::<&str>),
        ("become_pass_file", ArgPredicate::IsPresent, None),
        ("become_pass_fd", ArgPredicate::IsPresent, None),
    ])]
    pub(crate) become_pass_command: Option<String>,
    /// Take that password from the next line of this open descriptor; 0 is stdin
    #[arg(long, value_name = "N", value_parser = number(0, MAX_FD), hide_short_help = true)]
    pub(crate) become_pass_fd: Option<RawFd>,
    /// Ask once for the password of ssh
    #[arg(long, conflicts_with_all = ["pass_file", "pass_command", "pass_fd"])]
    #[arg(hide_short_help = true)]
    pub(crate) ask_pass: bool,
    /// Take the password of ssh from the first line of a file that only its owner can read
    #[arg(long, value_name = "FILE", value_parser = file(), hide_short_help = true)]
    #[arg(conflicts_with_all = ["pass_command", "pass_fd"], default_value_ifs = [
        ("ask_pass", ArgPredicate::from("true"), None::<&str>),
        ("pass_command", ArgPredicate::IsPresent, None),
        ("pass_fd", ArgPredicate::IsPresent, None),
    ])]
    pub(crate) pass_file: Option<PathBuf>,
    /// Take the password of ssh from the first line that this command prints
    #[arg(long, value_name = "CMD", conflicts_with = "pass_fd", hide_short_help = true)]
    #[arg(default_value_ifs = [
        ("ask_pass", ArgPredicate::from("true"), None::<&str>),
        ("pass_file", ArgPredicate::IsPresent, None),
        ("pass_fd", ArgPredicate::IsPresent, None),
    ])]
    pub(crate) pass_command: Option<String>,
    /// Take the password of ssh from the next line of this open descriptor; it is read before that of sudo
    #[arg(long, value_name = "N", value_parser = number(0, MAX_FD), hide_short_help = true)]
    pub(crate) pass_fd: Option<RawFd>,
}

impl PasswordArgs {
    /// The option of the command line that says where the password of sudo, su or doas comes from.
    pub(crate) fn asks_to_become(&self, config: &Config) -> Option<&'static str> {
        let is_typed = |option: &str, value: &OsStr| !config.has_default(option, value);
        let file = self.become_pass_file.as_ref().map(|file| file.as_os_str());
        let command = self.become_pass_command.as_ref().map(OsStr::new);
        [
            ("-K", "ask-become-pass", self.ask_become_pass.then_some(OsStr::new("true"))),
            ("--become-pass-file", "become-pass-file", file),
            ("--become-pass-command", "become-pass-command", command),
        ]
        .into_iter()
        .find_map(|(shown, option, value)| value.filter(|value| is_typed(option, value)).map(|_| shown))
        // A descriptor is of one process, and no default.
        .or_else(|| self.become_pass_fd.map(|_| "--become-pass-fd"))
    }

    /// Lets no process inherit the descriptors with passwords, not even the programs that print inventories.
    pub(crate) fn keep_descriptors(&self) {
        // One that is not open is told when it is read.
        self.pass_fd.iter().chain(&self.become_pass_fd).for_each(|fd| drop(inherited(*fd)));
    }
}

/// No system has more open files in a process.
const MAX_FD: RawFd = 1 << 30;

fn file() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| match path.as_os_str().as_encoded_bytes() {
        b"-" => Err(
            "write the name of a file; to read a line of stdin, give the descriptor 0 by --pass-fd or --become-pass-fd",
        ),
        _ => Ok(path),
    })
}
