//! Log lines on stderr, at most so many per second. The rest is counted.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines per second: more than anybody reads as it comes, and few enough that a host that logs without end hides
/// nothing else for long.
const MAX_LINES: u32 = 1000;
const SECOND: Duration = Duration::from_secs(1);

static PACE: Mutex<Pace> = Mutex::new(Pace { since: None, lines: 0, dropped: 0 });

#[derive(Debug)]
struct Pace {
    /// When the second began in which lines are counted.
    since: Option<Instant>,
    lines: u32,
    dropped: u64,
}

impl Pace {
    /// Whether a further line may be written, and how many were dropped before it and were not told.
    fn admit(&mut self, now: Instant) -> (bool, u64) {
        let mut dropped = 0;
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= SECOND) {
            (self.since, self.lines) = (Some(now), 0);
            dropped = std::mem::take(&mut self.dropped);
        }
        let is_admitted = self.lines < MAX_LINES;
        match is_admitted {
            true => self.lines += 1,
            false => self.dropped += 1,
        }
        (is_admitted, dropped)
    }
}

pub(super) fn write_to_stderr(line: &str) -> io::Result<()> {
    // Not held while a write blocks.
    let (is_admitted, dropped) = PACE.lock().unwrap_or_else(PoisonError::into_inner).admit(Instant::now());
    tell(dropped)?;
    if is_admitted { io::stderr().write_all(line.as_bytes()) } else { Ok(()) }
}

/// Says how many lines were dropped last, at the end of the tool.
pub(crate) fn tell_dropped_records() {
    let dropped = std::mem::take(&mut PACE.lock().unwrap_or_else(PoisonError::into_inner).dropped);
    // If it fails, there is nowhere to say so.
    let _ = tell(dropped);
}

fn tell(dropped: u64) -> io::Result<()> {
    if dropped == 0 {
        return Ok(());
    }
    let text =
        format!("offshoot: {dropped} log records are not shown here, because more than {MAX_LINES} came in a second\n");
    io::stderr().write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_for_a_second_is_counted_and_told_in_the_next() {
        let mut pace = Pace { since: None, lines: 0, dropped: 0 };
        let now = Instant::now();
        assert!((0..MAX_LINES).all(|_| pace.admit(now) == (true, 0)));
        assert!((0..7).all(|_| pace.admit(now + SECOND / 2) == (false, 0)));
        assert_eq!(pace.admit(now + SECOND), (true, 7));
        assert_eq!(pace.admit(now + SECOND), (true, 0));
    }
}
