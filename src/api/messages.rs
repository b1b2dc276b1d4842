//! Messages to a context, and the replies to them.

use serde::de::DeserializeOwned;

use crate::api::context::Context;
use crate::api::receiver::Receiver;
use crate::engine::shared::Request;
use crate::wire::error::Error;
use crate::wire::message::{Handle, Message};

impl Context {
    /// Sends a message to the context. Its delivery is not confirmed. If it cannot be delivered and has a
    /// `reply_to` handle, a dead message goes to that handle. Does not block.
    ///
    /// A message without `reply_to` waits in this context until the receiver has room for it, as values of a
    /// [`Sender`](crate::Sender) do. A message with `reply_to` is sent immediately; the receiver may refuse
    /// it with `window exceeded`.
    ///
    /// # Errors
    ///
    /// [`Error::Channel`] if the router has ended.
    pub fn send(&self, message: Message) -> Result<(), Error> {
        let message = Message { dst: self.id(), ..message };
        let metered = message.reply_to == Handle::NONE && message.handle >= Handle::FIRST_DYNAMIC;
        self.queue(if metered { Request::SendMetered { message, accepted: None } } else { Request::Send(message) })
    }

    /// Sends a message to the context, and returns a receiver for the reply. The receiver gets one message,
    /// or [`Error::Channel`] if the context cannot be reached, has gone, or refuses the message. Does not
    /// block.
    ///
    /// # Errors
    ///
    /// [`Error::Channel`] if the router has ended.
    pub fn send_async<T>(&self, message: Message) -> Result<Receiver<T>, Error> {
        let receiver = Receiver::from_context(self.shared(), self.id(), false);
        self.send(Message { reply_to: receiver.handle(), single_reply: true, ..message })?;
        Ok(receiver)
    }

    /// As [`Context::send_async`], for a reply that consists of any number of messages.
    ///
    /// # Errors
    ///
    /// [`Error::Channel`] if the router has ended.
    pub fn send_stream<T>(&self, message: Message) -> Result<Receiver<T>, Error> {
        let receiver = Receiver::from_context(self.shared(), self.id(), true);
        self.send(Message { reply_to: receiver.handle(), single_reply: false, ..message })?;
        Ok(receiver)
    }

    /// Sends a message to the context and waits for the reply. Dropping the future only ends the wait.
    /// Code that is not async uses [`Context::blocking_send_await`].
    ///
    /// # Errors
    ///
    /// - [`Error::Channel`] if the context cannot be reached, has gone, or refuses the message, or if the
    ///   router has ended
    /// - [`Error::Payload`] if the reply is not a `T`
    pub async fn send_await<T: DeserializeOwned>(&self, message: Message) -> Result<T, Error> {
        self.send_async(message)?.recv().await
    }

    /// [`Context::send_await`] for code that is not async: blocks until the reply arrives.
    ///
    /// # Errors
    ///
    /// As [`Context::send_await`].
    pub fn blocking_send_await<T: DeserializeOwned>(&self, message: Message) -> Result<T, Error> {
        self.send_async(message)?.blocking_recv()
    }
}
