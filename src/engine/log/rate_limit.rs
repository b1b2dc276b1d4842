//! Limits the log records of other contexts on stderr: a maximum number of lines and bytes per second for
//! each context. Further lines are dropped, counted and reported. A line that a context repeats within a second
//! is written once more at most, with the number of repetitions.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::file::TIME;
use crate::sys::patient::Patient;
use crate::wire::text::beginning;

/// Maximum number of lines per second and context. People cannot read more as it arrives.
const MAX_LINES: u32 = 200;
/// Maximum size of the lines per second and context, in bytes: many screens of long lines.
const MAX_BYTES: usize = 64 * 1024;
/// Maximum size of a line, in bytes. A longer line is cut, so that one record does not fill the screen.
const MAX_LENGTH: usize = 8 * 1024;
/// Maximum size of a line whose repetitions are counted, in bytes. One such line is kept for each context.
const MAX_REPEATED: usize = 1024;
/// Number of remembered contexts above which those that have logged nothing lately are removed.
const MAX_IDLE: usize = 1024;
const SECOND: Duration = Duration::from_secs(1);

/// Whether the limits are active. Other programs than the tool decide for themselves.
static IS_ON: AtomicBool = AtomicBool::new(false);
/// Whether warnings and errors are told in words.
static IS_PLAIN: AtomicBool = AtomicBool::new(false);
static RATE_LIMITS: Mutex<BTreeMap<String, RateLimit>> = Mutex::new(BTreeMap::new());

/// The lines that a context has logged in one second.
#[derive(Debug, Default)]
struct RateLimit {
    /// When the second began.
    since: Option<Instant>,
    lines: u32,
    bytes: usize,
    /// Lines that were dropped and have not been reported yet.
    dropped: u64,
    /// The last line that was written, and the repetitions of it that have not been reported yet. Empty if the
    /// line was too long.
    last: String,
    repeated: u64,
}

/// What must be written.
#[derive(Debug, Default, PartialEq, Eq)]
struct Due {
    /// The number of earlier lines that were dropped and not reported.
    dropped: u64,
    /// The earlier line that was repeated.
    repeated: Option<String>,
    /// Whether the line itself is written.
    line: bool,
}

impl RateLimit {
    /// Takes a further line of the context.
    fn admit(&mut self, now: Instant, line: &str) -> Due {
        let mut due = Due::default();
        if self.is_over(now) {
            due = self.rest();
            *self = Self { since: Some(now), ..Self::default() };
        }
        if !self.last.is_empty() && without_time(line) == without_time(&self.last) {
            self.repeated += 1;
            return due;
        }
        due.repeated = due.repeated.or_else(|| self.take_repeated());
        due.line = self.lines < MAX_LINES && self.bytes + line.len() <= MAX_BYTES;
        match due.line {
            true => (self.lines, self.bytes) = (self.lines + 1, self.bytes + line.len()),
            false => self.dropped += 1,
        }
        self.last = if due.line && line.len() <= MAX_REPEATED { line.to_owned() } else { String::new() };
        due
    }

    /// What was not reported yet.
    fn rest(&mut self) -> Due {
        Due { dropped: std::mem::take(&mut self.dropped), repeated: self.take_repeated(), line: false }
    }

    fn take_repeated(&mut self) -> Option<String> {
        let times = std::mem::take(&mut self.repeated);
        (times > 0).then(|| match times {
            1 => std::mem::take(&mut self.last),
            _ => format!("{} ({times} times more)\n", std::mem::take(&mut self.last).trim_end()),
        })
    }

    fn is_over(&self, now: Instant) -> bool {
        self.since.is_none_or(|since| now.saturating_duration_since(since) >= SECOND)
    }
}

/// Has warnings and errors of this library be told in words, without the time and the place in the code.
pub(crate) fn tell_in_words() {
    IS_PLAIN.store(true, Ordering::Relaxed);
}

/// Activates the limits.
pub(crate) fn limit_records() {
    IS_ON.store(true, Ordering::Relaxed);
}

/// Writes a line, which ends with a newline. `context` is the name of the context that logged it; `None` for
/// this process.
pub(super) fn write_to_stderr(context: Option<&str>, line: &str) -> io::Result<()> {
    let Some(context) = context.filter(|_| IS_ON.load(Ordering::Relaxed)) else {
        return write(context, line);
    };
    let shown = shortened(line);
    let line = shown.as_deref().unwrap_or(line);
    // The lock is not held while a write blocks.
    let due = {
        let (mut limits, now) = (RATE_LIMITS.lock().unwrap_or_else(PoisonError::into_inner), Instant::now());
        if limits.len() > MAX_IDLE {
            limits.retain(|_, limit| limit.dropped + limit.repeated > 0 || !limit.is_over(now));
        }
        limits.entry(context.to_owned()).or_default().admit(now, line)
    };
    tell(context, &due)?;
    if due.line { write(Some(context), line) } else { Ok(()) }
}

fn write(context: Option<&str>, line: &str) -> io::Result<()> {
    // What another context has written must not look as if the tool said it.
    let words = (context.is_none() && IS_PLAIN.load(Ordering::Relaxed)).then(|| in_words(line)).flatten();
    stderr(words.as_deref().unwrap_or(line))
}

fn stderr(text: &str) -> io::Result<()> {
    Patient(io::stderr()).write_all(text.as_bytes())
}

/// A warning or an error of this process as the tool says it to somebody who has not asked for a log; `None` for lines that
/// are none of this library.
fn in_words(line: &str) -> Option<String> {
    let rest = line.get(TIME..)?;
    let (label, of_library) = [(" W ", "note: "), (" E ", "")].into_iter().find_map(|(letter, label)| {
        Some((label, rest.strip_prefix(letter)?.strip_prefix(env!("CARGO_CRATE_NAME"))?))
    })?;
    let behind = of_library.starts_with(':').then_some(of_library)?;
    Some(format!("offshoot: {label}{}", behind.split_once(": ")?.1))
}

fn without_time(line: &str) -> Option<&str> {
    line.get(TIME..)
}

/// The shortened line, if it is too long to be shown completely.
fn shortened(line: &str) -> Option<String> {
    let rest = line.len().checked_sub(MAX_LENGTH).filter(|rest| *rest > 0)?;
    Some(format!("{} [cut; about {} KiB more]\n", beginning(line, MAX_LENGTH), rest.div_ceil(1024)))
}

/// Reports the lines that were dropped or repeated last, when the tool ends.
pub(crate) fn tell_dropped_records() {
    let limits = std::mem::take(&mut *RATE_LIMITS.lock().unwrap_or_else(PoisonError::into_inner));
    for (context, mut limit) in limits {
        // An error cannot be reported anywhere.
        let _ = tell(&context, &limit.rest());
    }
}

fn tell(context: &str, due: &Due) -> io::Result<()> {
    if let Some(line) = &due.repeated {
        write(Some(context), line)?;
    }
    let dropped = due.dropped;
    if dropped == 0 {
        return Ok(());
    }
    let text = format!(
        "offshoot: {dropped} log records of {context} are not shown, because it logged more than {MAX_LINES} lines \
         or {} KiB in a second\n",
        MAX_BYTES / 1024
    );
    stderr(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITTEN: Due = Due { dropped: 0, repeated: None, line: true };
    const KEPT: Due = Due { line: false, ..WRITTEN };

    fn line(text: &str) -> String {
        super::super::file::line("stderr", Some("ssh.web1"), 2, text, &[])
    }

    #[test]
    fn what_is_too_much_for_a_second_is_counted_and_told_in_the_next() {
        let (mut limit, now) = (RateLimit::default(), Instant::now());
        assert!((0..MAX_LINES).all(|n| limit.admit(now, &line(&n.to_string())) == WRITTEN));
        assert!((0..7).all(|n| limit.admit(now + SECOND / 2, &line(&n.to_string())) == KEPT));
        let long = format!("{}\n", "x".repeat(MAX_BYTES - 1));
        assert_eq!(limit.admit(now + SECOND, &long), Due { dropped: 7, ..WRITTEN });
        assert_eq!(limit.admit(now + SECOND, "x"), KEPT);
        assert_eq!(limit.admit(now + 2 * SECOND, "x"), Due { dropped: 1, ..WRITTEN });
    }

    #[test]
    fn a_line_that_comes_again_within_a_second_is_counted() {
        let (mut limit, now) = (RateLimit::default(), Instant::now());
        assert_eq!(limit.admit(now, &line("disk is full")), WRITTEN);
        assert!((0..98).all(|_| limit.admit(now, &line("disk is full")) == KEPT));
        let Due { repeated: Some(repeated), line: true, dropped: 0 } = limit.admit(now, &line("bye")) else { panic!() };
        assert!(repeated.ends_with(" W stderr.[ssh.web1]: disk is full (98 times more)\n"), "{repeated}");
        // Once more is once more.
        assert_eq!(limit.admit(now, &line("bye")), KEPT);
        let due = limit.admit(now + SECOND, &line("bye"));
        assert!(due.line && due.repeated.is_some_and(|repeated| repeated.ends_with("]: bye\n")));
        assert_eq!(limit.rest(), KEPT);
    }

    #[test]
    fn who_has_not_asked_for_a_log_is_told_in_words() {
        let of = |target: &str, level: u8| in_words(&super::super::file::line(target, None, level, "it is: lost", &[]));
        let inner = "offshoot::engine::io";
        assert_eq!(of(inner, 1).unwrap(), "offshoot: it is: lost\n");
        assert_eq!(of(inner, 2).unwrap(), "offshoot: note: it is: lost\n");
        assert_eq!((of(inner, 3), of("stderr", 2), of("offshooting", 1)), (None, None, None));
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_and_marked() {
        assert_eq!(shortened(&"x".repeat(MAX_LENGTH)), None);
        let line = shortened(&format!("{}\n", "é".repeat(MAX_LENGTH))).unwrap();
        assert!(line.len() < MAX_LENGTH + 40 && line.ends_with("é [cut; about 9 KiB more]\n"), "{}", line.len());
    }
}
