//! Limits the log records of other contexts on stderr: a maximum number of lines and bytes per second for
//! each context. Further lines are dropped, counted and reported.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Maximum number of lines per second and context. People cannot read more as it arrives.
const MAX_LINES: u32 = 200;
/// Maximum size of the lines per second and context, in bytes: many screens of long lines.
const MAX_BYTES: usize = 64 * 1024;
/// Maximum size of a line, in bytes. A longer line is cut, so that one record does not fill the screen.
const MAX_LENGTH: usize = 8 * 1024;
/// Number of remembered contexts above which those that have logged nothing lately are removed.
const MAX_IDLE: usize = 1024;
const SECOND: Duration = Duration::from_secs(1);

/// Whether the limits are active. Other programs than the tool decide for themselves.
static IS_ON: AtomicBool = AtomicBool::new(false);
static PACES: Mutex<BTreeMap<String, Pace>> = Mutex::new(BTreeMap::new());

/// The lines that a context has logged in one second.
#[derive(Debug, Default)]
struct Pace {
    /// When the second began.
    since: Option<Instant>,
    lines: u32,
    bytes: usize,
    /// Lines that were dropped and have not been reported yet.
    dropped: u64,
}

impl Pace {
    /// Whether a further line may be written, and the number of earlier dropped lines that have not been
    /// reported.
    fn admit(&mut self, now: Instant, bytes: usize) -> (bool, u64) {
        let mut dropped = 0;
        if self.is_over(now) {
            dropped = self.dropped;
            *self = Self { since: Some(now), ..Self::default() };
        }
        let is_admitted = self.lines < MAX_LINES && self.bytes + bytes <= MAX_BYTES;
        match is_admitted {
            true => (self.lines, self.bytes) = (self.lines + 1, self.bytes + bytes),
            false => self.dropped += 1,
        }
        (is_admitted, dropped)
    }

    fn is_over(&self, now: Instant) -> bool {
        self.since.is_none_or(|since| now.saturating_duration_since(since) >= SECOND)
    }
}

/// Activates the limits.
pub(crate) fn limit_records() {
    IS_ON.store(true, Ordering::Relaxed);
}

/// Writes a line, which ends with a newline. `context` is the name of the context that logged it; `None` for
/// this process.
pub(super) fn write_to_stderr(context: Option<&str>, line: &str) -> io::Result<()> {
    let Some(context) = context.filter(|_| IS_ON.load(Ordering::Relaxed)) else {
        return io::stderr().write_all(line.as_bytes());
    };
    let shown = shortened(line);
    let line = shown.as_deref().unwrap_or(line);
    // The lock is not held while a write blocks.
    let (is_admitted, dropped) = {
        let (mut paces, now) = (PACES.lock().unwrap_or_else(PoisonError::into_inner), Instant::now());
        if paces.len() > MAX_IDLE {
            paces.retain(|_, pace| pace.dropped > 0 || !pace.is_over(now));
        }
        paces.entry(context.to_owned()).or_default().admit(now, line.len())
    };
    tell(context, dropped)?;
    if is_admitted { io::stderr().write_all(line.as_bytes()) } else { Ok(()) }
}

/// The shortened line, if it is too long to be shown completely.
fn shortened(line: &str) -> Option<String> {
    let rest = line.len().checked_sub(MAX_LENGTH).filter(|rest| *rest > 0)?;
    let cut = (0..=MAX_LENGTH).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
    Some(format!("{} [cut; about {} KiB more]\n", &line[..cut], rest.div_ceil(1024)))
}

/// Reports the lines that were dropped last, when the tool ends.
pub(crate) fn tell_dropped_records() {
    let paces = std::mem::take(&mut *PACES.lock().unwrap_or_else(PoisonError::into_inner));
    for (context, pace) in paces {
        // An error cannot be reported anywhere.
        let _ = tell(&context, pace.dropped);
    }
}

fn tell(context: &str, dropped: u64) -> io::Result<()> {
    if dropped == 0 {
        return Ok(());
    }
    let text = format!(
        "offshoot: {dropped} log records of {context} are not shown, because it logged more than {MAX_LINES} lines \
         or {} KiB in a second\n",
        MAX_BYTES / 1024
    );
    io::stderr().write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_for_a_second_is_counted_and_told_in_the_next() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        assert!((0..MAX_LINES).all(|_| pace.admit(now, 100) == (true, 0)));
        assert!((0..7).all(|_| pace.admit(now + SECOND / 2, 100) == (false, 0)));
        assert_eq!(pace.admit(now + SECOND, MAX_BYTES), (true, 7));
        assert_eq!(pace.admit(now + SECOND, 1), (false, 0));
        assert_eq!(pace.admit(now + 2 * SECOND, 1), (true, 1));
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_and_marked() {
        assert_eq!(shortened(&"x".repeat(MAX_LENGTH)), None);
        let line = shortened(&format!("{}\n", "é".repeat(MAX_LENGTH))).unwrap();
        assert!(line.len() < MAX_LENGTH + 40 && line.ends_with("é [cut; about 9 KiB more]\n"), "{}", line.len());
    }
}
