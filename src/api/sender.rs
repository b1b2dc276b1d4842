//! Senders: the other ends of receivers, wherever those are.

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
use crate::wire::error::Error;
use crate::wire::message::unsendable;
use crate::wire::message::{ContextId, Handle, Message};

/// Why a handle below 1000 is no receiver's.
const RESERVED: &str = "cannot be sent to by a Sender: handles below 1000 are the routers' own";

/// Sends values to a receiver, wherever in the tree that is.
///
/// Can be an argument or a result of a call, so data flows can be wired
/// between any two contexts. What is sent by one that came from a context
/// below, or beside, goes under the authority of that context. Dropping it does
/// not close the receiver. See [`Receiver`](crate::Receiver) for an example.
pub struct Sender<T> {
    shared: Arc<Shared>,
    dst: ContextId,
    handle: Handle,
    /// The context whose authority it has, if it came from another one.
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
    /// A sender to a handle that is known otherwise, as one that was agreed on
    /// beforehand. [`Receiver::sender`](crate::Receiver::sender) is the usual
    /// way to one.
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

    /// The port that it receives on.
    pub fn handle(&self) -> Handle {
        self.handle
    }

    /// Tells the receiver that nothing more will come from here, after all
    /// that was sent before. It gets [`Error::Channel`] with the text `Sender
    /// was explicitly closed`, and can still be sent to. Does not block.
    pub fn close(&self) {
        drop(self.send_message(Message::dead("Sender was explicitly closed")));
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
    /// Queues a value, at once and in order. The future ends when the
    /// receiver's window has had room for it; awaiting it is what keeps a
    /// sender from outrunning its receiver.
    ///
    /// Dropping the future does not take the value back.
    ///
    /// # Errors
    ///
    /// [`Error::Channel`] if the receiver has gone or refuses (learnt by this
    /// value or an earlier one), [`Error::Payload`] if the value cannot be
    /// encoded, [`Error::TooLarge`].
    pub fn send(&self, value: T) -> Sending {
        Sending(match codec::encode(&value) {
            Ok(data) => self.send_message(Message { data: data.into(), ..Message::default() }),
            Err(why) => Err(unsendable(type_name::<T>(), &why)),
        })
    }

    /// [`Sender::send`] for code that is not async: blocks until there is
    /// room.
    ///
    /// # Errors
    ///
    /// As [`Sender::send`].
    pub fn blocking_send(&self, value: T) -> Result<(), Error> {
        block_on(self.send(value))
    }
}

/// A value on its way into a receiver's window; see [`Sender::send`].
#[derive(Debug)]
#[must_use = "await it, or the sender outruns its receiver"]
pub struct Sending(Result<oneshot::Receiver<Result<(), Error>>, Error>);

impl Future for Sending {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Ok(accepted) => {
                Pin::new(accepted).poll(cx).map(|result| result.unwrap_or_else(|_| Err(Error::router_ended())))
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

/// Reads a sender that must lead to whoever has sent it: nobody can have this
/// context talk to others in its place.
pub(crate) fn to_its_origin<'de, T, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Sender<T>>, D::Error> {
    let sender: Option<Sender<T>> = Option::deserialize(deserializer)?;
    if let (Some(sender), Some(Origin { src, .. })) = (&sender, codec::current_origin())
        && sender.dst != src
    {
        return Err(D::Error::custom(format_args!("its Sender leads to context {}, not to context {src}", sender.dst)));
    }
    Ok(sender)
}
