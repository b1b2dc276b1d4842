//! Messages to a context, and the answers to them.

use serde::de::DeserializeOwned;

use crate::api::context::Context;
use crate::api::receiver::Receiver;
use crate::engine::shared::Request;
use crate::wire::error::Error;
use crate::wire::message::{Handle, Message};

impl Context {
    /// Sends a message there. Nobody reports whether it has arrived; a dead
    /// message to its `reply_to`, if it has one, says that it has not. Does
    /// not block.
    ///
    /// A message without `reply_to` waits here until a receiver has room for
    /// it, as values of a [`Sender`](crate::Sender) do; one with `reply_to`
    /// goes at once, and may be refused with `window exceeded`.
    ///
    /// # Errors
    ///
    /// [`Error::Channel`] if the router has ended.
    pub fn send(&self, message: Message) -> Result<(), Error> {
        let message = Message { dst: self.id(), ..message };
        let metered = message.reply_to == Handle::NONE && message.handle >= Handle::FIRST_DYNAMIC;
        self.queue(if metered { Request::SendMetered { message, accepted: None } } else { Request::Send(message) })
    }

    /// Sends a message there and returns a receiver for what comes back: one
    /// message, or [`Error::Channel`] if the context cannot be reached, has
    /// gone, or refuses. Does not block.
    ///
    /// # Errors
    ///
    /// [`Error::Channel`] if the router has ended.
    pub fn send_async<T>(&self, message: Message) -> Result<Receiver<T>, Error> {
        let receiver = Receiver::from_context(self.shared(), self.id(), false);
        self.send(Message { reply_to: receiver.handle(), single_reply: true, ..message })?;
        Ok(receiver)
    }

    /// As [`Context::send_async`], for an answer of any number of messages.
    ///
    /// # Errors
    ///
    /// [`Error::Channel`] if the router has ended.
    pub fn send_stream<T>(&self, message: Message) -> Result<Receiver<T>, Error> {
        let receiver = Receiver::from_context(self.shared(), self.id(), true);
        self.send(Message { reply_to: receiver.handle(), single_reply: false, ..message })?;
        Ok(receiver)
    }

    /// Sends a message there and waits for the answer. Dropping the future
    /// gives up the wait, nothing else.
    ///
    /// # Errors
    ///
    /// [`Error::Channel`] if the context cannot be reached, has gone, or
    /// refuses, [`Error::Payload`] if the answer is not a `T`,
    /// [`Error::Channel`] if the router has ended.
    pub async fn send_await<T: DeserializeOwned>(&self, message: Message) -> Result<T, Error> {
        self.send_async(message)?.recv().await
    }

    /// [`Context::send_await`] for code that is not async: blocks.
    ///
    /// # Errors
    ///
    /// As [`Context::send_await`].
    pub fn blocking_send_await<T: DeserializeOwned>(&self, message: Message) -> Result<T, Error> {
        self.send_async(message)?.blocking_recv()
    }
}
