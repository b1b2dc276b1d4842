//! Channels: a receiver in this context and a sender to another one, combined.

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
/// `In` is the type of the values that this end receives, and `Out` the type of the values that it sends. At
/// the other end the two types are exchanged. Each end has to know the handle of the other end. One of the
/// handles is fixed, or is passed as an argument; [`Channel::set_dst_handle`] sets it at this end as soon as
/// it is known. If only one side sends, a [`Receiver`] and its [`Sender`] are simpler.
///
/// The other end must exist before the first value is sent to it. Its context drops a value that arrives
/// earlier. That [`Channel::send`] succeeds, and only a later one fails, with `invalid handle`
/// ([`ChannelErrorKind::InvalidHandle`](crate::error::ChannelErrorKind::InvalidHandle)). So the side that makes
/// its end last sends first:
///
/// ```
/// use offshoot::{Channel, Econtext, Error, Handle, Router, export};
///
/// /// Doubles numbers until the caller closes its end.
/// async fn double(econtext: &Econtext, caller: Handle) -> Result<(), Error> {
///     let numbers: Channel<u32> = Channel::new(econtext.router(), &econtext.caller(), caller);
///     numbers.send(numbers.handle().0).await?; // this end exists now, and this is its handle
///     while let Ok(number) = numbers.recv().await {
///         numbers.send(2 * number).await?;
///     }
///     Ok(())
/// }
/// export!(concurrent double); // it waits for numbers, and must not hold up other calls
///
/// fn main() -> Result<(), Error> {
///     offshoot::child();
///     let router = Router::new()?;
///     let child = router.local().blocking_connect()?;
///     let mut numbers: Channel<u32> = Channel::new(&router, &child, Handle::NONE);
///     let call = child.call(double, (numbers.handle(),));
///     numbers.set_dst_handle(Handle(numbers.blocking_recv()?));
///     numbers.blocking_send(21)?;
///     assert_eq!(numbers.blocking_recv()?, 42);
///     numbers.close();
///     call.blocking_recv()?;
///     router.blocking_shutdown();
///     Ok(())
/// }
/// ```
///
/// Both ends may also be in one context:
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
///     one.set_dst_handle(two.handle()); // the handle is known only now
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
    /// Creates a channel to `dst_handle` of `context`. This end gets the next free handle. Pass
    /// [`Handle::NONE`] if the handle of the other end is not known yet. Sending then fails with
    /// [`Error::Handle`] until [`Channel::set_dst_handle`] is called. Does not block.
    pub fn new(router: &Router, context: &Context, dst_handle: Handle) -> Self {
        Self::of(Receiver::new(router), context, dst_handle)
    }

    /// Creates a channel with a fixed handle at this end, too. Does not block.
    ///
    /// # Errors
    ///
    /// [`Error::Handle`] if `handle` is in use or reserved for the router.
    pub fn with_handle(router: &Router, context: &Context, dst_handle: Handle, handle: Handle) -> Result<Self, Error> {
        Ok(Self::of(Receiver::builder(router).handle(handle).build()?, context, dst_handle))
    }

    fn of(receiver: Receiver<In>, context: &Context, dst_handle: Handle) -> Self {
        Self { receiver, sender: Sender::new(context, dst_handle), context: context.clone() }
    }

    /// Sets the handle of the other context to which this channel sends from now on. Clones that were made
    /// before keep their handle.
    pub fn set_dst_handle(&mut self, handle: Handle) {
        self.sender = Sender::new(&self.context, handle);
    }

    /// The handle of this end.
    pub fn handle(&self) -> Handle {
        self.receiver.handle()
    }

    /// The context at the other end.
    pub fn context(&self) -> ContextId {
        self.context.id()
    }

    /// The handle of the other end.
    pub fn dst_handle(&self) -> Handle {
        self.sender.handle()
    }

    /// The receiver of this end, to add it to a [`Select`](crate::Select) or to use its other functions.
    pub fn receiver(&self) -> &Receiver<In> {
        &self.receiver
    }

    /// The sender to the other end.
    pub fn sender(&self) -> &Sender<Out> {
        &self.sender
    }

    /// Closes the receiver of this end, and then signals the other end that no more values follow. Does not
    /// block.
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

    /// As [`Sender::blocking_send`]: blocks until the window has accepted the value.
    ///
    /// # Errors
    ///
    /// As [`Sender::send`].
    pub fn blocking_send(&self, value: Out) -> Result<(), Error> {
        self.sender.blocking_send(value)
    }
}

impl<In: DeserializeOwned, Out> Channel<In, Out> {
    /// As [`Receiver::recv`]. Cancel safe. Code that is not async uses [`Channel::blocking_recv`].
    ///
    /// # Errors
    ///
    /// As [`Receiver::recv`].
    pub async fn recv(&self) -> Result<In, Error> {
        self.receiver.recv().await
    }

    /// As [`Receiver::recv_timeout`]. Cancel safe. Code that is not async uses
    /// [`Channel::blocking_recv_timeout`].
    ///
    /// # Errors
    ///
    /// As [`Receiver::recv_timeout`].
    pub async fn recv_timeout(&self, timeout: Duration) -> Result<In, Error> {
        self.receiver.recv_timeout(timeout).await
    }

    /// As [`Receiver::blocking_recv`]: blocks until a value arrives.
    ///
    /// # Errors
    ///
    /// As [`Receiver::recv`].
    pub fn blocking_recv(&self) -> Result<In, Error> {
        self.receiver.blocking_recv()
    }

    /// As [`Receiver::blocking_recv_timeout`]: blocks for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As [`Receiver::recv_timeout`].
    pub fn blocking_recv_timeout(&self, timeout: Duration) -> Result<In, Error> {
        self.receiver.blocking_recv_timeout(timeout)
    }
}
