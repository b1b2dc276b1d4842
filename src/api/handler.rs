//! Handlers: the user's own code behind a handle, and which handles are taken.

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
    /// A fixed handle, from 1000. Default: the next free one.
    pub fn handle(mut self, handle: Handle) -> Self {
        self.handle = Some(handle);
        self
    }

    /// Whether more than one message may come. If not, the handle is given up
    /// before the first one is delivered. Default: true.
    pub fn persist(mut self, on: bool) -> Self {
        self.persist = on;
        self
    }

    /// Whether a handler or receiver that has the fixed handle already is
    /// replaced. Default: false.
    pub fn overwrite(mut self, on: bool) -> Self {
        self.overwrite = on;
        self
    }

    /// Only this context may write here: others are told `reply from
    /// unexpected context`. When it goes, the handler gets a dead message, `the
    /// respondent Context has disconnected`, and is removed. Default: any
    /// context may.
    pub fn respondent(mut self, context: ContextId) -> Self {
        self.respondent = Some(context);
        self
    }

    /// Decides about each message, on the I/O thread, where it must not block.
    /// Whoever is refused is told `refused by policy`. One that panics has
    /// refused. Default: all may pass.
    pub fn policy(mut self, policy: impl Fn(&Message, &Peer) -> bool + Send + Sync + 'static) -> Self {
        self.policy = Some(Arc::new(policy));
        self
    }

    /// Registers the handler and returns its handle. Does not block.
    ///
    /// # Errors
    ///
    /// [`Error::Handle`] if the handle is taken or is the router's own,
    /// [`Error::Closed`] if the router has ended.
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
    /// A handler: `handler` is called for each message to its handle, on the
    /// I/O thread, where it must not block: what would wait here panics. A
    /// panic in it is logged. It ends
    /// with [`HandlerBuilder::build`]; see [`Message`] for an example.
    ///
    /// When the router ends, each handler gets one dead message, `Broker has
    /// exitted`. A handler that holds a `Router` keeps it from ending by
    /// itself; a message can be decoded and answered without one.
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

    /// Removes a handler; a receiver that had the handle is closed. Whoever
    /// writes to it from now on is told `invalid handle`. Does not block.
    ///
    /// # Errors
    ///
    /// [`Error::Handle`] if nobody has the handle, or the router itself.
    pub fn del_handler(&self, handle: Handle) -> Result<(), Error> {
        if !self.shared().ports().release(handle, None) {
            return Err(Error::Handle { handle, reason: "no handler is registered".into() });
        }
        self.shared().request(Request::DelHandler(handle, None));
        Ok(())
    }
}
