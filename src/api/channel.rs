//! Channels: a receiver here and a sender to elsewhere, as one thing.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::context::Context;
use crate::api::receiver::Receiver;
use crate::api::router::Router;
use crate::api::sender::{Sender, Sending};
use crate::wire::error::Error;
use crate::wire::message::{ContextId, Handle};

/// Values in both directions between this context and another.
///
/// `In` is what comes in here, `Out` what goes out; the other end has them the
/// other way round. Both ends have to know the other's handle: one of them is
/// fixed beforehand or travels as an argument, and
/// [`Channel::set_dst_handle`] tells this end of it when it is known. Where only one side sends, a
/// [`Receiver`] and its [`Sender`] do the same with less.
///
/// ```
/// use offshoot::{Channel, Error, Handle, Router};
///
/// fn main() -> Result<(), Error> {
///     offshoot::child();
///     let router = Router::new()?;
///     let myself = router.myself();
///     // Texts come in, numbers go out.
///     let mut one: Channel<String, u32> = Channel::new(&router, &myself, Handle::NONE);
///     let two: Channel<u32, String> = Channel::with_handle(&router, &myself, one.handle(), Handle(5000))?;
///     one.set_dst_handle(two.handle()); // known only now
///     two.blocking_send("ping".into())?;
///     assert_eq!(one.blocking_recv()?, "ping");
///     one.blocking_send(4)?;
///     assert_eq!(two.blocking_recv()?, 4);
///     two.close();
///     assert_eq!(one.blocking_recv().unwrap_err().to_string(), "Sender was explicitly closed");
///     router.blocking_shutdown();
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct Channel<In, Out = In> {
    receiver: Receiver<In>,
    sender: Sender<Out>,
    context: Context,
}

impl<In, Out> Clone for Channel<In, Out> {
    fn clone(&self) -> Self {
        Self { receiver: self.receiver.clone(), sender: self.sender.clone(), context: self.context.clone() }
    }
}

impl<In, Out> Channel<In, Out> {
    /// A channel to `dst_handle` of `context`, with the next free handle at
    /// this end. [`Handle::NONE`] if the other end's is not known yet; what is
    /// sent before [`Channel::set_dst_handle`] then fails with
    /// [`Error::Handle`].
    pub fn new(router: &Router, context: &Context, dst_handle: Handle) -> Self {
        Self::of(Receiver::new(router), context, dst_handle)
    }

    /// A channel with a fixed handle at this end, too.
    ///
    /// # Errors
    ///
    /// [`Error::Handle`] if `handle` is taken or is the router's own.
    pub fn with_handle(router: &Router, context: &Context, dst_handle: Handle, handle: Handle) -> Result<Self, Error> {
        Ok(Self::of(Receiver::builder(router).handle(handle).build()?, context, dst_handle))
    }

    fn of(receiver: Receiver<In>, context: &Context, dst_handle: Handle) -> Self {
        Self { receiver, sender: Sender::new(context, dst_handle), context: context.clone() }
    }

    /// Sends to this handle of the other context from now on. Clones that were
    /// made before keep theirs.
    pub fn set_dst_handle(&mut self, handle: Handle) {
        self.sender = Sender::new(&self.context, handle);
    }

    /// The port of this end.
    pub fn handle(&self) -> Handle {
        self.receiver.handle()
    }

    /// The context at the other end.
    pub fn context(&self) -> ContextId {
        self.context.id()
    }

    /// The port of the other end.
    pub fn dst_handle(&self) -> Handle {
        self.sender.handle()
    }

    /// This end, for a [`Select`](crate::Select) or its other ways to receive.
    pub fn receiver(&self) -> &Receiver<In> {
        &self.receiver
    }

    /// The other end.
    pub fn sender(&self) -> &Sender<Out> {
        &self.sender
    }

    /// Closes this end, then tells the other one.
    pub fn close(&self) {
        self.receiver.close();
        self.sender.close();
    }
}

impl<In, Out: Serialize> Channel<In, Out> {
    /// As [`Sender::send`].
    ///
    /// # Errors
    ///
    /// As [`Sender::send`].
    pub fn send(&self, value: Out) -> Sending {
        self.sender.send(value)
    }

    /// As [`Sender::blocking_send`]: blocks until there is room.
    ///
    /// # Errors
    ///
    /// As [`Sender::send`].
    pub fn blocking_send(&self, value: Out) -> Result<(), Error> {
        self.sender.blocking_send(value)
    }
}

impl<In: DeserializeOwned, Out> Channel<In, Out> {
    /// As [`Receiver::recv`]. Cancel safe.
    ///
    /// # Errors
    ///
    /// As [`Receiver::recv`].
    pub async fn recv(&self) -> Result<In, Error> {
        self.receiver.recv().await
    }

    /// As [`Receiver::recv_timeout`]. Cancel safe.
    ///
    /// # Errors
    ///
    /// As [`Receiver::recv_timeout`].
    pub async fn recv_timeout(&self, timeout: Duration) -> Result<In, Error> {
        self.receiver.recv_timeout(timeout).await
    }

    /// As [`Receiver::blocking_recv`]: blocks.
    ///
    /// # Errors
    ///
    /// As [`Receiver::recv`].
    pub fn blocking_recv(&self) -> Result<In, Error> {
        self.receiver.blocking_recv()
    }
}
