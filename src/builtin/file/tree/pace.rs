//! How many bytes go in a second, over all hosts of a copy.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The longest single wait, so that a copy that is stopped ends soon.
const LONGEST: Duration = Duration::from_millis(50);

/// A limit that several threads share.
#[derive(Debug)]
pub(crate) struct Pace {
    bytes_per_second: f64,
    /// When the next bytes may go.
    next: Mutex<Instant>,
}

impl Pace {
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "the rate need not be exact")]
        Self { bytes_per_second: bytes_per_second.max(1) as f64, next: Mutex::new(Instant::now()) }
    }

    /// Waits until so many bytes may go.
    pub(crate) fn wait(&self, bytes: usize, stop: &AtomicBool) {
        #[expect(clippy::cast_precision_loss, reason = "the rate need not be exact")]
        let takes = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second);
        let at = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            // Time in which nothing was sent is not made up for.
            let at = (*next).max(Instant::now());
            *next = at + takes;
            at
        };
        loop {
            let left = at.saturating_duration_since(Instant::now());
            if left.is_zero() || stop.load(Ordering::Relaxed) {
                return;
            }
            std::thread::sleep(left.min(LONGEST));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_go_at_the_rate_over_all_threads() {
        let (pace, stop, begun) = (Pace::new(100_000), AtomicBool::new(false), Instant::now());
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..10).for_each(|_| pace.wait(1000, &stop)));
            }
        });
        // The last of twenty messages begins after nineteen have gone.
        assert!(begun.elapsed() >= Duration::from_millis(190), "{:?}", begun.elapsed());
        stop.store(true, Ordering::Relaxed);
        pace.wait(100_000_000, &stop);
        pace.wait(1, &stop);
    }
}
