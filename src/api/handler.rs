//! Handlers: functions of the user that receive the messages to a handle.

use std::fmt;
use std::sync::Arc;

use crate::api::router::Router;
use crate::engine::inboxes::Target;
use crate::engine::ports::Callback;
use crate::engine::queue::Queue;
use crate::engine::shared::{Request, Shared};
use crate::routing::handles::{Peer, Policy, Registration, Rule};
use crate::wire::error::{Closed, Error};
use crate::wire::message::{ContextId, Handle, Message};

/// Settings of a new handler; see [`Router::add_handler`].
#[must_use = "nothing is registered before build()"]
pub struct HandlerBuilder {
    shared: Arc<Shared>,
    call: Box<dyn Fn(Message) + Send + Sync>,
    handle: Option<Handle>,
    persist: bool,
    overwrite: bool,
    respondent: Option<ContextId>,
    policy: Option<Policy>,
}

impl fmt::Debug for HandlerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerBuilder").field("handle", &self.handle).finish_non_exhaustive()
    }
}

impl HandlerBuilder {
    /// Sets a fixed handle. Those from 1000 on are also given to others in turn; one that is in use is refused. Default:
    /// the next free one.
    pub fn handle(mut self, handle: Handle) -> Self {
        self.handle = Some(handle);
        self
    }

    /// Whether the handler accepts more than one message. If not, the handle is released just before the
    /// first message is delivered. Default: true.
    pub fn persist(mut self, on: bool) -> Self {
        self.persist = on;
        self
    }

    /// Whether to replace a handler or receiver that already has the fixed handle. Default: false.
    pub fn overwrite(mut self, on: bool) -> Self {
        self.overwrite = on;
        self
    }

    /// Accepts messages only from this context. Messages from other contexts are refused with `reply from
    /// unexpected context`. When the context has gone, the handler gets a dead message, `the respondent
    /// Context has disconnected`, and is removed. Default: messages from all contexts are accepted.
    pub fn respondent(mut self, context: ContextId) -> Self {
        self.respondent = Some(context);
        self
    }

    /// Sets a function that decides whether each message is accepted. It runs on the I/O thread, so it must
    /// not block. Messages that it does not accept are refused with `refused by policy`. A panic in the
    /// function counts as a refusal. Default: all messages are accepted.
    pub fn policy(mut self, policy: impl Fn(&Message, &Peer) -> bool + Send + Sync + 'static) -> Self {
        self.policy = Some(Arc::new(policy));
        self
    }

    /// Registers the handler and returns its handle. Does not block.
    ///
    /// # Errors
    ///
    /// [`Error::Handle`] if the handle is in use or reserved for the router, [`Error::Closed`] if the router
    /// has ended.
    pub fn build(self) -> Result<Handle, Error> {
        let Self { shared, call, handle, persist, overwrite, respondent, policy } = self;
        let handle = shared.ports().claim(handle, overwrite)?;
        let queue = Arc::new(Queue::new(handle));
        shared.ports().hold(handle, &queue);
        let sink = Target::User(Arc::new(Callback { queue, call }));
        let registration = Registration { sink, once: !persist, respondent, policy: policy.map(Rule::Policy) };
        if !shared.request(Request::AddHandler { handle, registration, overwrite }) {
            return Err(Error::Closed(Closed::Router));
        }
        Ok(handle)
    }
}

impl Router {
    /// Returns a builder for a handler; [`HandlerBuilder::build`] registers it. `handler` is called for each
    /// message to its handle. It runs on the I/O thread, so it must not block: functions of this crate that
    /// would block panic there. A panic in it is logged. See [`Message`] for an example.
    ///
    /// When the router ends, each handler gets one dead message, `Broker has exitted`. A handler that holds a
    /// `Router` prevents the router from ending by itself. Decoding and answering a message does not need a
    /// `Router`.
    pub fn add_handler(&self, handler: impl Fn(Message) + Send + Sync + 'static) -> HandlerBuilder {
        HandlerBuilder {
            shared: Arc::clone(self.shared()),
            call: Box::new(handler),
            handle: None,
            persist: true,
            overwrite: false,
            respondent: None,
            policy: None,
        }
    }

    /// Removes a handler. If a receiver has the handle, it is closed. Messages that are sent to the handle
    /// from now on are refused with `invalid handle`. Does not block.
    ///
    /// # Errors
    ///
    /// [`Error::Handle`] if no handler or receiver has the handle, or if it is reserved for the router.
    pub fn del_handler(&self, handle: Handle) -> Result<(), Error> {
        if !self.shared().ports().release(handle, None) {
            return Err(Error::Handle { handle, reason: "no handler is registered".into() });
        }
        self.shared().request(Request::DelHandler(handle, None));
        Ok(())
    }
}
