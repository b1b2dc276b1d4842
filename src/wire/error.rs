//! What can go wrong, by phase and by blame.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::wire::connect_trace::ConnectTrace;
use crate::wire::message::{ContextId, Handle};
use crate::wire::sanitize::printable_lines;

/// Everything the library reports.
///
/// All variants are serialisable, so that an error keeps its type when it
/// happened in another context and was passed back through `via`.
///
/// ```
/// use offshoot::{Error, Router, StreamErrorKind, export};
///
/// fn fails() -> Result<(), String> {
///     Err("no such thing".into())
/// }
/// export!(fails);
///
/// fn main() -> Result<(), Error> {
///     offshoot::child();
///     let router = Router::new()?;
///     let child = router.local().blocking_connect()?;
///     match child.blocking_call(fails, ()) {
///         Err(Error::Call(error)) => assert!(error.message == "no such thing" && error.context == child.name()),
///         other => panic!("{other:?}"),
///     }
///     // It keeps its type behind another context.
///     match router.ssh("host").ssh_path("/does/not/exist").via(&child).blocking_connect() {
///         Err(Error::Stream(error)) => assert_eq!(error.kind, StreamErrorKind::Start),
///         other => panic!("{other:?}"),
///     }
///     router.blocking_shutdown();
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Error {
    /// The called function returned an error or panicked.
    #[error(transparent)]
    Call(Box<CallError>),
    /// The other end of a channel cannot be reached or has refused: no route,
    /// policy, disconnect, closed.
    #[error("{reason}")]
    Channel {
        /// The context that reported it.
        context: ContextId,
        /// The reason, in the words of the context that reported it.
        reason: String,
    },
    /// A connection could not be made.
    #[error(transparent)]
    Stream(Box<StreamError>),
    /// The time that was allowed has passed.
    #[error("{what} did not finish within {after:?}")]
    Timeout {
        /// The time that was allowed.
        after: Duration,
        /// What was waited for.
        what: String,
    },
    /// A value could not be encoded or decoded.
    #[error("{0}")]
    Payload(String),
    /// A message is larger than the router allows.
    #[error(
        "message of {size} bytes in {context} is too large (max {max} bytes); send it in chunks through a Sender, or raise max_message_size"
    )]
    TooLarge {
        /// Size of the message, in bytes.
        size: u64,
        /// The limit, in bytes.
        max: u64,
        /// Name of the context that was to send it.
        context: String,
    },
    /// The function is not in the compiled-in table of this program or of the
    /// context that was asked to run it.
    #[error(
        "function {function} is not in the function table of {context}; add `offshoot::export!({})` beside it, and if it lives in another crate, mention that crate (`use that_crate as _;`)",
        short_name(function)
    )]
    NotExported {
        /// Full name of the function.
        function: String,
        /// Name of the context whose table it is.
        context: String,
    },
    /// Misuse of a `Select`.
    #[error("{0}")]
    Select(String),
    /// This end has been closed: the receiver, or the router.
    #[error("{0}")]
    Closed(String),
    /// A blocking call on the thread that would have to serve it.
    #[error("{0}")]
    Deadlock(String),
    /// A handle is taken or unknown.
    #[error("handle {handle}: {reason}")]
    Handle {
        /// The handle.
        handle: Handle,
        /// What is wrong with it.
        reason: String,
    },
    /// A service refused or failed.
    #[error("{0}")]
    Service(String),
    /// A unix listener could not be made or reached.
    #[error("{0}")]
    Unix(String),
}

impl Error {
    /// The receiver was closed at this end.
    pub(crate) fn receiver_closed() -> Self {
        Self::Closed("the Receiver has been closed".into())
    }

    /// An error that another context reports: its texts cannot drive a
    /// terminal here.
    pub(crate) fn escaped(mut self) -> Self {
        let clean = |text: &mut String| *text = printable_lines(text);
        match &mut self {
            Self::Call(error) => {
                [&mut error.type_name, &mut error.message, &mut error.context, &mut error.function]
                    .into_iter()
                    .for_each(clean);
                error.chain.iter_mut().for_each(clean);
            }
            Self::Stream(error) => {
                [&mut error.hop, &mut error.text].into_iter().for_each(clean);
                error.tail.iter_mut().for_each(clean);
            }
            Self::NotExported { function, context } => [function, context].into_iter().for_each(clean),
            Self::Channel { reason: text, .. }
            | Self::Timeout { what: text, .. }
            | Self::TooLarge { context: text, .. }
            | Self::Handle { reason: text, .. }
            | Self::Payload(text)
            | Self::Select(text)
            | Self::Closed(text)
            | Self::Deadlock(text)
            | Self::Service(text)
            | Self::Unix(text) => clean(text),
        }
        self
    }

    /// The router's I/O side has ended.
    pub(crate) fn router_ended() -> Self {
        Self::Closed("the router has shut down".into())
    }
}

impl From<StreamError> for Error {
    fn from(error: StreamError) -> Self {
        Self::Stream(Box::new(error))
    }
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        Self::Call(Box::new(error))
    }
}

fn short_name(function: &str) -> &str {
    function.rsplit("::").next().unwrap_or(function)
}

/// A function that was called returned `Err`, panicked, or could not be run.
///
/// Its text is `type_name: message`, the texts of the sources, and in
/// parentheses the function and the context that it happened in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CallError {
    /// Rust's name of the error type, or `panic`.
    pub type_name: String,
    /// The error's text; for a panic with its location.
    pub message: String,
    /// The texts of the error's sources, outermost first.
    pub chain: Vec<String>,
    /// Name of the context that ran the function.
    pub context: String,
    /// Name of the function.
    pub function: String,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.type_name, self.message)?;
        for cause in &self.chain {
            write!(f, ": {cause}")?;
        }
        write!(f, " (in {}, {})", self.function, self.context)
    }
}

impl std::error::Error for CallError {}

/// Why a connection could not be made, or was lost while it was being made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StreamError {
    /// What kind of failure it is.
    pub kind: StreamErrorKind,
    /// How far the connection had come.
    pub phase: Phase,
    /// Which hop failed, as `ssh.web1` or `local`.
    pub hop: String,
    /// What happened and what to do about it.
    pub text: String,
    /// The last lines that the far side printed, at most 100, with control
    /// characters taken out.
    pub tail: Vec<String>,
    /// What had been seen until then.
    pub(crate) trail: Box<ConnectTrace>,
}

impl StreamError {
    /// An error without recorded output.
    pub fn new(kind: StreamErrorKind, phase: Phase, hop: impl Into<String>, text: impl Into<String>) -> Self {
        Self { kind, phase, hop: hop.into(), text: text.into(), tail: Vec::new(), trail: Box::default() }
    }
}

impl StreamError {
    /// The server has closed the connection before anybody could log in, as
    /// sshd does while too many others are logging in (MaxStartups): it may be
    /// different in a moment.
    pub fn was_turned_away(&self) -> bool {
        self.kind == StreamErrorKind::Eof && self.phase == Phase::Login && self.text.starts_with(TURNED_AWAY)
    }
}

/// How the text of an error begins where [`StreamError::was_turned_away`].
pub(crate) const TURNED_AWAY: &str = "the server closed the connection before the login";

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.hop, self.text)?;
        for line in &self.tail {
            write!(f, "\n    {line}")?;
        }
        Ok(())
    }
}

impl std::error::Error for StreamError {}

/// The kinds of [`StreamError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum StreamErrorKind {
    /// The launcher (`ssh`, `sudo`, ...) could not be started.
    Start,
    /// A password is needed or was refused.
    Password,
    /// The host key is unknown or has changed.
    HostKey,
    /// The login was refused for another reason.
    Auth,
    /// The connection ended before the child was up.
    Eof,
    /// The time for the whole connect has passed.
    Timeout,
    /// The router began to shut down.
    Cancelled,
    /// There is no image for the machine.
    Unsupported,
    /// No place on the machine can hold and execute the image.
    NoPlace,
    /// The image could not be read, packed or fetched.
    Image,
    /// The child is another build or another program, or not the one that was
    /// asked for.
    Mismatch,
    /// The bytes that arrived are not what was sent.
    Corrupt,
    /// Something is larger than its limit.
    Oversize,
}

impl StreamErrorKind {
    /// The kind in lower case, as it stands in the tool's JSON.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Phase {
    /// The launcher is being started.
    Start,
    /// The launcher is logging in; nothing of ours runs on the machine yet.
    Login,
    /// The first stage has announced itself.
    FirstStage,
    /// The image is on its way.
    Upload,
    /// The image is complete and is being executed.
    Exec,
    /// The child and its parent agree on terms.
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
    fn what_another_context_reports_cannot_drive_a_terminal() {
        let nasty = || "a\x1b[2J\nb".to_owned();
        let call = CallError {
            type_name: nasty(),
            message: nasty(),
            chain: vec![nasty()],
            context: nasty(),
            function: nasty(),
        };
        let stream = StreamError {
            tail: vec![nasty()],
            ..StreamError::new(StreamErrorKind::Eof, Phase::Login, nasty(), nasty())
        };
        let channel = Error::Channel { context: ContextId(1), reason: nasty() };
        for error in [call.into(), stream.into(), channel, Error::Payload(nasty())] {
            let shown = error.escaped().to_string();
            assert!(!shown.contains('\x1b') && shown.contains("a\\u{1b}[2J\nb"), "{shown}");
        }
    }

    #[test]
    fn a_call_error_begins_with_its_type_and_ends_with_its_place() {
        let error = CallError {
            type_name: "std::io::Error".into(),
            message: "no such file".into(),
            chain: vec!["cause".into()],
            context: "ssh.web1".into(),
            function: "prog::read".into(),
        };
        assert_eq!(error.to_string(), "std::io::Error: no such file: cause (in prog::read, ssh.web1)");
    }
}
