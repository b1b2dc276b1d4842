//! A line on the terminal that shows how far a run is, while there is no other output. Each line replaces the
//! one before, and is removed when there is other output.

use std::time::Duration;

use tokio::time::Instant;

use crate::cli::output::pipe::Pipe;
use crate::cli::output::visible;

/// After this time without output, the line appears.
const QUIET: Duration = Duration::from_secs(5);
/// How often the line is renewed after that. The seconds in it change at the same rate.
const RENEWAL: Duration = Duration::from_secs(1);
/// Most characters in the line. A line that the terminal wraps cannot be removed.
const MAX_WIDTH: usize = 78;
/// Most hosts that the line names.
const MAX_NAMED: usize = 3;

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State<'a> {
    pub(crate) hosts: usize,
    pub(crate) done: usize,
    /// The first hosts that are not done.
    pub(crate) next: [Option<&'a str>; MAX_NAMED],
}

#[derive(Debug)]
pub(crate) struct Progress {
    /// If it is false, the line never appears.
    is_on: bool,
    began: Instant,
    due: Instant,
    is_shown: bool,
}

impl Progress {
    pub(crate) fn new(is_on: bool) -> Self {
        let now = Instant::now();
        Self { is_on, began: now, due: now + QUIET, is_shown: false }
    }

    /// Waits until the line has to be shown. Cancel safe.
    pub(crate) async fn due(&self) {
        match self.is_on {
            true => tokio::time::sleep_until(self.due).await,
            false => std::future::pending().await,
        }
    }

    /// Shows the line.
    pub(crate) fn show(&mut self, state: State<'_>, stderr: &Pipe) {
        let text = line(state, self.began.elapsed());
        stderr.write(format!("\r{text}\x1b[K").into_bytes());
        self.is_shown = true;
        self.due = Instant::now() + RENEWAL;
    }

    /// Removes the line, because other output follows.
    pub(crate) fn clear(&mut self, stderr: &Pipe) {
        if std::mem::take(&mut self.is_shown) {
            stderr.write(b"\r\x1b[K".to_vec());
        }
        self.due = Instant::now() + QUIET;
    }
}

fn line(state: State<'_>, elapsed: Duration) -> String {
    let State { hosts, done, next } = state;
    let named: Vec<String> = next.iter().flatten().map(|name| visible::word(name)).collect();
    let others = match hosts - done - named.len() {
        0 => String::new(),
        others => format!(" and {others} more"),
    };
    let text =
        format!("offshoot: {} s: {done} of {hosts} hosts done, not {}{others}", elapsed.as_secs(), named.join(", "));
    text.chars().take(MAX_WIDTH).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_many_are_done_and_who_is_not() {
        let shown = |hosts, done, next| line(State { hosts, done, next }, Duration::from_millis(61_900));
        let next = [Some("web1"), Some("we\u{202e}b2"), Some("web3")];
        assert_eq!(shown(30, 3, next), "offshoot: 61 s: 3 of 30 hosts done, not web1, we\\u{202e}b2, web3 and 24 more");
        assert_eq!(shown(2, 1, [Some("web1"), None, None]), "offshoot: 61 s: 1 of 2 hosts done, not web1");
        let long = "x".repeat(100);
        assert_eq!(shown(2, 1, [Some(&long), None, None]).len(), MAX_WIDTH);
    }
}
