//! Errors, by the phase in which they happen and by the side that caused them.

pub(crate) mod builtin_words;
mod call_error;
mod channel_error;
mod closed;
mod connect_error;
mod dead_reason;
#[cfg(feature = "files")]
mod file_error;
mod io_error;
mod readers;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::call_error::CallError;
use self::call_error::{MAX_SOURCES, shorten};
pub use self::channel_error::{ChannelError, ChannelErrorKind};
pub use self::closed::Closed;
pub(crate) use self::connect_error::{ConnectCause, joined};
pub use self::connect_error::{ConnectError, ConnectErrorKind, Phase};
pub(crate) use self::dead_reason::DeadReason;
#[cfg(feature = "files")]
pub use self::file_error::{FileError, FileErrorKind};
pub use self::io_error::IoError;
pub(crate) use self::readers::Reader;
use crate::wire::message::{ContextId, Handle};
use crate::wire::sanitize::printable_lines;

/// All errors that this library reports.
///
/// All variants are serialisable. So an error keeps its type if it has happened in another context
/// and came back through `via`.
///
/// ```
/// use offshoot::error::ConnectErrorKind;
/// use offshoot::{Error, Router, export};
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
///         Err(Error::Connect(error)) => assert_eq!(error.kind, ConnectErrorKind::Start),
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
    /// The other end of a channel cannot be reached, or has refused. Causes are a missing route, a
    /// policy, a disconnect, a closed end, or the end of the router.
    #[error(transparent)]
    Channel(ChannelError),
    /// A connection could not be made.
    #[doc(alias = "ConnectError")]
    #[error(transparent)]
    Connect(Box<ConnectError>),
    /// The time limit has passed.
    #[error("{what} did not finish within {after:?}")]
    #[doc(alias = "TimeoutError")]
    Timeout {
        /// The time limit.
        after: Duration,
        /// The operation that did not finish.
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
        /// Name of the context that should have sent it.
        context: String,
    },
    /// The function is not in the function table of this program, or of the context that should run
    /// it.
    #[error("function {function} is not in the function table of {context}; {}", how_to_export(function))]
    #[doc(alias = "TypeError")]
    NotExported {
        /// Full name of the function.
        function: String,
        /// Name of the context whose table lacks it.
        context: String,
    },
    /// Misuse of a `Select`.
    #[error("{0}")]
    Select(String),
    /// This end has been closed. It is a receiver, router, broker or select.
    #[error(transparent)]
    Closed(Closed),
    /// A file, pipe, thread or other resource of this machine has failed.
    #[error(transparent)]
    Io(IoError),
    /// The operation is not possible in this process, or not yet.
    #[error("{0}")]
    Misuse(String),
    /// A blocking call was made on the thread that would have to serve it.
    #[error("{0}")]
    Deadlock(String),
    /// A handle is in use already, or unknown.
    #[error("handle {handle}: {reason}")]
    #[doc(alias = "KeyError")]
    Handle {
        /// The handle.
        handle: Handle,
        /// What is wrong with it.
        reason: String,
    },
    /// A service of files has refused, or a file has not arrived whole.
    #[cfg(feature = "files")]
    #[error(transparent)]
    File(Box<FileError>),
}

impl Error {
    /// Whether a time limit has passed: for an answer, for a connect, or for input and output.
    pub fn is_timeout(&self) -> bool {
        match self {
            Self::Timeout { .. } => true,
            Self::Connect(error) => error.kind == ConnectErrorKind::Timeout,
            Self::Io(error) => error.kind() == std::io::ErrorKind::TimedOut,
            _ => false,
        }
    }

    /// Whether the other end has gone or was never there, or the own router has ended. The
    /// operation may or may not have been carried out at the other end.
    ///
    /// These are [`ChannelErrorKind::Disconnected`], [`ChannelErrorKind::NoRoute`] (for each call
    /// to a context that has gone) and [`ChannelErrorKind::RouterEnded`], and [`Closed::Router`]
    /// and [`Closed::Broker`].
    pub fn is_disconnected(&self) -> bool {
        use ChannelErrorKind::{Disconnected, NoRoute, RouterEnded};
        match self {
            Self::Channel(error) => matches!(error.kind, Disconnected | NoRoute | RouterEnded),
            Self::Closed(closed) => matches!(closed, Closed::Router | Closed::Broker),
            _ => false,
        }
    }

    /// Whether a policy, the routing mode or a handler has refused the message
    /// ([`ChannelErrorKind::Refused`]).
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Channel(error) if error.kind == ChannelErrorKind::Refused)
    }

    /// The error with the advice for this reader. See [`Reader`].
    pub(crate) fn for_reader(mut self, reader: Reader) -> Self {
        if let Self::Connect(error) = &mut self {
            error.advice = reader.words(&error.advice);
        }
        self
    }

    /// Escapes the texts of an error that another context has reported, so that they cannot control
    /// a terminal here, and shortens them as that context should have done.
    pub(crate) fn escaped(mut self) -> Self {
        let clean = |text: &mut String| *text = shorten(printable_lines(text));
        match &mut self {
            Self::Call(error) => {
                error.chain.truncate(MAX_SOURCES);
                [&mut error.type_name, &mut error.message, &mut error.context, &mut error.function]
                    .into_iter()
                    .chain(&mut error.chain)
                    .chain(&mut error.backtrace)
                    .for_each(clean);
            }
            Self::Connect(error) => {
                let error = &mut **error;
                [&mut error.hop, &mut error.text, &mut error.advice]
                    .into_iter()
                    .chain(&mut error.tail)
                    .chain(&mut error.trace.command)
                    .chain(&mut error.trace.announced)
                    .for_each(clean);
            }
            Self::NotExported { function, context } => [function, context].into_iter().for_each(clean),
            Self::Channel(ChannelError { reason: text, .. })
            | Self::Io(IoError { text, .. })
            | Self::Timeout { what: text, .. }
            | Self::TooLarge { context: text, .. }
            | Self::Handle { reason: text, .. }
            | Self::Payload(text)
            | Self::Select(text)
            | Self::Misuse(text)
            | Self::Deadlock(text) => clean(text),
            #[cfg(feature = "files")]
            Self::File(error) => clean(&mut error.text),
            Self::Closed(_) => {}
        }
        self
    }

    /// The error of a context that outlives its router.
    pub(crate) fn router_ended(me: ContextId) -> Self {
        DeadReason::ROUTER_ENDED.at(me)
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error.into())
    }
}

impl From<ChannelError> for Error {
    fn from(error: ChannelError) -> Self {
        Self::Channel(error)
    }
}

impl From<ConnectError> for Error {
    fn from(error: ConnectError) -> Self {
        Self::Connect(Box::new(error))
    }
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        Self::Call(Box::new(error))
    }
}

/// Advice on how to put a function into the table. A closure has no name that other copies of the
/// program know.
fn how_to_export(function: &str) -> String {
    if function.ends_with("{{closure}}") {
        return "a closure cannot be exported: make it a `fn name(..)`, and write `offshoot::export!(name)` beside it"
            .into();
    }
    let name = function.rsplit("::").next().unwrap_or(function);
    format!(
        "add `offshoot::export!({name})` beside it, and if it lives in another crate, mention that crate (`use that_crate as _;`)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_context_reports_cannot_drive_a_terminal() {
        let nasty = || "a\x1b[2J\nb".to_owned();
        let mut call = CallError::new(nasty(), nasty());
        (call.context, call.function) = (nasty(), nasty());
        call.chain = vec![nasty()];
        call.backtrace = Some(nasty());
        let mut connect = ConnectError::new(ConnectErrorKind::Eof, Phase::Login, nasty(), nasty()).with_advice(nasty());
        connect.tail = vec![nasty()];
        connect.trace.command = vec![nasty()];
        connect.trace.announced = vec![nasty()];
        let channel = Error::Channel(ChannelError::new(ContextId(1), ChannelErrorKind::Refused, nasty()));
        let io = Error::Io(IoError::new(std::io::ErrorKind::Other, nasty()));
        for error in [call.into(), connect.into(), channel, io, Error::Payload(nasty())] {
            let clean = error.escaped();
            let shown = clean.to_string();
            assert!(!shown.contains('\x1b') && shown.contains("a\\u{1b}[2J\nb"), "{shown}");
            assert!(!format!("{clean:?}").contains("a\\u{1b}"), "no field has it left: {clean:?}");
        }
    }

    #[test]
    fn an_error_of_another_context_is_no_longer_than_one_of_this_context() {
        let mut call = CallError::new("t", "m");
        (call.message, call.chain) = ("\x1b".repeat(200_000), vec![String::new(); 200_000]);
        let Error::Call(call) = Error::from(call).escaped() else { panic!("it was an error of a call") };
        assert!(call.message.len() < 70_000 && call.message.ends_with(" [cut]"), "{} bytes", call.message.len());
        assert_eq!(call.chain.len(), MAX_SOURCES);
        let Error::Payload(text) = Error::Payload("x".repeat(1_000_000)).escaped() else { panic!("it was a text") };
        assert!(text.len() < 70_000, "{} bytes", text.len());
    }

    #[test]
    fn what_an_error_is_about_can_be_asked() {
        use ChannelErrorKind::{Disconnected, InvalidHandle, NoRoute, Refused, RouterEnded, SenderClosed};
        let of = |kind| Error::Channel(ChannelError::new(ContextId(1), kind, "why"));
        for kind in [Disconnected, NoRoute, RouterEnded] {
            assert!(of(kind).is_disconnected() && !of(kind).is_refused() && !of(kind).is_timeout(), "{kind:?}");
        }
        for kind in [InvalidHandle, SenderClosed] {
            assert!(!of(kind).is_disconnected() && !of(kind).is_refused(), "{kind:?}");
        }
        assert!(of(Refused).is_refused() && !of(Refused).is_disconnected());
        assert!(Error::Closed(Closed::Router).is_disconnected() && !Error::Closed(Closed::Receiver).is_disconnected());
        let late = |kind| Error::from(ConnectError::new(kind, Phase::Login, "ssh.web1", "late"));
        assert!(late(ConnectErrorKind::Timeout).is_timeout() && !late(ConnectErrorKind::Eof).is_timeout());
        assert!(Error::Timeout { after: Duration::ZERO, what: "it".into() }.is_timeout());
        assert!(Error::from(std::io::Error::from(std::io::ErrorKind::TimedOut)).is_timeout());
    }
}
