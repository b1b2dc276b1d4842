//! The error of a channel whose other end cannot be reached or has refused.

use serde::{Deserialize, Serialize};

use crate::wire::message::ContextId;

/// The other end of a channel cannot be reached, or has refused.
///
/// Its text is the reason.
///
/// ```
/// use offshoot::error::ChannelErrorKind;
/// use offshoot::{Error, Handle, Message, Router};
///
/// # offshoot::child();
/// let router = Router::new()?;
/// // Nobody listens there.
/// let answer = router.myself().blocking_send_await::<()>(Message::encoded(&1)?.to_handle(Handle(5_000)));
/// let Err(Error::Channel(error)) = answer else { panic!("{answer:?}") };
/// assert_eq!((error.kind, error.context), (ChannelErrorKind::InvalidHandle, router.myself().id()));
/// router.blocking_shutdown();
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{reason}")]
#[non_exhaustive]
pub struct ChannelError {
    /// The context that reports the error.
    pub context: ContextId,
    /// What kind of failure it is.
    pub kind: ChannelErrorKind,
    /// The reason, in the words of the context that reports it.
    pub reason: String,
}

impl ChannelError {
    /// Creates an error that `context` reports.
    pub fn new(context: ContextId, kind: ChannelErrorKind, reason: impl Into<String>) -> Self {
        Self { context, kind, reason: reason.into() }
    }
}

/// The kinds of [`ChannelError`], which has an example. A dead message carries its kind in the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[repr(u8)]
#[non_exhaustive]
pub enum ChannelErrorKind {
    /// A policy, the routing mode, or the handler itself refuses the message.
    #[default]
    Refused = 0,
    /// No route leads to the context.
    NoRoute = 1,
    /// The context has gone, or its link is lost.
    Disconnected = 2,
    /// Nothing is registered under the handle.
    InvalidHandle = 3,
    /// The sender has closed its end.
    SenderClosed = 4,
    /// The message is larger than the receiving router or its handle takes.
    TooLarge = 5,
    /// The sender has sent more than its window allows.
    WindowExceeded = 6,
    /// The router has ended: this context's own, or the one that reports it.
    RouterEnded = 7,
}

impl ChannelErrorKind {
    /// The kinds, in the order of their numbers.
    const ALL: [Self; 8] = [
        Self::Refused,
        Self::NoRoute,
        Self::Disconnected,
        Self::InvalidHandle,
        Self::SenderClosed,
        Self::TooLarge,
        Self::WindowExceeded,
        Self::RouterEnded,
    ];

    /// The kind for the lowest three bits of a number. Every such number has a kind.
    pub(crate) fn from_bits(bits: u8) -> Self {
        Self::ALL[usize::from(bits & 7)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_a_number_and_each_number_a_kind() {
        for (number, kind) in (0u8..).zip(ChannelErrorKind::ALL) {
            assert_eq!((kind as u8, ChannelErrorKind::from_bits(number)), (number, kind));
        }
        assert_eq!(ChannelErrorKind::from_bits(0xff), ChannelErrorKind::RouterEnded);
    }
}
