//! What a router does when a timer goes off.

use std::rc::Rc;
use std::time::Instant;

use tokio::sync::oneshot;

use crate::engine::io::Io;
use crate::engine::timers::{Due, TimerKey};
use crate::routing::table::LinkId;
use crate::wire::message::{ContextId, Handle};

pub(crate) enum Timer {
    /// The time of a call that was made here is up.
    Reply(Handle),
    /// The time of a call that runs here is up.
    Call(ContextId, Handle),
    /// A child was told to end and has not.
    Kill(LinkId),
    Wake(oneshot::Sender<()>),
}

impl Due for Timer {
    /// A wait with a timeout that ends before it leaves its timer behind.
    fn is_void(&self) -> bool {
        matches!(self, Self::Wake(woken) if woken.is_closed())
    }
}

impl Io {
    pub(crate) fn set_timer(&self, when: Instant, timer: Timer) -> TimerKey {
        let key = self.thread.timer_key(when);
        self.state.borrow_mut().timers.insert(key, timer);
        self.bell.notify_one();
        key
    }

    pub(crate) fn clear_timer(&self, key: TimerKey) {
        self.state.borrow_mut().timers.remove(key);
    }

    /// Carries out what is due; returns when the next timer goes off.
    pub(super) fn run_timers(self: &Rc<Self>) -> Option<Instant> {
        loop {
            let due = self.state.borrow_mut().timers.take_due();
            match due {
                Err(next) => return next,
                Ok(Timer::Reply(handle)) => self.expire(handle),
                Ok(Timer::Call(src, handle)) => {
                    if let Some(dispatcher) = &self.dispatcher {
                        dispatcher.cancel(src, handle);
                    }
                }
                Ok(Timer::Kill(link)) => self.with_links(|links| links.kill(link)),
                Ok(Timer::Wake(woken)) => {
                    let _ = woken.send(());
                }
            }
        }
    }
}
