//! Output for people: `host: line` as lines arrive, and a summary.

use std::time::Duration;

use crate::cli::output::line::{Line, LineEnd};
use crate::cli::output::report::{HostExit, Open, Stream};
use crate::cli::output::summary::{End, Status, Summary};
use crate::cli::output::visible;
use crate::wire::error::joined;

/// The note about a command whose output was not read to its end.
const SILENT: &str = "note: the command has ended, but another process holds its output open and was silent for 2 s; \
                      what that prints from now on is not shown";

/// Marks the end of a piece of a line that is too long for one piece.
const CUT: &[u8] = b" [cut; the line goes on]";

const RESET: &str = "\x1b[0m";
const RED: &str = "\x1b[31m";
/// The colours of hosts, used in turn, so that adjacent hosts differ. Red is for stderr.
const HOSTS: [&str; 5] = ["\x1b[36m", "\x1b[32m", "\x1b[33m", "\x1b[34m", "\x1b[35m"];

/// How to write to one of the tool's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Look {
    /// Whether the names of hosts are coloured.
    pub(crate) color: bool,
    /// Whether terminal escapes in the output of hosts are made visible.
    pub(crate) visible: bool,
    pub(crate) is_terminal: bool,
}

impl Look {
    /// Writes `name: line`. What hosts print on stderr goes to stderr.
    pub(crate) fn line(self, (index, name): (usize, &str), stream: Stream, line: Line<'_>, out: &mut Vec<u8>) {
        self.labelled((index, name), stream, &self.body(line), out);
    }

    /// A line without the name of its host and without its end.
    pub(crate) fn body(self, line: Line<'_>) -> Vec<u8> {
        let mut body = Vec::with_capacity(line.bytes.len());
        match self.visible {
            true => visible::line(line.bytes, &mut body),
            false => body.extend_from_slice(line.bytes),
        }
        if line.end == LineEnd::More {
            body.extend_from_slice(CUT);
        }
        body
    }

    /// Writes a body with the name of its host, in the colour of this host or stream.
    pub(crate) fn labelled(self, (index, name): (usize, &str), stream: Stream, body: &[u8], out: &mut Vec<u8>) {
        let color = match stream {
            Stream::Stdout => HOSTS[index % HOSTS.len()],
            Stream::Stderr => RED,
        };
        let (on, off) = if self.color { (color, RESET) } else { ("", "") };
        out.extend_from_slice(format!("{on}{name}:{off} ").as_bytes());
        out.extend_from_slice(body);
        out.push(b'\n');
    }

    /// The counts, the hosts that did not succeed, and the command that runs them again.
    pub(crate) fn summary(self, summary: &Summary, rerun: Option<&str>, out: &mut Vec<u8>) {
        let mut text = String::from("offshoot: ");
        match &summary.end {
            End::Complete => {}
            End::Interrupted => text.push_str("interrupted: "),
            End::Stopped(reason) => text.push_str(&format!("stopped early: {reason}: ")),
        }
        let hosts = if summary.total() == 1 { "host" } else { "hosts" };
        text.push_str(&format!("{} {hosts}: ", summary.total()));
        let counts: Vec<String> = Status::ALL
            .into_iter()
            .filter(|status| summary.count(*status) > 0)
            .map(|status| format!("{} {}", summary.count(status), status.words()))
            .collect();
        text.push_str(&format!("{} in {:.1} s\n", counts.join(", "), summary.seconds));
        for status in Status::ALL {
            if status != Status::Ok && summary.count(status) > 0 {
                text.push_str(&format!("  {}: {}\n", status.words(), summary.folded(status)));
            }
        }
        if !summary.slowest.is_empty() {
            let slow = summary.slowest.iter().map(|(name, seconds)| format!("{name} {seconds:.1} s"));
            text.push_str(&format!("  slowest: {}\n", slow.collect::<Vec<_>>().join(", ")));
        }
        if let Some(rerun) = rerun {
            text.push_str(&format!("  rerun: {rerun}\n"));
        }
        visible::text(&text, "", out);
        out.push(b'\n');
    }
}

/// How many frames were not shown; `None` if there are none.
pub(crate) fn hidden(frames: u64) -> Option<String> {
    const BEHIND: &str = "--raw shows";
    match frames {
        0 => None,
        1 => Some(format!("note: one piece of output that ends with a carriage return is not shown; {BEHIND} it")),
        _ => Some(format!(
            "note: {frames} pieces of output that end with a carriage return are not shown; {BEHIND} them"
        )),
    }
}

/// What went wrong on a host, as lines for stderr without its name; none if the host succeeded. `advice` is what to do
/// about it.
pub(crate) fn exit(exit: &HostExit, advice: &str) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    match exit.open {
        Open::No => {}
        Open::Silent => all.push(SILENT.as_bytes().to_vec()),
        Open::OverTime(limit) => all.push(over_time(exit, limit).into_bytes()),
    }
    let error = exit.error.as_ref();
    match exit.status {
        Status::Ok => return all,
        // The summary names these hosts. A line for each would hide the other errors.
        Status::Cancelled | Status::Skipped if error.is_none() => return all,
        _ => {}
    }
    let mut out = outcome(exit).into_bytes();
    if exit.attempts > 1 {
        out.extend_from_slice(format!(" in attempt {}", exit.attempts).as_bytes());
    }
    if let Some(error) = error {
        // The advice comes after the error and before the last output of the far side.
        let (text, said) = error.text.split_once('\n').unwrap_or((&error.text, ""));
        let mut text = joined(text, advice);
        if !said.is_empty() {
            text.push('\n');
            text.push_str(said);
        }
        for part in [&error.hop, &text] {
            if !part.is_empty() {
                out.extend_from_slice(b": ");
                visible::text(part, "    ", &mut out);
            }
        }
        if !error.steps.is_empty() {
            out.extend_from_slice(b"\n    ");
            visible::text(&error.steps, "    ", &mut out);
        }
    }
    all.push(out);
    all
}

/// How an attempt ended, and when the next one begins. What a failed connect has to say at length is said of the
/// last attempt.
pub(crate) fn retry(exit: &HostExit, wait: Duration) -> Vec<u8> {
    let mut text = format!("attempt {}: {}", exit.attempts, outcome(exit));
    if let Some(error) = &exit.error {
        text.push_str(&format!(": {}", error.text.lines().next().unwrap_or_default()));
    }
    let mut out = Vec::new();
    visible::text(&text, "    ", &mut out);
    out.extend_from_slice(format!("; the next attempt begins in {:.1} s", wait.as_secs_f64()).as_bytes());
    out
}

/// How a host has ended, in short.
fn outcome(exit: &HostExit) -> String {
    match (exit.status, exit.code, exit.signal) {
        (Status::Failed, _, Some(signal)) => format!("killed by signal {}", signal_name(signal)),
        (Status::Failed, Some(code), None) => format!("exited with return code {code}"),
        (Status::Timeout, ..) if exit.error.is_none() => format!("timed out after {:.1} s", exit.seconds),
        // The error has the limit. The time of the connect, which does not count for it, would be misleading.
        (Status::Timeout, ..) => "timed out".into(),
        (status, ..) => status.as_str().to_owned(),
    }
}

/// The note about a command that has ended in time, but whose output has not.
fn over_time(exit: &HostExit, limit: Duration) -> String {
    let how = match (exit.code, exit.signal) {
        (Some(code), _) => format!(" with return code {code}"),
        (None, Some(signal)) => format!(" by signal {}", signal_name(signal)),
        (None, None) => String::new(),
    };
    format!(
        "note: the command has ended{how}, but its output was still open when its time of {limit:?} was over: a \
         process that it has left behind still wrote, or some of the output was on its way; the rest is not shown, and \
         the process group of the command was stopped"
    )
}

/// The number of a signal, and its name if the name is the same on all systems.
fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        _ => return signal.to_string(),
    };
    format!("{signal} ({name})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::report::ErrorInfo;

    fn shown(look: Look, stream: Stream, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        look.line((0, "web1"), stream, Line { bytes, end: LineEnd::Newline }, &mut out);
        out
    }

    fn written(exit: &HostExit) -> String {
        let mut out = Vec::new();
        for body in super::exit(exit, exit.error.as_ref().map_or("", |error| &error.advice)) {
            Look::default().labelled((0, "web1"), Stream::Stderr, &body, &mut out);
        }
        String::from_utf8(out).unwrap()
    }

    fn exit(status: Status, code: Option<i32>, signal: Option<i32>, text: &str) -> String {
        advised(status, code, signal, text, "")
    }

    fn advised(status: Status, code: Option<i32>, signal: Option<i32>, text: &str, advice: &str) -> String {
        let error = (!text.is_empty()).then(|| ErrorInfo {
            kind: "auth".into(),
            phase: "login".into(),
            hop: "ssh.web1".into(),
            text: text.into(),
            advice: advice.into(),
            steps: String::new(),
        });
        written(&HostExit { status, code, signal, seconds: 30.04, error, ..HostExit::cancelled() })
    }

    #[test]
    fn lines_have_the_host_in_front() {
        let piped = Look::default();
        assert_eq!(shown(piped, Stream::Stdout, b"a\xff\x1b[m\r"), b"web1: a\xff\x1b[m\r\n");
        let terminal = Look { visible: true, is_terminal: true, color: false };
        assert_eq!(shown(terminal, Stream::Stdout, b"a\xff\x1b[m\r"), b"web1: a\\xff\\u{1b}[m\r\n");
        let color = Look { visible: true, is_terminal: true, color: true };
        assert_eq!(shown(color, Stream::Stdout, b"a"), b"\x1b[36mweb1:\x1b[0m a\n");
        assert_eq!(shown(color, Stream::Stderr, b"a"), b"\x1b[31mweb1:\x1b[0m a\n");
    }

    #[test]
    fn a_piece_of_a_line_is_marked() {
        let mut out = Vec::new();
        let line = Line { bytes: b"a", end: LineEnd::More };
        Look::default().line((0, "web1"), Stream::Stdout, line, &mut out);
        assert_eq!(out, b"web1: a [cut; the line goes on]\n");
    }

    #[test]
    fn failures_say_what_happened() {
        assert_eq!(exit(Status::Ok, Some(0), None, ""), "");
        assert_eq!(exit(Status::Cancelled, None, None, ""), "");
        assert_eq!(exit(Status::Failed, Some(3), None, ""), "web1: exited with return code 3\n");
        assert_eq!(exit(Status::Failed, None, Some(9), ""), "web1: killed by signal 9 (SIGKILL)\n");
        assert_eq!(exit(Status::Failed, None, Some(64), ""), "web1: killed by signal 64\n");
        assert_eq!(exit(Status::Timeout, None, None, ""), "web1: timed out after 30.0 s\n");
        let timed_out = exit(Status::Timeout, None, None, "the command did not end within 1s");
        assert_eq!(timed_out, "web1: timed out: ssh.web1: the command did not end within 1s\n");
        let shown = advised(Status::Unreachable, None, None, "no key\nPermission denied", "install one");
        assert_eq!(shown, "web1: unreachable: ssh.web1: no key; install one\n    Permission denied\n");
        assert_eq!(
            exit(Status::Unreachable, None, None, "connection refused\nlast \x1bwords\n"),
            "web1: unreachable: ssh.web1: connection refused\n    last \\u{1b}words\n"
        );
        assert_eq!(exit(Status::Failed, None, None, "no such program"), "web1: failed: ssh.web1: no such program\n");
    }

    #[test]
    fn an_attempt_that_is_not_the_last_is_told_in_one_line() {
        let error = ErrorInfo { text: "connection \x1brefused\nlast words".into(), ..ErrorInfo::default() };
        let mut exit = HostExit { status: Status::Unreachable, error: Some(error), ..HostExit::cancelled() };
        let first = retry(&exit, Duration::from_millis(1_240));
        let wanted = "attempt 1: unreachable: connection \\u{1b}refused; the next attempt begins in 1.2 s";
        assert_eq!(String::from_utf8(first).unwrap(), wanted);
        exit = HostExit { status: Status::Failed, code: Some(3), attempts: 2, error: None, ..exit };
        let second = retry(&exit, Duration::from_secs(2));
        assert_eq!(second, b"attempt 2: exited with return code 3; the next attempt begins in 2.0 s");
        assert_eq!(written(&HostExit { attempts: 3, ..exit }), "web1: exited with return code 3 in attempt 3\n");
    }

    #[test]
    fn output_that_was_left_open_is_noted() {
        let exit = HostExit { status: Status::Ok, code: Some(0), open: Open::Silent, ..HostExit::cancelled() };
        assert_eq!(written(&exit), format!("web1: {SILENT}\n"));
        for (code, signal, how) in [(Some(3), None, "with return code 3"), (None, Some(9), "by signal 9 (SIGKILL)")] {
            let (status, open) = (Status::Failed, Open::OverTime(Duration::from_secs(1)));
            let out = written(&HostExit { status, code, signal, open, ..HostExit::cancelled() });
            let begin =
                format!("web1: note: the command has ended {how}, but its output was still open when its time of 1s");
            assert!(out.starts_with(&begin), "{out}");
        }
    }

    #[test]
    fn the_summary_counts_names_and_helps_on() {
        let hosts = [
            ("web1", Status::Ok),
            ("web2", Status::Failed),
            ("web3", Status::Timeout),
            ("db1", Status::Unreachable),
            ("web5", Status::Failed),
        ];
        let hosts = hosts.map(|(name, status)| (name.to_owned(), status)).to_vec();
        let show = |end, rerun| {
            let mut out = Vec::new();
            let summary = Summary::new(hosts.clone(), end, 3.21, 1);
            Look::default().summary(&summary, rerun, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            show(End::Complete, Some("offshoot run -w x -- y")),
            "offshoot: 5 hosts: 1 ok, 2 failed, 1 unreachable, 1 timed out in 3.2 s\n  \
             failed: web[2,5]\n  unreachable: db1\n  timed out: web3\n  rerun: offshoot run -w x -- y\n"
        );
        let slow = Summary::new(hosts.clone(), End::Complete, 9.0, 1)
            .with_slowest(vec![("web7".into(), 12.34), ("a\x1b".into(), 4.0)]);
        let mut out = Vec::new();
        Look::default().summary(&slow, Some("again"), &mut out);
        let shown = String::from_utf8(out).unwrap();
        assert!(shown.contains("\n  slowest: web7 12.3 s, a\\u{1b} 4.0 s\n  rerun: again\n"), "{shown}");
        assert!(show(End::Interrupted, None).starts_with("offshoot: interrupted: 5 hosts"));
        assert!(show(End::Stopped("\x1bmax".into()), None).starts_with("offshoot: stopped early: \\u{1b}max: 5"));
        let mut out = Vec::new();
        let one = Summary::new(vec![("a".into(), Status::Ok)], End::Complete, 0.04, 0);
        Look::default().summary(&one, None, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "offshoot: 1 host: 1 ok in 0.0 s\n");
    }
}
