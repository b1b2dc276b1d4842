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
/// Both ends have to know the other's handle, so at least one of them is fixed
/// beforehand or travels as an argument. Where only one side sends, a
/// [`Receiver`] and its [`Sender`] do the same with less.
///
/// ```
/// use offshoot::{Channel, Error, Handle, Router};
///
/// fn main() -> Result<(), Error> {
///     offshoot::child();
///     let router = Router::new()?;
///     let myself = router.myself();
///     let one: Channel<String> = Channel::with_handle(&router, &myself, Handle(5001), Handle(5000));
///     let two: Channel<String> = Channel::new(&router, &myself, one.handle());
///     two.blocking_send("ping".into())?;
///     assert_eq!(one.blocking_recv()?, "ping");
///     two.close();
///     assert_eq!(one.blocking_recv().unwrap_err().to_string(), "Sender was explicitly closed");
///     router.blocking_shutdown();
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Channel<T> {
    receiver: Receiver<T>,
    sender: Sender<T>,
}

impl<T> Channel<T> {
    /// A channel to `dst_handle` of `context`, with the next free handle at
    /// this end.
    pub fn new(router: &Router, context: &Context, dst_handle: Handle) -> Self {
        Self { receiver: Receiver::new(router), sender: Sender::new(context, dst_handle) }
    }

    /// A channel with a fixed handle at this end, too. If it is taken, every
    /// receive gives [`Error::Handle`].
    pub fn with_handle(router: &Router, context: &Context, dst_handle: Handle, handle: Handle) -> Self {
        let receiver = Receiver::builder(router).handle(handle).build();
        Self { receiver, sender: Sender::new(context, dst_handle) }
    }

    /// The port of this end.
    pub fn handle(&self) -> Handle {
        self.receiver.handle()
    }

    /// The context at the other end.
    pub fn context(&self) -> ContextId {
        self.sender.context()
    }

    /// The port of the other end.
    pub fn dst_handle(&self) -> Handle {
        self.sender.handle()
    }

    /// This end, for a [`Select`](crate::Select) or its other ways to receive.
    pub fn receiver(&self) -> &Receiver<T> {
        &self.receiver
    }

    /// The other end.
    pub fn sender(&self) -> &Sender<T> {
        &self.sender
    }

    /// Closes this end, then tells the other one.
    pub fn close(&self) {
        self.receiver.close();
        self.sender.close();
    }
}

impl<T: Serialize + DeserializeOwned> Channel<T> {
    /// As [`Sender::send`].
    ///
    /// # Errors
    ///
    /// As [`Sender::send`].
    pub fn send(&self, value: T) -> Sending {
        self.sender.send(value)
    }

    /// As [`Sender::blocking_send`]: blocks until there is room.
    ///
    /// # Errors
    ///
    /// As [`Sender::send`].
    pub fn blocking_send(&self, value: T) -> Result<(), Error> {
        self.sender.blocking_send(value)
    }

    /// As [`Receiver::recv`]. Cancel safe.
    ///
    /// # Errors
    ///
    /// As [`Receiver::recv`].
    pub async fn recv(&self) -> Result<T, Error> {
        self.receiver.recv().await
    }

    /// As [`Receiver::recv_timeout`]. Cancel safe.
    ///
    /// # Errors
    ///
    /// As [`Receiver::recv_timeout`].
    pub async fn recv_timeout(&self, timeout: Duration) -> Result<T, Error> {
        self.receiver.recv_timeout(timeout).await
    }

    /// As [`Receiver::blocking_recv`]: blocks.
    ///
    /// # Errors
    ///
    /// As [`Receiver::recv`].
    pub fn blocking_recv(&self) -> Result<T, Error> {
        self.receiver.blocking_recv()
    }
}
