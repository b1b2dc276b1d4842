//! What happened in a run, as text or JSON.
//!
//! Events go in; bytes for stdout and stderr come out. This module does not know where events come from or what
//! time it is.

use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde_json::value::RawValue;

use crate::cli::args::{Color, OutputArgs};
use crate::cli::hosts::fold::fold;
use crate::cli::output::json;
use crate::cli::output::jsonl;
use crate::cli::output::kept::{self, Kept, Store};
use crate::cli::output::line::{Line, LineEnd, Lines};
use crate::cli::output::pipe::{Document, Pipes};
use crate::cli::output::progress;
use crate::cli::output::summary::{End, Status, Summary};
use crate::cli::output::text::Look;
use crate::cli::output::visible;

/// A host by its index in the list that the report was made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct HostIndex(pub(crate) usize);

/// An event of a host.
#[derive(Debug, Clone)]
pub(crate) enum HostEvent {
    /// The host printed something. The bytes need not be whole lines.
    Output { host: HostIndex, stream: Stream, bytes: Vec<u8> },
    /// The value that a function has returned, as JSON on one line.
    Result { host: HostIndex, json: String },
    /// An attempt has ended like this, and another follows after the wait.
    Retry { host: HostIndex, exit: HostExit, wait: Duration },
    /// The host is done. Only the first such event counts.
    Exit { host: HostIndex, exit: HostExit },
    /// What the user is told while the run goes on, for stderr.
    Note(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// Whether the output of a command was still open when the tool stopped reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Open {
    #[default]
    No,
    /// Another process held it open and was silent.
    Silent,
    /// The command had ended, and this time limit was over.
    OverTime(Duration),
}

impl Open {
    pub(crate) fn is_open(self) -> bool {
        self != Self::No
    }
}

impl From<bool> for Open {
    fn from(is_silent: bool) -> Self {
        if is_silent { Self::Silent } else { Self::No }
    }
}

/// How the run ended on a host.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HostExit {
    pub(crate) status: Status,
    /// The command's exit code, if it exited.
    pub(crate) code: Option<i32>,
    /// The signal that ended it.
    pub(crate) signal: Option<i32>,
    /// Whether the output was still open, so that it was not read to the end.
    pub(crate) open: Open,
    /// Time from the start of the first connect to the end, in seconds.
    pub(crate) seconds: f64,
    /// The number of this attempt, which is how many there were.
    pub(crate) attempts: u32,
    /// Why the command could not be run, or not to its end.
    pub(crate) error: Option<ErrorInfo>,
}

impl HostExit {
    /// The end of a host that was not finished when the run was stopped.
    pub(crate) fn cancelled() -> Self {
        let (status, open) = (Status::Cancelled, Open::No);
        Self { status, code: None, signal: None, open, seconds: 0.0, attempts: 1, error: None }
    }

    /// Whether the connection was lost while the command or function ran: how far that came is not known.
    pub(crate) fn may_have_run(&self) -> bool {
        let error = self.error.as_ref();
        error.is_some_and(|error| error.kind == "disconnect" && matches!(&error.phase[..], "command" | "call"))
    }

    /// The exit code as a shell would report it.
    fn shell_code(&self) -> u8 {
        let code = match (self.signal, self.code) {
            (Some(signal), _) => signal.saturating_add(128),
            (None, Some(code)) => code,
            (None, None) => 0,
        };
        // A code that does not fit into a byte must not become 0, which means success.
        u8::try_from(code).unwrap_or(u8::MAX)
    }
}

/// An error in the form of the JSON output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
pub(crate) struct ErrorInfo {
    pub(crate) kind: String,
    pub(crate) phase: String,
    /// The hop that failed, such as `ssh.web1`.
    pub(crate) hop: String,
    /// What happened, and below it the last output of the far side.
    pub(crate) text: String,
    /// What to do about it; empty if nothing is known.
    pub(crate) advice: String,
    /// How far the connect got, for the text output.
    #[serde(skip)]
    pub(crate) steps: String,
}

/// How to show events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    pub(crate) format: Format,
    pub(crate) stdout: Look,
    pub(crate) stderr: Look,
    /// Whether all frames of a progress bar are shown unchanged.
    pub(crate) all_frames: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Json,
    Jsonl,
}

/// What decides the style in addition to the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Surroundings {
    pub(crate) stdout_is_terminal: bool,
    pub(crate) stderr_is_terminal: bool,
    /// Whether the variable `NO_COLOR` is set and not empty.
    pub(crate) no_color: bool,
}

impl Style {
    pub(crate) fn new(args: OutputArgs, color: Color, around: Surroundings) -> Self {
        let look = |is_terminal| Look {
            color: color.is_on(is_terminal, around.no_color),
            visible: is_terminal && !args.raw,
            is_terminal,
        };
        let format = match (args.json, args.jsonl) {
            (true, _) => Format::Json,
            (_, true) => Format::Jsonl,
            _ => Format::Text,
        };
        let (stdout, stderr) = (look(around.stdout_is_terminal), look(around.stderr_is_terminal));
        Self { format, stdout, stderr, all_frames: args.raw || format != Format::Text }
    }
}

/// Shows the events of hosts, and counts the results.
#[derive(Debug)]
pub(crate) struct Report {
    style: Style,
    hosts: Vec<Host>,
    /// The hosts before this index have been started.
    started: usize,
    /// The output that `--json` keeps from all hosts.
    store: Store,
}

/// The results of a run at its end.
pub(crate) struct Finished {
    pub(crate) summary: Summary,
    pub(crate) shown: Shown,
    /// A document for stdout, after the other output.
    pub(crate) document: Option<Document>,
}

#[derive(Debug, Default)]
struct Host {
    name: String,
    stdout: Lines,
    stderr: Lines,
    kept: Kept,
    exit: Option<HostExit>,
}

impl Report {
    /// `hosts` are the names, in the order of the expression.
    pub(crate) fn new(style: Style, hosts: Vec<String>) -> Self {
        let lines = || Lines::new(!style.all_frames);
        let host = |name| Host { name, stdout: lines(), stderr: lines(), ..Host::default() };
        let hosts: Vec<Host> = hosts.into_iter().map(host).collect();
        Self { style, started: hosts.len(), hosts, store: Store::default() }
    }

    /// The progress of the run.
    pub(crate) fn progress(&self) -> progress::State<'_> {
        let done = self.hosts.iter().filter(|host| host.exit.is_some()).count();
        let mut left = self.hosts.iter().filter(|host| host.exit.is_none()).map(|host| host.name.as_str());
        progress::State { hosts: self.hosts.len(), done, next: std::array::from_fn(|_| left.next()) }
    }

    /// Whether every host is done.
    pub(crate) fn is_complete(&self) -> bool {
        self.hosts.iter().all(|host| host.exit.is_some())
    }

    /// Whether the run was stopped before some host was done.
    pub(crate) fn is_cut_short(&self) -> bool {
        let is_done = |exit: &HostExit| !matches!(exit.status, Status::Cancelled | Status::Skipped);
        !self.hosts.iter().all(|host| host.exit.as_ref().is_some_and(is_done))
    }

    /// Notes that output of this host was not read, so that the host does not count as successful.
    pub(crate) fn cut(&mut self, HostIndex(index): HostIndex, why: &str) {
        if let Some(exit) = self.hosts.get_mut(index).and_then(|host| host.exit.as_mut())
            && exit.error.is_none()
            && matches!(exit.status, Status::Ok | Status::Failed)
        {
            exit.status = Status::Failed;
            exit.error = Some(ErrorInfo {
                kind: "output_cut".into(),
                phase: "command".into(),
                text: why.into(),
                ..ErrorInfo::default()
            });
        }
    }

    /// Returns what has to be shown for an event.
    pub(crate) fn handle(&mut self, now: SystemTime, event: HostEvent) -> Shown {
        let mut shown = Shown::default();
        match event {
            HostEvent::Output { host: HostIndex(index), stream, bytes } => {
                self.output(now, index, stream, &bytes, &mut shown);
            }
            HostEvent::Result { host: HostIndex(index), json } => self.result(now, index, json, &mut shown),
            HostEvent::Retry { host: HostIndex(index), exit, wait } => self.retry(now, index, &exit, wait, &mut shown),
            HostEvent::Exit { host: HostIndex(index), exit } => {
                self.exit(now, index, exit, &mut shown);
            }
            HostEvent::Note(text) => {
                shown.stderr.extend_from_slice(b"note: ");
                visible::text(&text, "    ", &mut shown.stderr);
                shown.stderr.push(b'\n');
            }
        }
        shown
    }

    /// Notes that the hosts from this index on were not started and will not be.
    pub(crate) fn skip_from(&mut self, index: usize) {
        self.started = index;
    }

    /// Returns the rest of the output, and the summary. Hosts that are not done count as cancelled, or as skipped
    /// if they were not started. `rerun` makes the command for another run from an expression and a caution.
    pub(crate) fn finish(
        mut self,
        now: SystemTime,
        end: End,
        seconds: f64,
        rerun: &dyn Fn(&str, Option<&str>) -> String,
    ) -> Finished {
        let mut shown = Shown::default();
        for index in 0..self.hosts.len() {
            self.flush(now, index, &mut shown);
            let status = if index < self.started { Status::Cancelled } else { Status::Skipped };
            self.exit(now, index, HostExit { status, ..HostExit::cancelled() }, &mut shown);
        }
        let statuses = |host: &Host| {
            let status = host.exit.as_ref().map_or(Status::Cancelled, |exit| exit.status);
            (host.name.clone(), status)
        };
        let codes = self.hosts.iter().filter_map(|host| host.exit.as_ref()).map(HostExit::shell_code);
        let summary = Summary::new(self.hosts.iter().map(statuses).collect(), end, seconds, codes.max().unwrap_or(0));
        let mut document = None;
        match self.style.format {
            Format::Text => {
                let not_ok = summary.not_ok();
                let caution = self.caution();
                let rerun = (!not_ok.is_empty()).then(|| rerun(&not_ok, caution.as_deref()));
                self.style.stderr.summary(&summary, rerun.as_deref(), &mut shown.stderr);
            }
            Format::Jsonl => jsonl::summary(now, &summary, &mut shown.stdout),
            Format::Json => document = Some(self.document(summary.clone(), &mut shown)),
        }
        Finished { summary, shown, document }
    }

    /// A caution about hosts on which the command may have run to its end.
    fn caution(&self) -> Option<String> {
        let is_lost = |host: &&Host| host.exit.as_ref().is_some_and(HostExit::may_have_run);
        let lost: Vec<String> = self.hosts.iter().filter(is_lost).map(|host| host.name.clone()).collect();
        (!lost.is_empty()).then(|| format!("it may have run to its end on {} already", fold(&lost)))
    }

    fn output(&mut self, now: SystemTime, index: usize, stream: Stream, bytes: &[u8], shown: &mut Shown) {
        let Some(host) = self.hosts.get_mut(index) else {
            debug_assert!(false, "host {index} is not in the list");
            return;
        };
        if self.style.format == Format::Json {
            host.kept.push(stream, bytes, &mut self.store);
            return self.spool();
        }
        let Host { name, stdout, stderr, .. } = host;
        let lines = match stream {
            Stream::Stdout => stdout,
            Stream::Stderr => stderr,
        };
        lines.push(bytes, |line| shown.line(self.style, now, (index, name), stream, line));
    }

    fn result(&mut self, now: SystemTime, index: usize, json: String, shown: &mut Shown) {
        let Some(host) = self.hosts.get_mut(index) else {
            debug_assert!(false, "host {index} is not in the list");
            return;
        };
        let Ok(value) = RawValue::from_string(json) else {
            debug_assert!(false, "a result that is not JSON");
            return;
        };
        match self.style.format {
            Format::Text => {
                let line = Line { bytes: value.get().as_bytes(), end: LineEnd::Newline };
                self.style.stdout.line((index, &host.name), Stream::Stdout, line, &mut shown.stdout);
            }
            Format::Jsonl => jsonl::result(&host.name, now, &value, &mut shown.stdout),
            Format::Json => {
                host.kept.keep_result(value.get(), &mut self.store);
                self.spool();
            }
        }
    }

    /// Moves output to the file if there is too much in memory.
    fn spool(&mut self) {
        if self.store.is_full() {
            self.store.spool(self.hosts.iter_mut().map(|host| &mut host.kept));
        }
    }

    fn exit(&mut self, now: SystemTime, index: usize, exit: HostExit, shown: &mut Shown) {
        self.flush(now, index, shown);
        let Some(host) = self.hosts.get_mut(index) else {
            debug_assert!(false, "host {index} is not in the list");
            return;
        };
        if host.exit.is_some() {
            return;
        }
        match self.style.format {
            Format::Text => {
                // A terminal would show only the last frame anyway.
                let hidden = [(&mut host.stdout, self.style.stdout), (&mut host.stderr, self.style.stderr)]
                    .into_iter()
                    .filter(|(_, look)| !look.is_terminal)
                    .map(|(lines, _)| lines.take_hidden())
                    .sum();
                self.style.stderr.hidden(&host.name, hidden, &mut shown.stderr);
                self.style.stderr.exit(&host.name, &exit, &mut shown.stderr);
            }
            Format::Jsonl => jsonl::exit(&host.name, now, &exit, &mut shown.stdout),
            Format::Json => {}
        }
        host.exit = Some(exit);
    }

    fn retry(&mut self, now: SystemTime, index: usize, exit: &HostExit, wait: Duration, shown: &mut Shown) {
        self.flush(now, index, shown);
        let Some(host) = self.hosts.get_mut(index) else {
            debug_assert!(false, "host {index} is not in the list");
            return;
        };
        match self.style.format {
            Format::Text => self.style.stderr.retry(&host.name, exit, wait, &mut shown.stderr),
            Format::Jsonl => jsonl::retry(&host.name, now, exit, wait, &mut shown.stdout),
            Format::Json => {}
        }
        // The document is about the last attempt.
        host.kept.clear(&mut self.store);
    }

    /// Shows unfinished lines whose end will not come.
    fn flush(&mut self, now: SystemTime, index: usize, shown: &mut Shown) {
        let style = self.style;
        if let Some(Host { name, stdout, stderr, .. }) = self.hosts.get_mut(index) {
            let host = (index, name.as_str());
            stdout.finish(|line| shown.line(style, now, host, Stream::Stdout, line));
            stderr.finish(|line| shown.line(style, now, host, Stream::Stderr, line));
        }
    }

    fn document(self, summary: Summary, shown: &mut Shown) -> Document {
        let mut hosts = Vec::with_capacity(self.hosts.len());
        for host in self.hosts {
            if host.kept.truncated > 0 {
                let note = format!(
                    "offshoot: {}: the last {} bytes of output are missing, because --json keeps \
                     at most {} MiB of a host and {} MiB of all; --jsonl has no such limit\n",
                    host.name,
                    host.kept.truncated,
                    kept::MAX_OF_HOST >> 20,
                    kept::MAX_OF_ALL >> 20,
                );
                visible::text(&note, "", &mut shown.stderr);
                shown.stderr.push(b'\n');
            }
            let exit = host.exit.unwrap_or_else(HostExit::cancelled);
            hosts.push((host.name, exit, host.kept));
        }
        let store = self.store;
        Box::new(move |out| json::document(hosts, store, &summary, out))
    }
}

/// What an event adds to stdout and stderr. It is written at once.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Shown {
    pub(crate) fn is_empty(&self) -> bool {
        self.stdout.is_empty() && self.stderr.is_empty()
    }

    /// Queues the output.
    pub(crate) fn write(self, pipes: &Pipes) {
        pipes.stdout.write(self.stdout);
        pipes.stderr.write(self.stderr);
    }

    fn line(&mut self, style: Style, now: SystemTime, (index, name): (usize, &str), stream: Stream, line: Line<'_>) {
        match (style.format, stream) {
            (Format::Text, Stream::Stdout) => {
                style.stdout.line((index, name), stream, line, &mut self.stdout);
            }
            (Format::Text, Stream::Stderr) => {
                style.stderr.line((index, name), stream, line, &mut self.stderr);
            }
            _ => jsonl::line(name, now, stream, line, &mut self.stdout),
        }
    }
}

#[cfg(test)]
mod tests;
