//! Timers: actions at a certain time. Each router has one table, and the I/O thread has one for the jobs of
//! its users.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Void timers are removed only from tables with more timers than this.
const FEW: usize = 1024;

/// The time of a timer, and a number that makes the key unique.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TimerKey {
    when: Instant,
    number: u64,
}

impl TimerKey {
    pub(crate) fn when(&self) -> Instant {
        self.when
    }
}

/// Creates keys, on any thread. The keys of one source are unique.
#[derive(Debug, Default)]
pub(crate) struct TimerKeys(AtomicU64);

impl TimerKeys {
    pub(crate) fn key(&self, when: Instant) -> TimerKey {
        TimerKey { when, number: self.0.fetch_add(1, Ordering::Relaxed) }
    }
}

/// The action of a timer.
pub(crate) trait Due {
    /// Whether the action would have no effect, because nothing waits for it any more.
    fn is_void(&self) -> bool;
}

/// Timers, ordered by their keys, and thus by time.
pub(crate) struct Timers<T> {
    by_time: BTreeMap<TimerKey, T>,
    /// When there are more timers than this, the void ones are removed.
    crowd: usize,
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self { by_time: BTreeMap::new(), crowd: FEW }
    }
}

impl<T: Due> Timers<T> {
    pub(crate) fn insert(&mut self, key: TimerKey, due: T) {
        self.by_time.insert(key, due);
        if self.by_time.len() > self.crowd {
            self.by_time.retain(|_, due| !due.is_void());
            self.crowd = FEW.max(2 * self.by_time.len());
        }
    }

    pub(crate) fn remove(&mut self, key: TimerKey) {
        self.by_time.remove(&key);
    }

    /// Removes and returns the first timer if its time has come. Otherwise the error is the time of the first
    /// timer.
    pub(crate) fn take_due(&mut self) -> Result<T, Option<Instant>> {
        let first = self.by_time.first_entry().ok_or(None)?;
        let when = first.key().when;
        if when > Instant::now() { Err(Some(when)) } else { Ok(first.remove()) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_time.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[derive(Debug, PartialEq)]
    struct Numbered(u32);

    impl Due for Numbered {
        /// Odd ones are void.
        fn is_void(&self) -> bool {
            self.0 % 2 == 1
        }
    }

    #[test]
    fn timers_go_off_in_the_order_of_their_times_and_then_of_their_keys() {
        let (keys, mut timers, now) = (TimerKeys::default(), Timers::default(), Instant::now());
        let later = now + Duration::from_secs(1000);
        let (first, second) = (keys.key(now), keys.key(now));
        timers.insert(keys.key(later), Numbered(4));
        timers.insert(second, Numbered(2));
        timers.insert(first, Numbered(0));
        assert_eq!(timers.take_due(), Ok(Numbered(0)));
        assert_eq!(timers.take_due(), Ok(Numbered(2)));
        assert_eq!(timers.take_due(), Err(Some(later)));
    }

    #[test]
    fn a_timer_that_was_removed_does_not_go_off() {
        let (keys, mut timers) = (TimerKeys::default(), Timers::default());
        let key = keys.key(Instant::now());
        timers.insert(key, Numbered(0));
        timers.remove(key);
        assert_eq!((timers.take_due(), timers.is_empty()), (Err(None), true));
    }

    #[test]
    fn void_timers_do_not_pile_up() {
        let (keys, mut timers) = (TimerKeys::default(), Timers::default());
        let later = Instant::now() + Duration::from_secs(1000);
        (0..100 * FEW).for_each(|_| timers.insert(keys.key(later), Numbered(1)));
        assert!(timers.by_time.len() <= FEW, "{}", timers.by_time.len());
        (0..2 * FEW).for_each(|_| timers.insert(keys.key(later), Numbered(2)));
        assert!(timers.by_time.len() >= 2 * FEW, "the others stay");
    }
}
