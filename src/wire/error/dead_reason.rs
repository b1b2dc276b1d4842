//! The reason why a message was not delivered, before it becomes a dead message or an error.

use std::borrow::Cow;
use std::fmt;

use crate::wire::error::{ChannelError, ChannelErrorKind, Error};
use crate::wire::message::{ContextId, Message};

/// The reason why a message was not delivered. It becomes a dead message or an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeadReason {
    pub(crate) kind: ChannelErrorKind,
    pub(crate) text: Cow<'static, str>,
}

impl DeadReason {
    pub(crate) const INVALID_HANDLE: Self = Self::fixed(ChannelErrorKind::InvalidHandle, "invalid handle");
    pub(crate) const WINDOW_EXCEEDED: Self = Self::fixed(ChannelErrorKind::WindowExceeded, "window exceeded");
    pub(crate) const TOO_MUCH_AT_ONCE: Self = Self::fixed(
        ChannelErrorKind::TooLarge,
        "too many large messages arrive at once; send them one after the other",
    );
    pub(crate) const DISCONNECTED: Self =
        Self::fixed(ChannelErrorKind::Disconnected, "the respondent Context has disconnected");
    /// The reason that registered handles get when the broker ends.
    pub(crate) const BROKER_EXITED: Self = Self::fixed(ChannelErrorKind::RouterEnded, "Broker has exitted");
    /// The reason of a context that outlives its router.
    pub(crate) const ROUTER_ENDED: Self = Self::fixed(ChannelErrorKind::RouterEnded, "the router has shut down");

    pub(crate) const fn fixed(kind: ChannelErrorKind, text: &'static str) -> Self {
        Self { kind, text: Cow::Borrowed(text) }
    }

    pub(crate) fn refused(text: impl Into<Cow<'static, str>>) -> Self {
        Self { kind: ChannelErrorKind::Refused, text: text.into() }
    }

    pub(crate) fn no_route(to: ContextId, me: ContextId) -> Self {
        Self { kind: ChannelErrorKind::NoRoute, text: format!("no route to {to}, my ID is {me}").into() }
    }

    pub(crate) fn too_large(max: u64) -> Self {
        Self { kind: ChannelErrorKind::TooLarge, text: format!("message too large (max {max} bytes)").into() }
    }

    /// The dead message for this reason.
    pub(crate) fn to_message(&self) -> Message {
        Message::dead_as(self.kind, &self.text)
    }

    /// This reason as an error that `context` reports.
    pub(crate) fn at(self, context: ContextId) -> Error {
        Error::Channel(ChannelError { context, kind: self.kind, reason: self.text.into_owned() })
    }
}

impl fmt::Display for DeadReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
