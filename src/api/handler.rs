//! Handlers: the user's own code behind a handle, and which handles are taken.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::api::router::{Command, Router, Shared};
use crate::engine::io::Target;
use crate::engine::queue::Queue;
use crate::routing::table::{Peer, Policy, Registration};
use crate::wire::error::Error;
use crate::wire::message::{ContextId, Handle, Message};

/// Handles from here on are never given out, so a fixed one here can never
/// meet another.
const LAST_DYNAMIC: u32 = 1 << 31;

/// A user's handler, and the windows of those who write to it.
pub(crate) struct Callback {
    pub(crate) queue: Arc<Queue>,
    pub(crate) call: Box<dyn Fn(Message) + Send + Sync>,
}

/// Which handles of a router the user holds.
pub(crate) struct Ports {
    next: AtomicU32,
    held: Mutex<HashMap<Handle, Option<Arc<Queue>>>>,
}

impl Default for Ports {
    fn default() -> Self {
        Self { next: AtomicU32::new(Handle::FIRST_DYNAMIC.0), held: Mutex::default() }
    }
}

impl Ports {
    /// The next handle that is given out. When all have been, it begins
    /// anew.
    pub(crate) fn next(&self) -> Handle {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        if (Handle::FIRST_DYNAMIC.0..LAST_DYNAMIC).contains(&next) {
            return Handle(next);
        }
        self.next.store(Handle::FIRST_DYNAMIC.0 + 1, Ordering::Relaxed);
        Handle::FIRST_DYNAMIC
    }

    /// Takes a handle, or the next free one.
    pub(crate) fn claim(&self, handle: Option<Handle>, overwrite: bool) -> Result<Handle, Error> {
        let mut held = self.held();
        let Some(handle) = handle else {
            let free = std::iter::repeat_with(|| self.next()).find(|next| !held.contains_key(next));
            let handle = free.unwrap_or_default();
            held.insert(handle, None);
            return Ok(handle);
        };
        let refuse = |reason: &str| Err(Error::Handle { handle, reason: reason.into() });
        match handle.0 {
            0 | 999 => return refuse("cannot be registered: it has a meaning of its own"),
            100..=116 => return refuse("cannot be registered: it is the router's own"),
            _ => {}
        }
        if held.contains_key(&handle) && !overwrite {
            return refuse("cannot register a handle that already exists");
        }
        held.insert(handle, None);
        if handle.0 < LAST_DYNAMIC {
            self.next.fetch_max(handle.0 + 1, Ordering::Relaxed);
        }
        Ok(handle)
    }

    /// Notes which queue stands behind a handle.
    pub(crate) fn hold(&self, handle: Handle, queue: &Arc<Queue>) {
        self.held().insert(handle, Some(Arc::clone(queue)));
    }

    /// Gives a handle up; false if it is not held, or not by `queue`.
    pub(crate) fn release(&self, handle: Handle, queue: Option<&Arc<Queue>>) -> bool {
        let mut held = self.held();
        let Some(holder) = held.get(&handle) else {
            return false;
        };
        let is_holder = match (queue, holder) {
            (Some(queue), Some(holder)) => Arc::ptr_eq(queue, holder),
            (Some(_), None) => false,
            (None, _) => true,
        };
        if is_holder {
            held.remove(&handle);
        }
        is_holder
    }

    fn held(&self) -> MutexGuard<'_, HashMap<Handle, Option<Arc<Queue>>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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
        let registration = Registration { sink, once: !persist, respondent, policy };
        if !shared.command(Command::AddHandler { handle, registration, overwrite }) {
            return Err(Error::router_ended());
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
        self.shared().command(Command::DelHandler(handle, None));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_handle_is_never_given_out_as_well() {
        let ports = Ports::default();
        assert_eq!(ports.claim(Some(Handle(1003)), false).unwrap(), Handle(1003));
        assert_eq!([ports.next(), ports.claim(None, false).unwrap()], [Handle(1004), Handle(1005)]);
        assert!(ports.claim(Some(Handle(1005)), false).is_err());
        assert!(ports.claim(Some(Handle(1005)), true).is_ok());
    }

    #[test]
    fn handles_begin_anew_when_all_were_given_out() {
        let ports = Ports::default();
        ports.claim(Some(Handle(1000)), false).unwrap();
        ports.next.store(LAST_DYNAMIC - 1, Ordering::Relaxed);
        assert_eq!(ports.next(), Handle(LAST_DYNAMIC - 1));
        assert_eq!(ports.claim(None, false).unwrap(), Handle(1001), "1000 is held still");
    }

    #[test]
    fn the_routers_own_handles_and_those_with_a_meaning_are_refused() {
        let ports = Ports::default();
        for handle in [Handle::NONE, Handle::IS_DEAD, Handle::CALL_FUNCTION, Handle::STATS] {
            assert!(ports.claim(Some(handle), true).is_err(), "{handle}");
        }
    }

    #[test]
    fn who_was_replaced_cannot_give_up_what_is_no_longer_his() {
        let ports = Ports::default();
        let (old, new) = (Arc::new(Queue::new(Handle(2000))), Arc::new(Queue::new(Handle(2000))));
        ports.hold(Handle(2000), &old);
        ports.claim(Some(Handle(2000)), true).unwrap();
        ports.hold(Handle(2000), &new);
        assert!(!ports.release(Handle(2000), Some(&old)));
        assert!(ports.release(Handle(2000), Some(&new)));
        assert!(!ports.release(Handle(2000), None));
    }
}
