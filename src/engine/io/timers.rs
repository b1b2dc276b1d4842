//! What happens at its time.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Instant;

use tokio::sync::oneshot;

use crate::engine::io::Io;
use crate::engine::link::LinkState;
use crate::routing::table::LinkId;
use crate::wire::message::{ContextId, Handle};

/// When a timer goes off, and a number that makes it unique.
pub(crate) type TimerKey = (Instant, u64);

pub(crate) enum Timer {
    /// The time of a call that was made here is up.
    Reply(Handle),
    /// The time of a call that runs here is up.
    Call(ContextId, Handle),
    /// A child was told to end and has not.
    Kill(LinkId),
    Wake(oneshot::Sender<()>),
}

/// All timers of a router.
#[derive(Default)]
pub(super) struct Timers {
    by_time: BTreeMap<TimerKey, Timer>,
    next: u64,
    /// When there are this many, those that nobody waits for any more are
    /// thrown out.
    crowd: usize,
}

impl Timers {
    pub(super) fn remove(&mut self, key: &TimerKey) -> Option<Timer> {
        self.by_time.remove(key)
    }

    /// A wait with a timeout that ends before it leaves its timer behind.
    fn tidy(&mut self) {
        if self.by_time.len() > self.crowd.max(1024) {
            self.by_time.retain(|_, timer| !matches!(timer, Timer::Wake(woken) if woken.is_closed()));
            self.crowd = 2 * self.by_time.len();
        }
    }
}

impl Io {
    pub(crate) fn set_timer(&self, when: Instant, timer: Timer) -> TimerKey {
        let timers = &mut self.state.borrow_mut().timers;
        let key = (when, timers.next);
        timers.next += 1;
        timers.by_time.insert(key, timer);
        timers.tidy();
        self.bell.notify_one();
        key
    }

    pub(crate) fn clear_timer(&self, key: TimerKey) {
        self.state.borrow_mut().timers.remove(&key);
    }

    /// Carries out what is due; returns when the next timer goes off.
    pub(super) fn run_timers(self: &Rc<Self>) -> Option<Instant> {
        loop {
            let mut state = self.state.borrow_mut();
            let (&key, _) = state.timers.by_time.first_key_value()?;
            if key.0 > Instant::now() {
                return Some(key.0);
            }
            let timer = state.timers.remove(&key);
            drop(state);
            match timer {
                Some(Timer::Reply(handle)) => self.expire(handle),
                Some(Timer::Call(src, handle)) => {
                    if let Some(dispatcher) = &self.dispatcher {
                        dispatcher.cancel(src, handle);
                    }
                }
                Some(Timer::Kill(link)) => {
                    self.with_link(link, LinkState::kill);
                }
                Some(Timer::Wake(woken)) => {
                    let _ = woken.send(());
                }
                None => {}
            }
        }
    }
}
