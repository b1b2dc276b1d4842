//! The handles of a router that the user holds, and the user's handlers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::engine::queue::Queue;
use crate::wire::error::Error;
use crate::wire::message::{Handle, Message};

/// Handles from here on are never assigned automatically, so a fixed handle in this range cannot collide with
/// one.
const LAST_DYNAMIC: u32 = 1 << 31;

/// A handler of the user, and the windows of the contexts that send to it.
pub(crate) struct Callback {
    pub(crate) queue: Arc<Queue>,
    pub(crate) call: Box<dyn Fn(Message) + Send + Sync>,
}

/// The handles of a router that the user holds.
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
    /// Returns the next handle. After the last one, it starts again with the first.
    pub(crate) fn next(&self) -> Handle {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        if (Handle::FIRST_DYNAMIC.0..LAST_DYNAMIC).contains(&next) {
            return Handle(next);
        }
        self.next.store(Handle::FIRST_DYNAMIC.0 + 1, Ordering::Relaxed);
        Handle::FIRST_DYNAMIC
    }

    /// Claims the next free handle.
    pub(crate) fn claim_next(&self) -> Handle {
        let mut held = self.held();
        let free = std::iter::repeat_with(|| self.next()).find(|next| !held.contains_key(next));
        let handle = free.unwrap_or_default();
        held.insert(handle, None);
        handle
    }

    /// Claims a fixed handle, or the next free one.
    pub(crate) fn claim(&self, handle: Option<Handle>, overwrite: bool) -> Result<Handle, Error> {
        let Some(handle) = handle else { return Ok(self.claim_next()) };
        let mut held = self.held();
        let refuse = |reason: &str| Err(Error::Handle { handle, reason: reason.into() });
        match handle.0 {
            0 | 999 => return refuse("cannot be registered: it has a meaning of its own"),
            100..=117 => return refuse("cannot be registered: it is the router's own"),
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

    /// Records the queue of a handle.
    pub(crate) fn hold(&self, handle: Handle, queue: &Arc<Queue>) {
        self.held().insert(handle, Some(Arc::clone(queue)));
    }

    /// Releases a handle. Returns false if it is not held, or not held by `queue`.
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
