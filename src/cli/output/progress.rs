//! A line on the terminal that shows how far a run or a copy is, while there is no other output. Each line replaces the
//! one before, and is removed when there is other output.

use std::time::Duration;

use indicatif::{HumanBytes, HumanDuration};
use tokio::time::Instant;

use crate::cli::output::bar::Bar;
use crate::cli::output::pipe::Pipe;
use crate::cli::output::visible;

/// Most hosts that the line names.
pub(crate) const MAX_NAMED: usize = 3;

/// What is to be sent and what was sent. Files that the sink has already do not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) files: u64,
    pub(crate) files_done: u64,
    pub(crate) bytes: u64,
    pub(crate) bytes_done: u64,
}

impl Counts {
    /// How many bytes are still to be sent, as far as is known.
    pub(crate) fn bytes_left(self) -> u64 {
        self.bytes.saturating_sub(self.bytes_done)
    }
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State<'a> {
    pub(crate) hosts: usize,
    pub(crate) done: usize,
    /// The hosts that are not done and are the furthest behind.
    pub(crate) next: [Option<&'a str>; MAX_NAMED],
    /// How far a copy is.
    pub(crate) copied: Option<Counts>,
}

/// When the line is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    /// After this time without output, the line appears.
    quiet: Duration,
    /// How often the line is renewed after that.
    renewal: Duration,
}

impl Times {
    /// For commands. The seconds in the line change as often as it is renewed.
    pub(crate) const RUN: Self = Self { quiet: Duration::from_secs(5), renewal: Duration::from_secs(1) };
    /// For copies, whose bytes change all the time.
    pub(crate) const COPY: Self = Self { quiet: Duration::from_millis(500), renewal: Duration::from_millis(200) };
}

#[derive(Debug)]
pub(crate) struct Progress {
    /// If it is `None`, the line never appears.
    bar: Option<Bar>,
    times: Times,
    began: Instant,
    due: Instant,
    is_shown: bool,
}

impl Progress {
    pub(crate) fn new(is_on: bool, times: Times) -> Self {
        let now = Instant::now();
        Self { bar: is_on.then(Bar::new), times, began: now, due: now + times.quiet, is_shown: false }
    }

    /// Waits until the line has to be shown. Cancel safe.
    pub(crate) async fn due(&self) {
        match self.bar {
            Some(_) => tokio::time::sleep_until(self.due).await,
            None => std::future::pending().await,
        }
    }

    /// Shows the line on a terminal of so many columns.
    pub(crate) fn show(&mut self, state: State<'_>, columns: u16, stderr: &Pipe) {
        let Some(bar) = &self.bar else { return };
        self.due = Instant::now() + self.times.renewal;
        // A terminal that takes nothing shows nothing new, and lines for it would pile up.
        if stderr.waits() {
            return;
        }
        let line = match state.copied.filter(|counts| counts.files > 0) {
            Some(counts) => bar.with_bar((counts.bytes_done, counts.bytes), columns, |bar| {
                format!("{}{}", copied(counts, bar.rate(), bar.time_left()), behind(state, ", not "))
            }),
            None => bar.text(&format!("offshoot: {}", line(state, self.began.elapsed())), columns),
        };
        stderr.write(format!("\r{line}\x1b[K").into_bytes());
        self.is_shown = true;
    }

    /// Removes the line, because other output follows.
    pub(crate) fn clear(&mut self, stderr: &Pipe) {
        if std::mem::take(&mut self.is_shown) {
            stderr.write(b"\r\x1b[K".to_vec());
        }
        self.due = Instant::now() + self.times.quiet;
    }
}

/// How far a run is.
fn line(state: State<'_>, elapsed: Duration) -> String {
    let State { hosts, done, .. } = state;
    format!("{} s: {done} of {hosts} hosts done{}", elapsed.as_secs(), behind(state, ", not "))
}

/// The hosts that are not done.
fn behind(state: State<'_>, before: &str) -> String {
    let State { hosts, done, next, .. } = state;
    let named: Vec<String> = next.iter().flatten().map(|name| visible::word(name)).collect();
    let others = match hosts.saturating_sub(done + named.len()) {
        0 => String::new(),
        others => format!(" and {others} more"),
    };
    if named.is_empty() { String::new() } else { format!("{before}{}{others}", named.join(", ")) }
}

/// How far a copy is, at so many bytes in a second.
fn copied(counts: Counts, rate: u64, time_left: Option<Duration>) -> String {
    let Counts { files, files_done, bytes, bytes_done } = counts;
    let left = time_left.map(|time| format!(", {:#} left", HumanDuration(time))).unwrap_or_default();
    format!(
        "{} of {}, {}/s{left}, {files_done} of {files} files",
        HumanBytes(bytes_done),
        HumanBytes(bytes),
        HumanBytes(rate)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state<'a>(hosts: usize, done: usize, next: [Option<&'a str>; MAX_NAMED]) -> State<'a> {
        State { hosts, done, next, copied: None }
    }

    #[test]
    fn the_line_says_how_many_are_done_and_who_is_not() {
        let shown = |hosts, done, next| line(state(hosts, done, next), Duration::from_millis(61_900));
        let next = [Some("web1"), Some("we\u{202e}b2"), Some("web3")];
        assert_eq!(shown(30, 3, next), "61 s: 3 of 30 hosts done, not web1, we\\u{202e}b2, web3 and 24 more");
        assert_eq!(shown(2, 1, [Some("web1"), None, None]), "61 s: 1 of 2 hosts done, not web1");
        assert_eq!(shown(2, 2, [None; 3]), "61 s: 2 of 2 hosts done");
    }

    #[test]
    fn the_line_of_a_copy_has_bytes_rate_time_and_files() {
        let counts = Counts { files: 40, files_done: 12, bytes: 40 << 20, bytes_done: 10 << 20 };
        let text = copied(counts, 4 << 20, Some(Duration::from_secs(7)));
        assert_eq!(text, "10.00 MiB of 40.00 MiB, 4.00 MiB/s, 7s left, 12 of 40 files");
        assert_eq!(copied(Counts::default(), 0, None), "0 B of 0 B, 0 B/s, 0 of 0 files");
    }
}
