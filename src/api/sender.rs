//! Senders: they send values to receivers in this or any other context.

use std::any::type_name;
use std::fmt;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::sync::oneshot;

use crate::api::context::Context;
use crate::engine::shared::{Request, Shared};
use crate::sys::blocking::block_on;
use crate::wire::codec::{self, Origin};
use crate::wire::error::{ChannelErrorKind, Error};
use crate::wire::message::unsendable;
use crate::wire::message::{ContextId, Handle, Message};

/// Why a sender cannot have a handle below 1000.
const RESERVED: &str = "cannot be sent to by a Sender: handles below 1000 are the routers' own";

/// Sends values to a receiver, in any context of the tree.
///
/// A sender can be an argument or a result of a call, so data can flow directly between any two contexts. If
/// this context got the sender from another context, the values go under the authority of that context.
/// Dropping a sender does not close the receiver. See [`Receiver`](crate::Receiver) for an example.
pub struct Sender<T> {
    shared: Arc<Shared>,
    dst: ContextId,
    handle: Handle,
    /// The context under whose authority values are sent, if the sender came from another context.
    on_behalf: Option<ContextId>,
    of: PhantomData<fn(T)>,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        let on_behalf = self.on_behalf;
        Self { on_behalf, ..Self::from_parts(Arc::clone(&self.shared), self.dst, self.handle) }
    }
}

impl<T> PartialEq for Sender<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.dst, self.handle) == (other.dst, other.handle)
    }
}

impl<T> Eq for Sender<T> {}

impl<T> Hash for Sender<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.dst, self.handle).hash(state);
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("context", &self.dst).field("handle", &self.handle).finish_non_exhaustive()
    }
}

impl<T> Sender<T> {
    /// Returns a sender to a handle that both sides already know, for example a fixed one.
    /// [`Receiver::sender`](crate::Receiver::sender) is the usual way to get a sender. Does not block.
    pub fn new(context: &Context, handle: Handle) -> Self {
        Self::from_parts(Arc::clone(context.shared()), context.id(), handle)
    }

    pub(crate) fn from_parts(shared: Arc<Shared>, dst: ContextId, handle: Handle) -> Self {
        Self { shared, dst, handle, on_behalf: None, of: PhantomData }
    }

    /// The context that receives.
    pub fn context(&self) -> ContextId {
        self.dst
    }

    /// The handle of the receiver.
    pub fn handle(&self) -> Handle {
        self.handle
    }

    /// Signals the receiver that this sender sends no more values. The signal arrives after all values that
    /// were sent before it. The receiver gets [`Error::Channel`] of the kind
    /// [`ChannelErrorKind::SenderClosed`], and can still receive from other senders. Does not block.
    pub fn close(&self) {
        drop(self.send_message(Message::dead_as(ChannelErrorKind::SenderClosed, "Sender was explicitly closed")));
    }

    fn send_message(&self, message: Message) -> Result<oneshot::Receiver<Result<(), Error>>, Error> {
        let size = message.data.len() as u64;
        if size > self.shared.max_message_size {
            let (max, context) = (self.shared.max_message_size, self.shared.name.clone());
            return Err(Error::TooLarge { size, max, context });
        }
        if self.handle < Handle::FIRST_DYNAMIC {
            return Err(Error::Handle { handle: self.handle, reason: RESERVED.into() });
        }
        let (accepted, sending) = oneshot::channel();
        let Self { dst, handle, on_behalf, .. } = *self;
        let message = Message { dst, handle, on_behalf, ..message };
        self.shared.request(Request::SendMetered { message, accepted: Some(accepted) });
        Ok(sending)
    }
}

impl<T: Serialize> Sender<T> {
    /// Queues a value immediately; values keep their order. The returned future is ready when the receiver's
    /// window has accepted the value. A sender that awaits each future cannot get far ahead of its receiver.
    ///
    /// If the future is dropped, the value is still sent.
    ///
    /// # Errors
    ///
    /// - [`Error::Channel`] if the receiver has gone or refuses values; the refusal may concern this value or
    ///   an earlier one
    /// - [`Error::Payload`] if the value cannot be encoded
    /// - [`Error::TooLarge`] if the encoded value exceeds the maximum message size
    /// - [`Error::Handle`] if the handle is below 1000
    pub fn send(&self, value: T) -> Sending {
        let accepted = match codec::encode(&value) {
            Ok(data) => self.send_message(Message { data: data.into(), ..Message::default() }),
            Err(why) => Err(unsendable(type_name::<T>(), &why)),
        };
        Sending { accepted, me: self.shared.me }
    }

    /// [`Sender::send`] for code that is not async: blocks until the window has accepted the value.
    ///
    /// # Errors
    ///
    /// As [`Sender::send`].
    pub fn blocking_send(&self, value: T) -> Result<(), Error> {
        block_on(self.send(value))
    }
}

/// A value that waits for room in a receiver's window; see [`Sender::send`].
#[derive(Debug)]
#[must_use = "await it, or the sender outruns its receiver"]
pub struct Sending {
    accepted: Result<oneshot::Receiver<Result<(), Error>>, Error>,
    me: ContextId,
}

impl Future for Sending {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let me = self.me;
        match &mut self.accepted {
            Ok(accepted) => {
                Pin::new(accepted).poll(cx).map(|result| result.unwrap_or_else(|_| Err(Error::router_ended(me))))
            }
            Err(error) => Poll::Ready(Err(error.clone())),
        }
    }
}

impl<T> Serialize for Sender<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.dst, self.handle).serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for Sender<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (dst, handle) = <(ContextId, Handle)>::deserialize(deserializer)?;
        if handle < Handle::FIRST_DYNAMIC {
            return Err(D::Error::custom(format_args!("handle {handle} {RESERVED}")));
        }
        let origin = codec::current_origin().and_then(|origin| Some((origin.auth, origin.shared()?)));
        let (auth, shared) = origin.ok_or_else(|| D::Error::custom("a Sender can be decoded only from a message"))?;
        Ok(Self { on_behalf: Some(auth), ..Self::from_parts(shared, dst, handle) })
    }
}

/// Decodes a sender, and checks that it leads to the context that sent it. Otherwise another context could
/// make this one send to a third context.
pub(crate) fn to_its_origin<'de, T, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Sender<T>>, D::Error> {
    let sender: Option<Sender<T>> = Option::deserialize(deserializer)?;
    if let (Some(sender), Some(Origin { src, .. })) = (&sender, codec::current_origin())
        && sender.dst != src
    {
        return Err(D::Error::custom(format_args!("its Sender leads to context {}, not to context {src}", sender.dst)));
    }
    Ok(sender)
}
