//! The messages that wait in a receiver, and the windows of their senders.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::routing::fair_queue::FairQueue;
use crate::routing::window::{Grant, ReceiveWindows};
use crate::sys::hash::HashMap;
use crate::wire::error::DeadReason;
use crate::wire::message::{ContextId, Handle, Message};

/// Maximum size of the messages that wait in one receiver, from all senders together, in bytes.
const MAX_QUEUED: usize = 512 * 1024 * 1024;
/// Maximum number of dead messages of one sender that wait in one receiver. They occupy no room in a window.
const MAX_DEAD: u32 = 64;

/// The messages that wait for the application, and the windows of their senders.
pub(crate) struct Queue {
    pub(crate) handle: Handle,
    pub(crate) fair_queue: FairQueue<Message>,
    account: Mutex<Account>,
}

#[derive(Default)]
struct Account {
    /// Bytes of payload in the queue.
    bytes: usize,
    inlets: ReceiveWindows,
    dead: HashMap<ContextId, u32>,
}

impl Queue {
    pub(crate) fn new(handle: Handle) -> Self {
        Self { handle, fair_queue: FairQueue::default(), account: Mutex::default() }
    }

    /// Adds a message, or returns the reason why it is refused.
    pub(crate) fn push(&self, message: Message) -> Result<(), DeadReason> {
        self.admit(&message)?;
        self.fair_queue.put(message).map_err(|_| DeadReason::INVALID_HANDLE)
    }

    /// Accounts for a message that arrived, if its sender has room for it.
    pub(crate) fn admit(&self, message: &Message) -> Result<(), DeadReason> {
        let mut account = self.account();
        if message.is_dead() {
            let dead = account.dead.entry(message.src).or_default();
            if *dead >= MAX_DEAD {
                return Err(DeadReason::WINDOW_EXCEEDED);
            }
            *dead += 1;
        } else {
            // The windows limit each sender. This limits many senders together.
            let full = account.bytes > MAX_QUEUED;
            if full || !account.inlets.admit(message.src, message.data.len(), false) {
                return Err(DeadReason::WINDOW_EXCEEDED);
            }
        }
        account.bytes += message.data.len();
        Ok(())
    }

    /// Accounts for a message that the application has taken. Returns the room to give back to the sender, if
    /// it is time to do so.
    pub(crate) fn taken(&self, src: ContextId, size: usize, dead: bool) -> Option<Grant> {
        let mut account = self.account();
        account.bytes -= size;
        if dead {
            if let Some(count) = account.dead.get_mut(&src) {
                *count -= 1;
                if *count == 0 {
                    account.dead.remove(&src);
                }
            }
            return None;
        }
        account.inlets.release(src, self.handle, size)
    }

    /// Returns the grants that inform the senders that their windows are closed.
    pub(crate) fn farewells(&self) -> Vec<Grant> {
        self.account().inlets.farewells(self.handle)
    }

    /// Removes the window of a sender that has gone.
    pub(crate) fn forget(&self, sender: ContextId) {
        self.account().inlets.forget(sender);
    }

    /// Bytes of payload in the queue.
    pub(crate) fn bytes(&self) -> usize {
        self.account().bytes
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::fair_queue::Got;

    fn from(src: u32, message: Message) -> Message {
        Message { src: ContextId(src), ..message }
    }

    #[test]
    fn dead_messages_are_bounded_per_sender() {
        let queue = Queue::new(Handle(1000));
        let dead = |src| queue.push(from(src, Message::dead("closed")));
        let kept = (0..1000).filter(|_| dead(1).is_ok()).count();
        assert_eq!(kept, MAX_DEAD as usize);
        assert!(dead(2).is_ok(), "each sender has its own bound");
        let Got::Item(message) = queue.fair_queue.try_take() else { panic!("nothing there") };
        queue.taken(message.src, message.data.len(), true);
        assert!(dead(1).is_ok());
    }

    #[test]
    fn a_closed_queue_takes_nothing() {
        let queue = Queue::new(Handle(1000));
        queue.fair_queue.close();
        assert_eq!(queue.push(from(1, Message::dead("late"))), Err(DeadReason::INVALID_HANDLE));
    }
}
