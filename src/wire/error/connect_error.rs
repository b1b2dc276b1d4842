//! The error of a connect.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::wire::connect_trace::ConnectTrace;

/// A connection could not be made, or was lost while it was being made.
///
/// Its text is the hop, what happened, what to do about it, and the last lines
/// of the far side.
///
/// [`Error`](crate::Error) has an example.
#[doc(alias = "StreamError")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ConnectError {
    /// What kind of failure it is.
    pub kind: ConnectErrorKind,
    /// The phase that the connection had reached.
    pub phase: Phase,
    /// The hop that failed, as `ssh.web1` or `local`.
    pub hop: String,
    /// What happened.
    pub text: String,
    /// What to do about it. Empty if nothing is known.
    pub advice: String,
    /// The last lines that the other side has printed, at most 100. Control characters are removed.
    pub tail: Vec<String>,
    /// What the connect had observed until then.
    pub trace: Box<ConnectTrace>,
    /// A finer reason, where code of this crate depends on it.
    pub(crate) cause: ConnectCause,
}

impl ConnectError {
    /// Creates an error without advice or recorded output.
    pub fn new(kind: ConnectErrorKind, phase: Phase, hop: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            kind,
            phase,
            hop: hop.into(),
            text: text.into(),
            advice: String::new(),
            tail: Vec::new(),
            trace: Box::default(),
            cause: ConnectCause::default(),
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn with_advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = advice.into();
        self
    }

    pub(crate) fn with_cause(mut self, cause: ConnectCause) -> Self {
        self.cause = cause;
        self
    }

    /// Whether the server has closed the connection before the login. sshd does that while it has
    /// too many unfinished logins (MaxStartups), and for a while after logins from the same address have failed
    /// (PerSourcePenalties). So another attempt may succeed later.
    pub fn was_turned_away(&self) -> bool {
        matches!(self.cause, ConnectCause::TurnedAway | ConnectCause::Banned)
    }

    /// Whether the server has said that it refuses this address for a while.
    #[cfg(feature = "cli")]
    pub(crate) fn is_banned(&self) -> bool {
        self.cause == ConnectCause::Banned
    }

    /// Whether ssh was told to be quiet and may know a reason that it has not printed.
    #[cfg(feature = "cli")]
    pub(crate) fn is_unexplained(&self) -> bool {
        self.cause == ConnectCause::Unexplained
    }

    /// Whether the time was over after ssh had logged in.
    #[cfg(feature = "cli")]
    pub(crate) fn has_logged_in(&self) -> bool {
        self.cause == ConnectCause::LoggedIn
    }

    /// What happened and what to do about it, in one line.
    pub fn text_with_advice(&self) -> String {
        joined(&self.text, &self.advice)
    }
}

/// What happened, followed by what to do about it.
pub(crate) fn joined(text: &str, advice: &str) -> String {
    match (text, advice) {
        (one, "") | ("", one) => one.to_owned(),
        _ => format!("{text}; {advice}"),
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.hop, self.text_with_advice())?;
        for line in &self.tail {
            write!(f, "\n    {line}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConnectError {}

/// The reason of a [`ConnectError`], where a decision depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) enum ConnectCause {
    /// The kind is all that is known.
    #[default]
    Plain,
    /// The server has too many logins under way.
    TurnedAway,
    /// The server refuses this address for a while.
    Banned,
    /// The command was not found there: a shell for the first stage, or the program that `binary` names.
    NoShell,
    /// The machine lacks a tool that the first stage needs.
    NoTool,
    /// ssh has ended. If the server has sent a reason, ssh has not shown it.
    Unexplained,
    /// ssh has logged in, and nothing has come from the machine.
    LoggedIn,
    /// SIGKILL has ended what should have become a child.
    Killed,
}

/// The kinds of [`ConnectError`].
///
/// [`Error`](crate::Error) has an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ConnectErrorKind {
    /// The launcher (`ssh`, `sudo`, ...) could not be started.
    Start,
    /// A password is needed or was refused.
    #[doc(alias = "PasswordError")]
    Password,
    /// The host key is unknown or has changed.
    #[doc(alias = "HostKeyError")]
    HostKey,
    /// The login was refused for another reason.
    Auth,
    /// The connection ended before the child was up.
    #[doc(alias = "EofError")]
    Eof,
    /// The time for the whole connect has passed.
    Timeout,
    /// The router began to shut down.
    #[doc(alias = "CancelledError")]
    Cancelled,
    /// There is no image for the machine.
    Unsupported,
    /// No place on the machine can hold and execute the image.
    NoPlace,
    /// The image could not be read, packed or fetched.
    Image,
    /// The child is another build or another program, or not the child that was asked for.
    Mismatch,
    /// The bytes that arrived are not what was sent.
    Corrupt,
    /// An item is larger than its limit.
    Oversize,
}

impl ConnectErrorKind {
    /// The kind in lower case, as in the tool's JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Password => "password",
            Self::HostKey => "host_key",
            Self::Auth => "auth",
            Self::Eof => "eof",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Unsupported => "unsupported",
            Self::NoPlace => "no_place",
            Self::Image => "image",
            Self::Mismatch => "mismatch",
            Self::Corrupt => "corrupt",
            Self::Oversize => "oversize",
        }
    }
}

/// How far a connection has come.
///
/// [`Error`](crate::Error) has an example of a connect that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Phase {
    /// The launcher is being started.
    Start,
    /// The launcher is logging in. No code of Offshoot runs on the machine yet.
    Login,
    /// The first stage has announced itself.
    FirstStage,
    /// The image is on its way.
    Upload,
    /// The image is complete and is being executed.
    Exec,
    /// The child and its parent compare their builds and exchange settings.
    Handshake,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "start",
            Self::Login => "login",
            Self::FirstStage => "first stage",
            Self::Upload => "upload",
            Self::Exec => "exec",
            Self::Handshake => "handshake",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_prints_an_error_joins_what_happened_and_what_to_do() {
        let error = ConnectError::new(ConnectErrorKind::Auth, Phase::Login, "ssh.web1", "no key was accepted");
        assert_eq!(error.to_string(), "ssh.web1: no key was accepted");
        let error = ConnectError { tail: vec!["Permission denied".into()], ..error.with_advice("install one") };
        assert_eq!(error.to_string(), "ssh.web1: no key was accepted; install one\n    Permission denied");
    }

    #[test]
    fn whether_the_server_turned_somebody_away_does_not_depend_on_words() {
        let text = "the server closed the connection before the login";
        let error = ConnectError::new(ConnectErrorKind::Eof, Phase::Login, "ssh.web1", text);
        assert!(!error.was_turned_away());
        assert!(ConnectError { text: "busy".into(), ..error.with_cause(ConnectCause::TurnedAway) }.was_turned_away());
    }
}
