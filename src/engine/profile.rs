//! The profile of a process: how often functions and handlers ran, and for how long. It is logged at the end.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use crate::sys::process;
use crate::wire::message::Handle;

/// Maximum number of functions and handlers that are counted separately.
const MAX_TALLIES: usize = 512;

/// The counts and times of one process.
#[derive(Debug)]
pub(crate) struct Profile {
    began: Instant,
    functions: BTreeMap<&'static str, Tally>,
    handlers: BTreeMap<Handle, Tally>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    count: u64,
    total: Duration,
    longest: Duration,
}

impl Tally {
    fn add(&mut self, took: Duration) {
        self.count += 1;
        self.total += took;
        self.longest = self.longest.max(took);
    }

    fn line(&self, what: &str) -> String {
        let Self { count, total, longest } = self;
        format!("  {what}: {count} times, {} us in all, {} us at most", total.as_micros(), longest.as_micros())
    }
}

/// A time in a readable form.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03} s", self.0.as_secs(), self.0.subsec_millis())
    }
}

impl Profile {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), functions: BTreeMap::new(), handlers: BTreeMap::new() }
    }

    /// Adds a run of a function.
    pub(crate) fn function(&mut self, name: &'static str, took: Duration) {
        if self.functions.len() < MAX_TALLIES || self.functions.contains_key(name) {
            self.functions.entry(name).or_default().add(took);
        }
    }

    /// Adds a run of a handler on the I/O thread.
    pub(crate) fn handler(&mut self, handle: Handle, took: Duration) {
        if self.handlers.len() < MAX_TALLIES || self.handlers.contains_key(&handle) {
            self.handlers.entry(handle).or_default().add(took);
        }
    }

    /// The lines of the profile. Must be called on the I/O thread, whose own time is included.
    pub(crate) fn lines(&self, whose: &str) -> Vec<String> {
        let usage = process::usage();
        let first = format!(
            "profile of {whose}: {}, of CPU {}, of that {} in the I/O thread, at most {} KiB resident",
            Seconds(self.began.elapsed()),
            Seconds(usage.process),
            Seconds(usage.thread),
            usage.resident
        );
        let functions = self.functions.iter().map(|(name, tally)| tally.line(&format!("function {name}")));
        let handlers = self.handlers.iter().map(|(handle, tally)| tally.line(&format!("handle {handle}")));
        std::iter::once(first).chain(functions).chain(handlers).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_counts_and_adds_up() {
        let mut profile = Profile::new();
        for micros in [10, 30, 20] {
            profile.function("app::f", Duration::from_micros(micros));
        }
        profile.handler(Handle::CREDIT, Duration::from_micros(5));
        let lines = profile.lines("context 1 local.1");
        assert!(lines[0].starts_with("profile of context 1 local.1: "), "{lines:?}");
        assert_eq!(lines[1], "  function app::f: 3 times, 60 us in all, 30 us at most");
        assert_eq!(lines[2], "  handle 114: 1 times, 5 us in all, 5 us at most");
    }
}
