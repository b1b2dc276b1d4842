//! Messages, and the ids and handles that address them.

use std::any::{Any, type_name};
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, Bytes};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::wire::call_payload;
use crate::wire::codec::{self, Origin};
use crate::wire::error::{CallError, ChannelError, ChannelErrorKind, DeadReason, Error};
use crate::wire::port::Port;
use crate::wire::sanitize::printable;
use crate::wire::text::beginning;

/// A process in the tree. The master is 0.
///
/// [`Econtext`](crate::Econtext) has an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContextId(pub u32);

impl ContextId {
    /// The root of the tree.
    pub const MASTER: Self = Self(0);
}

/// The reason for a message that cannot be answered.
const NOT_RECEIVED: DeadReason =
    DeadReason::fixed(ChannelErrorKind::NoRoute, "this message was not received, so it cannot be answered");

/// The most bytes of the reason in a dead message that are read.
pub(crate) const MAX_REASON: usize = 4 * 1024;

impl fmt::Display for ContextId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A port inside a context.
///
/// [`Message`] has an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Handle(pub u32);

impl Handle {
    /// No handle. As `reply_to` it means that no reply is wanted.
    pub const NONE: Self = Self(0);
    /// Asks the parent for an image.
    pub const GET_IMAGE: Self = Self(100);
    /// Calls a function of the table.
    pub const CALL_FUNCTION: Self = Self(101);
    /// Carries a log record to the master.
    pub const FORWARD_LOG: Self = Self(102);
    /// Says that a context has appeared.
    pub const ADD_ROUTE: Self = Self(103);
    /// Says that a context has gone.
    pub const DEL_ROUTE: Self = Self(104);
    /// Asks for a block of context ids.
    pub const ALLOCATE_ID: Self = Self(105);
    /// Ends this context and all contexts behind it.
    pub const SHUTDOWN: Self = Self(106);
    /// Carries an image, in answer to [`Handle::GET_IMAGE`].
    pub const LOAD_IMAGE: Self = Self(107);
    /// Says that the sender leaves the tree and lives on.
    pub const DETACHING: Self = Self(109);
    /// Calls a method of a service.
    pub const CALL_SERVICE: Self = Self(110);
    /// Gives room in a window back.
    pub const CREDIT: Self = Self(114);
    /// Says that a call is no longer wanted.
    pub const CANCEL: Self = Self(115);
    /// Asks for statistics.
    pub const STATS: Self = Self(116);
    /// Says that a call waits, and which function it waits for.
    pub const WAITS: Self = Self(117);
    /// As `reply_to` it means that this message ends a conversation.
    pub const IS_DEAD: Self = Self(999);
    /// The first handle that is given out dynamically.
    pub const FIRST_DYNAMIC: Self = Self(1000);

    /// Whether messages to it are calls, of which each caller has a certain number under way.
    pub(crate) fn takes_calls(self) -> bool {
        self == Self::CALL_FUNCTION || self == Self::CALL_SERVICE
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The queue of a link that a message takes. Control leaves first, logs leave last. A frame is
/// always sent whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub(crate) enum Lane {
    Control = 0,
    #[default]
    User = 1,
    Log = 2,
}

/// One message from one context to a handle of another.
///
/// Every field but `data` travels in the header of each of its frames. Calls
/// and typed senders make their own; this is for handlers and protocols of
/// your own.
///
/// ```
/// use offshoot::{Error, Message, Router};
///
/// fn main() -> Result<(), Error> {
///     offshoot::child();
///     let router = Router::new()?;
///     let double = router.add_handler(|message| {
///         // Only the context that asked learns of an error here.
///         let answer = message.decode::<u32>().and_then(|number| message.reply(&(number * 2)));
///         drop(answer);
///     });
///     let handle = double.build()?;
///     let question = Message::encoded(&21u32)?.to_handle(handle);
///     let answer: u32 = router.myself().blocking_send_await(question)?;
///     assert_eq!(answer, 42);
///     router.blocking_shutdown();
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Message {
    /// The context it is for. Default: the master. A method that sends it to a
    /// context fills it in.
    #[doc(alias = "dst_id")]
    pub dst: ContextId,
    /// The context it comes from, and where replies go. The router fills it
    /// in, whatever it says here, and every hop checks it.
    #[doc(alias = "src_id")]
    pub src: ContextId,
    /// The context under whose authority it acts. The router fills it in.
    #[doc(alias = "auth_id")]
    pub auth: ContextId,
    /// The port of `dst` that the message is for.
    pub handle: Handle,
    /// The port of `src` that waits for a reply. [`Handle::NONE`] if no reply is wanted,
    /// [`Handle::IS_DEAD`] if this message ends the conversation.
    pub reply_to: Handle,
    /// The time at which the sender stops waiting, by this machine's clock. Each hop passes on the
    /// time that is left, in milliseconds. Default: never.
    pub deadline: Option<Instant>,
    /// Whether the payload is bytes, not an encoded value.
    pub raw: bool,
    /// Whether `reply_to` takes exactly one message, so that the reply needs no window.
    pub(crate) single_reply: bool,
    /// Whether the payload must be wiped after use.
    pub(crate) secret: bool,
    /// Whether the payload is an error, as [`Message::reply_error`] encodes it.
    pub(crate) error: bool,
    /// The kind of the reason of a dead message. It has no meaning in other messages.
    pub(crate) dead_kind: ChannelErrorKind,
    pub(crate) lane: Lane,
    /// The context that has chosen the destination, if that was another context. The message then
    /// acts under the authority of that context.
    pub(crate) on_behalf: Option<ContextId>,
    pub(crate) arrival: Arrival,
    /// The payload.
    pub data: Bytes,
}

/// The router that has received a message. Two messages are equal without regard to it.
#[derive(Clone, Default)]
pub(crate) struct Arrival(pub(crate) Option<Arc<dyn Port>>);

impl fmt::Debug for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.is_some().fmt(f)
    }
}

impl PartialEq for Arrival {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Arrival {}

impl Message {
    /// A message with an already encoded payload.
    pub fn new(dst: ContextId, handle: Handle, data: impl Into<Bytes>) -> Self {
        Self { dst, handle, data: data.into(), ..Self::default() }
    }

    /// A message that carries a value. To send several values, use a tuple, or let the receiver
    /// take them one by one with [`Message::values`].
    ///
    /// # Errors
    ///
    /// [`Error::Payload`] if the value cannot be encoded.
    #[doc(alias = "pickled")]
    pub fn encoded<T: Serialize + ?Sized>(value: &T) -> Result<Self, Error> {
        match codec::encode(value) {
            Ok(data) => Ok(Self { data: data.into(), ..Self::default() }),
            Err(why) => Err(unsendable(type_name::<T>(), &why)),
        }
    }

    /// A message that carries bytes as they are.
    #[doc(alias = "ENC_BIN")]
    pub fn raw(data: impl Into<Bytes>) -> Self {
        Self { data: data.into(), raw: true, ..Self::default() }
    }

    /// A message that ends a conversation. Its payload is the reason, of which 4 KiB are sent. The receiver gets it as
    /// [`ChannelErrorKind::Refused`].
    pub fn dead(reason: &str) -> Self {
        Self::dead_as(ChannelErrorKind::Refused, reason)
    }

    /// A message that ends a conversation, with a reason of the given kind.
    pub fn dead_as(kind: ChannelErrorKind, reason: &str) -> Self {
        let data = Bytes::copy_from_slice(beginning(reason, MAX_REASON).as_bytes());
        Self { reply_to: Handle::IS_DEAD, dead_kind: kind, ..Self::raw(data) }
    }

    /// Sets the handle. The context is set when the message is sent.
    #[must_use]
    pub fn to_handle(self, handle: Handle) -> Self {
        Self { handle, ..self }
    }

    /// Whether this message ends a conversation.
    pub fn is_dead(&self) -> bool {
        self.reply_to == Handle::IS_DEAD
    }

    /// If this message ends the conversation: the reason that it carries, or a general text.
    /// Control characters are escaped.
    pub fn reason(&self) -> Option<String> {
        self.channel_error().map(|error| error.reason)
    }

    /// If this message ends the conversation: the context that reports it, the kind, and the
    /// [reason](Message::reason).
    pub fn channel_error(&self) -> Option<ChannelError> {
        let me = self.arrival.0.as_ref().map(|port| port.me());
        self.is_dead().then(|| ChannelError::new(self.src, self.dead_kind, self.dead_text(me)))
    }

    /// Decodes the value that the message carries. Contexts and senders in it belong to the router
    /// that has received it.
    ///
    /// # Errors
    ///
    /// [`Error::Channel`] if this message is dead, [`Error::Call`] or another
    /// error if it is one that [`Message::reply_error`] has sent,
    /// [`Error::Payload`] if the payload is raw or is not exactly one `T`.
    #[doc(alias = "unpickle")]
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, Error> {
        self.check_encoded()?;
        codec::decode(&self.data, self.origin()).map_err(|why| unreadable(self.src, type_name::<T>(), &why))
    }

    /// Returns the values that the message carries, to be taken one after the other.
    ///
    /// # Errors
    ///
    /// As [`Message::decode`], but for the values' types.
    #[doc(alias = "unpickle_iter")]
    pub fn values(&self) -> Result<Values<'_>, Error> {
        self.check_encoded()?;
        Ok(Values { message: self, rest: self.data.clone() })
    }

    /// Answers with a value. Does nothing if the message has no `reply_to`. Does not block.
    ///
    /// # Errors
    ///
    /// [`Error::Payload`] if the value cannot be encoded, [`Error::Channel`] if
    /// the router has ended ([`ChannelErrorKind::RouterEnded`]) or this message
    /// was never received by one ([`ChannelErrorKind::NoRoute`]).
    pub fn reply<T: Serialize + ?Sized>(&self, value: &T) -> Result<(), Error> {
        self.reply_message(Self::encoded(value)?)
    }

    /// Answers with an error. [`Message::decode`] of the answer returns this error. An
    /// [`Error`](crate::Error) or a [`CallError`] arrives unchanged. Other errors arrive as
    /// [`Error::Call`](crate::Error::Call), with their type, text and sources. Does nothing if the
    /// message has no `reply_to`. Does not block.
    ///
    /// ```
    /// # use offshoot::{Error, Message, Router};
    /// # fn main() -> Result<(), Error> {
    /// # offshoot::child();
    /// let router = Router::new()?;
    /// let handle = router.add_handler(|message| match message.decode::<String>() {
    ///     Ok(path) => match std::fs::read_to_string(path) {
    ///         Ok(text) => drop(message.reply(&text)),
    ///         Err(error) => drop(message.reply_error(&error)),
    ///     },
    ///     Err(error) => drop(message.reply_error(&error)),
    /// }).build()?;
    /// let question = Message::encoded("/does/not/exist")?.to_handle(handle);
    /// match router.myself().blocking_send_await::<String>(question) {
    ///     Err(Error::Call(error)) => assert_eq!(error.type_name, "std::io::error::Error"),
    ///     other => panic!("{other:?}"),
    /// }
    /// # router.blocking_shutdown();
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The same as for [`Message::reply`].
    pub fn reply_error<E: std::error::Error + 'static>(&self, error: &E) -> Result<(), Error> {
        let any: &dyn Any = error;
        let error = match (any.downcast_ref::<Error>(), any.downcast_ref::<CallError>()) {
            (Some(error), _) => error.clone(),
            (_, Some(error)) => error.clone().into(),
            (None, None) => {
                let function = format!("handle {}", self.handle);
                let context = format!("context {}", self.arrival.0.as_ref().map_or(self.dst, |port| port.me()));
                CallError { function, context, ..CallError::of(error) }.into()
            }
        };
        let data = call_payload::encode_failure(&error);
        self.reply_message(Self { error: true, data, ..Self::default() })
    }

    /// Answers with a message of your own. It is sent unchanged, except for `dst` and `handle`.
    /// Does nothing if the message has no `reply_to`. Does not block.
    ///
    /// # Errors
    ///
    /// The same as for [`Message::reply`].
    pub fn reply_message(&self, mut answer: Self) -> Result<(), Error> {
        if !self.wants_reply() {
            return Ok(());
        }
        let Some(port) = &self.arrival.0 else {
            return Err(NOT_RECEIVED.at(self.dst));
        };
        (answer.dst, answer.handle) = (self.src, self.reply_to);
        // A handle that takes one message has room for it, so no window is needed.
        if port.answer(answer, !self.single_reply) { Ok(()) } else { Err(Error::router_ended(port.me())) }
    }

    /// Whether the sender waits for an answer to this message.
    pub(crate) fn wants_reply(&self) -> bool {
        self.reply_to != Handle::NONE && !self.is_dead()
    }

    /// The reason of a dead message, as an error in the context `me`.
    pub(crate) fn dead_error(&self, me: ContextId) -> Error {
        ChannelError::new(self.src, self.dead_kind, self.dead_text(Some(me))).into()
    }

    /// The reason that a dead message carries, or the general text.
    fn dead_text(&self, me: Option<ContextId>) -> String {
        if !self.data.is_empty() {
            printable(&String::from_utf8_lossy(&self.data[..self.data.len().min(MAX_REASON)]))
        } else if Some(self.src) == me {
            "Channel closed by local end.".into()
        } else {
            "Channel closed by remote end.".into()
        }
    }

    /// The origin of the values in the message, if it was received.
    fn origin(&self) -> Option<Origin> {
        self.arrival.0.as_ref().map(|port| Origin { port: Arc::clone(port), src: self.src, auth: self.auth })
    }

    fn check_encoded(&self) -> Result<(), Error> {
        if let Some(error) = self.channel_error() {
            return Err(error.into());
        }
        if self.error {
            return Err(call_payload::decode_failure(&self.data));
        }
        if self.raw {
            return Err(Error::Payload("invalid message: it carries raw bytes, no encoded value".into()));
        }
        Ok(())
    }
}

/// The values that a message carries. See [`Message::values`].
#[derive(Debug)]
pub struct Values<'a> {
    message: &'a Message,
    rest: Bytes,
}

impl Values<'_> {
    /// Takes the next value.
    ///
    /// # Errors
    ///
    /// [`Error::Payload`] if there is no value left, or it is not a `T`.
    pub fn take<T: DeserializeOwned>(&mut self) -> Result<T, Error> {
        match codec::decode_front(&self.rest, self.message.origin()) {
            Ok((value, used)) => {
                self.rest.advance(used);
                Ok(value)
            }
            Err(why) => Err(unreadable(self.message.src, type_name::<T>(), &why)),
        }
    }

    /// Whether no value is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

pub(crate) fn unsendable(of: &str, why: &str) -> Error {
    Error::Payload(format!("value of type {of} cannot be sent: {why}"))
}

pub(crate) fn unreadable(src: ContextId, of: &str, why: &str) -> Error {
    Error::Payload(format!("invalid message: from context {src}, not of type {of}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_is_nothing() {
        let message = Message::encoded(&1u8).unwrap();
        assert_eq!((message.handle, message.reply_to), (Handle::NONE, Handle::NONE));
        assert!(!message.is_dead() && !message.raw && message.reason().is_none());
    }

    #[test]
    fn a_dead_message_carries_its_reason_or_a_general_one() {
        assert_eq!(Message::dead("").reply_to, Handle(999));
        assert!(Message::dead("").data.is_empty());
        assert_eq!(Message::dead("gr\u{fc}n").data, "gr\u{fc}n".as_bytes());
        assert_eq!(Message::dead("a\x1b[1m").reason().unwrap(), "a\\u{1b}[1m");
        assert_eq!(Message::dead("").reason().unwrap(), "Channel closed by remote end.");
        let local = "Channel closed by local end.";
        assert_eq!(Message::dead("").dead_error(ContextId::MASTER).to_string(), local);
        let error = Message::dead("gone").decode::<u8>().unwrap_err();
        assert_eq!(error, ChannelError::new(ContextId(0), ChannelErrorKind::Refused, "gone").into());
        let error = Message::dead_as(ChannelErrorKind::SenderClosed, "done").channel_error().unwrap();
        assert_eq!((error.kind, error.reason.as_str()), (ChannelErrorKind::SenderClosed, "done"));
    }

    #[test]
    fn raw_bytes_are_not_taken_for_a_value() {
        let message = Message::raw(&b"\x07"[..]);
        assert!(message.decode::<u8>().unwrap_err().to_string().contains("raw bytes"));
        assert!(message.values().is_err());
    }

    #[test]
    fn what_is_not_of_the_type_asked_for_is_named() {
        let error = Message::encoded("text").unwrap().decode::<bool>().unwrap_err().to_string();
        assert!(error.starts_with("invalid message: ") && error.contains("bool"), "{error}");
    }

    #[test]
    fn several_values_come_out_one_by_one() {
        let message = Message::encoded(&(1u8, "two", 3.0)).unwrap();
        let mut values = message.values().unwrap();
        assert_eq!(values.take::<u8>().unwrap(), 1);
        assert_eq!(values.take::<String>().unwrap(), "two");
        assert!(!values.is_empty());
        assert_eq!(values.take::<f64>().unwrap(), 3.0);
        assert!(values.is_empty());
        assert!(values.take::<u8>().is_err());
    }

    #[test]
    fn a_message_that_nobody_waits_for_is_answered_silently_and_dead_ones_never() {
        Message::encoded(&1u8).unwrap().reply(&2u8).unwrap();
        Message::dead("x").reply(&2u8).unwrap();
        let asked = Message { reply_to: Handle(1000), ..Message::default() };
        let Err(Error::Channel(error)) = asked.reply(&2u8) else { panic!("it was never received") };
        assert_eq!(error.kind, ChannelErrorKind::NoRoute);
    }
}
