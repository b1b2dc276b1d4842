//! What waits in a receiver, and how much of it each sender may send.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::routing::fair_queue::FairQueue;
use crate::routing::window::{Grant, ReceiveWindows};
use crate::sys::hash::HashMap;
use crate::wire::error::DeadReason;
use crate::wire::message::{ContextId, Handle, Message};

/// Bytes that wait in one receiver, from all senders together.
const MAX_QUEUED: usize = 512 * 1024 * 1024;
/// Dead messages of one sender that wait in one receiver. They take no room
/// in a window.
const MAX_DEAD: u32 = 64;

/// Messages that wait for the application, and the windows of their senders.
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

    /// Takes in a message, or says why not.
    pub(crate) fn push(&self, message: Message) -> Result<(), DeadReason> {
        self.admit(&message)?;
        self.fair_queue.put(message).map_err(|_| DeadReason::INVALID_HANDLE)
    }

    /// Accounts for a message that comes in, if its sender has room for it.
    pub(crate) fn admit(&self, message: &Message) -> Result<(), DeadReason> {
        let mut account = self.account();
        if message.is_dead() {
            let dead = account.dead.entry(message.src).or_default();
            if *dead >= MAX_DEAD {
                return Err(DeadReason::WINDOW_EXCEEDED);
            }
            *dead += 1;
        } else {
            // Windows bound each sender, this bounds a crowd of them.
            let full = account.bytes > MAX_QUEUED;
            if full || !account.inlets.admit(message.src, message.data.len(), false) {
                return Err(DeadReason::WINDOW_EXCEEDED);
            }
        }
        account.bytes += message.data.len();
        Ok(())
    }

    /// Accounts for a message that the application has taken. Returns the
    /// room to give back, if it is time to do so.
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
        account.inlets.release(src, self.handle, size, false)
    }

    /// What tells the senders that their windows are closed.
    pub(crate) fn farewells(&self) -> Vec<Grant> {
        self.account().inlets.farewells(self.handle)
    }

    /// A sender has gone: its window with it.
    pub(crate) fn forget(&self, sender: ContextId) {
        self.account().inlets.forget(sender);
    }

    /// Bytes of payload that wait.
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
