//! What happened in a run, as text or JSON.
//!
//! Events go in; bytes for stdout and stderr come out. This module does not know where events come from or what
//! time it is.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde_json::value::RawValue;

use crate::cli::args::showing::{Fold, ShowingArgs};
use crate::cli::args::{Color, OutputArgs};
use crate::cli::hosts::fold::fold;
use crate::cli::output::folding::Folding;
use crate::cli::output::gathered::Gathering;
use crate::cli::output::json;
use crate::cli::output::jsonl;
use crate::cli::output::kept::{self, Kept, Store};
use crate::cli::output::line::{Line, LineEnd, Lines};
use crate::cli::output::pipe::{Document, Pipes};
use crate::cli::output::progress;
use crate::cli::output::summary::{End, Status, Summary, slowest};
use crate::cli::output::text::{self, Look};
use crate::cli::output::visible;
use crate::sys::local_time::local_time;

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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
    /// Whether output is shown at the end only.
    pub(crate) gathers: bool,
    /// Whether the differences between hosts are shown at the end.
    pub(crate) diffs: bool,
    /// Whether equal lines of several hosts are joined.
    pub(crate) folds: bool,
    pub(crate) timestamps: bool,
    /// Whether there is no summary.
    pub(crate) is_quiet: bool,
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
    /// Whether the variable `NO_COLOR` is set and not empty, or `TERM` says that the terminal shows none.
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
        let ShowingArgs { gather, diff, fold, timestamps, quiet } = args.showing;
        let folds = match fold {
            Fold::Auto => around.stdout_is_terminal && !args.raw,
            Fold::Always => true,
            Fold::Never => false,
        };
        Self {
            format,
            stdout,
            stderr,
            all_frames: args.raw || format != Format::Text,
            gathers: gather,
            diffs: diff,
            folds: folds && format == Format::Text,
            timestamps,
            is_quiet: quiet,
        }
    }

    /// Whether output is kept to the end.
    fn keeps(self) -> bool {
        self.format == Format::Json || self.gathers || self.diffs
    }

    /// What comes before the name of a host in each line.
    fn prefix(self, now: SystemTime) -> String {
        if self.timestamps { format!("{} ", local_time(now)) } else { String::new() }
    }
}

/// Shows the events of hosts, and counts the results.
#[derive(Debug)]
pub(crate) struct Report {
    style: Style,
    hosts: Vec<Host>,
    /// Lines that wait for equal lines of other hosts, if they are folded.
    folding: Option<Folding>,
    /// The hosts before this index have been started.
    started: usize,
    /// The output that `--json` keeps from all hosts.
    store: Store,
    /// The advice that was shown as text: kinds of errors, and what to do, without the names of hosts. With each, the first
    /// host that got it.
    advised: HashMap<(String, String), String>,
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
        // A single host waits for nobody.
        let folding = (style.folds && hosts.len() > 1).then(Folding::default);
        let (store, advised) = (Store::default(), HashMap::new());
        Self { style, folding, started: hosts.len(), hosts, store, advised }
    }

    /// The progress of the run. Of the hosts that are not done, those with the most work left are named first;
    /// `left` says how much that is, if it is known.
    pub(crate) fn progress(&self, left: &dyn Fn(HostIndex) -> Option<u64>) -> progress::State<'_> {
        let done = self.hosts.iter().filter(|host| host.exit.is_some()).count();
        let mut next = [None; progress::MAX_NAMED];
        for (index, host) in self.hosts.iter().enumerate().filter(|(_, host)| host.exit.is_none()) {
            let mut moved = Some((left(HostIndex(index)), host.name.as_str()));
            for place in &mut next {
                // Equal ones stay in their order.
                if place.is_none_or(|(work, _)| moved.is_some_and(|(more, _)| more > work)) {
                    std::mem::swap(place, &mut moved);
                }
            }
        }
        let next = next.map(|host| host.map(|(_, name)| name));
        progress::State { hosts: self.hosts.len(), done, next, copied: None }
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
        if self.folding.as_ref().is_some_and(Folding::is_full) {
            self.unfold(&mut shown);
        }
        shown
    }

    /// The hosts with lines that wait for equal lines of other hosts.
    pub(crate) fn waiting(&self) -> Vec<HostIndex> {
        let hosts = self.folding.as_ref().map(Folding::hosts);
        hosts.unwrap_or_default().into_iter().map(HostIndex).collect()
    }

    /// Whether lines wait for equal lines of other hosts.
    pub(crate) fn waits(&self) -> bool {
        self.folding.as_ref().is_some_and(|folding| !folding.is_empty())
    }

    /// Returns the lines that wait.
    pub(crate) fn release(&mut self) -> Shown {
        let mut shown = Shown::default();
        self.unfold(&mut shown);
        shown
    }

    fn unfold(&mut self, shown: &mut Shown) {
        let Self { style, hosts, folding: Some(folding), .. } = self else { return };
        for line in folding.take(|host| hosts[host].name.clone()) {
            let (look, out) = match line.to {
                Stream::Stdout => (style.stdout, &mut shown.stdout),
                Stream::Stderr => (style.stderr, &mut shown.stderr),
            };
            look.labelled((line.first, &format!("{}{}", line.prefix, line.hosts)), line.to, &line.body, out);
        }
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
        self.unfold(&mut shown);
        let statuses = |host: &Host| {
            let status = host.exit.as_ref().map_or(Status::Cancelled, |exit| exit.status);
            (host.name.clone(), status)
        };
        let codes = self.hosts.iter().filter_map(|host| host.exit.as_ref()).map(HostExit::shell_code);
        let summary = Summary::new(self.hosts.iter().map(statuses).collect(), end, seconds, codes.max().unwrap_or(0));
        // Hosts that were cut off took as long as the run did.
        let done = |exit: &&HostExit| !matches!(exit.status, Status::Cancelled | Status::Skipped);
        let seconds = |host: &Host| host.exit.as_ref().filter(done).map(|exit| exit.seconds);
        let timed: Vec<_> = self.hosts.iter().filter_map(|host| Some((host.name.as_str(), seconds(host)?))).collect();
        let summary = summary.with_slowest(slowest(&timed));
        let (mut document, style) = (None, self.style);
        match style.format {
            Format::Text => {
                let not_ok = summary.not_ok();
                let caution = self.caution();
                let rerun = (!not_ok.is_empty()).then(|| rerun(&not_ok, caution.as_deref()));
                if self.style.keeps() {
                    document = Some(self.gathered(&mut shown));
                }
                if !style.is_quiet {
                    style.stderr.summary(&summary, rerun.as_deref(), &mut shown.stderr);
                }
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
        let Host { name, stdout, stderr, kept, .. } = host;
        if self.style.format != Format::Json && !self.style.gathers {
            let lines = match stream {
                Stream::Stdout => stdout,
                Stream::Stderr => stderr,
            };
            let mut sink = Sink { style: self.style, folding: &mut self.folding, shown };
            lines.push(bytes, |line| sink.line(now, (index, name), stream, line));
        }
        if self.style.keeps() {
            kept.push(stream, bytes, &mut self.store);
            self.spool();
        }
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
            Format::Text if !self.style.gathers => {
                let line = Line { bytes: value.get().as_bytes(), end: LineEnd::Newline };
                let mut sink = Sink { style: self.style, folding: &mut self.folding, shown };
                sink.line(now, (index, &host.name), Stream::Stdout, line);
            }
            Format::Jsonl => jsonl::result(&host.name, now, &value, &mut shown.stdout),
            Format::Json | Format::Text => {}
        }
        if self.style.keeps() {
            host.kept.keep_result(value.get(), &mut self.store);
            self.spool();
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
                let mut sink = Sink { style: self.style, folding: &mut self.folding, shown };
                let hidden = text::hidden(hidden).map(String::into_bytes);
                let advice = match &exit.error {
                    Some(ErrorInfo { kind, advice, .. }) => {
                        // What to do is said of the first host only.
                        let key = (kind.clone(), advice.replace(&host.name, ""));
                        match self.advised.get(&key).filter(|_| !advice.is_empty()) {
                            Some(first) => format!("what to do: see {first}"),
                            None => {
                                self.advised.insert(key, host.name.clone());
                                advice.clone()
                            }
                        }
                    }
                    None => String::new(),
                };
                for body in hidden.into_iter().chain(text::exit(&exit, &advice)) {
                    sink.notice(now, (index, &host.name), &body);
                }
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
            Format::Text => {
                let mut sink = Sink { style: self.style, folding: &mut self.folding, shown };
                sink.notice(now, (index, &host.name), &text::retry(exit, wait));
            }
            Format::Jsonl => jsonl::retry(&host.name, now, exit, wait, &mut shown.stdout),
            Format::Json => {}
        }
        // The document is about the last attempt.
        host.kept.clear(&mut self.store);
    }

    /// Shows unfinished lines whose end will not come.
    fn flush(&mut self, now: SystemTime, index: usize, shown: &mut Shown) {
        if let Some(Host { name, stdout, stderr, .. }) = self.hosts.get_mut(index) {
            let host = (index, name.as_str());
            let mut sink = Sink { style: self.style, folding: &mut self.folding, shown };
            stdout.finish(|line| sink.line(now, host, Stream::Stdout, line));
            stderr.finish(|line| sink.line(now, host, Stream::Stderr, line));
        }
    }

    /// What `-B` and `--diff` show.
    fn gathered(self, shown: &mut Shown) -> Document {
        let Style { gathers, diffs, all_frames, stdout, .. } = self.style;
        let gathering = Gathering { whole: gathers, diff: diffs, visible: stdout.visible, all_frames };
        let mut hosts = Vec::with_capacity(self.hosts.len());
        for host in self.hosts {
            truncated(&host, "-B and --diff keep", shown);
            let has_run = |exit: &HostExit| matches!(exit.status, Status::Ok | Status::Failed | Status::Timeout);
            // A host that was not reached has no output that could be equal or different.
            if host.exit.as_ref().is_some_and(has_run) || !host.kept.is_empty() {
                hosts.push((host.name, host.kept));
            }
        }
        let store = self.store;
        Box::new(move |out| gathering.write(hosts, &store, out))
    }

    fn document(self, summary: Summary, shown: &mut Shown) -> Document {
        let mut hosts = Vec::with_capacity(self.hosts.len());
        for host in self.hosts {
            truncated(&host, "--json keeps", shown);
            let exit = host.exit.unwrap_or_else(HostExit::cancelled);
            hosts.push((host.name, exit, host.kept));
        }
        let store = self.store;
        Box::new(move |out| json::document(hosts, store, &summary, out))
    }
}

/// Notes that output of a host could not be kept.
fn truncated(host: &Host, who_keeps: &str, shown: &mut Shown) {
    if host.kept.truncated > 0 {
        let note = format!(
            "offshoot: {}: the last {} bytes of output are missing, because {who_keeps} at most {} MiB of a host and {} \
             MiB of all; --jsonl has no such limit\n",
            host.name,
            host.kept.truncated,
            kept::MAX_OF_HOST >> 20,
            kept::MAX_OF_ALL >> 20,
        );
        visible::text(&note, "", &mut shown.stderr);
        shown.stderr.push(b'\n');
    }
}

/// Where the lines of hosts go: to an output, or to the lines that wait for equal ones.
struct Sink<'a> {
    style: Style,
    folding: &'a mut Option<Folding>,
    shown: &'a mut Shown,
}

impl Sink<'_> {
    /// Shows a line that a host has printed.
    fn line(&mut self, now: SystemTime, (index, name): (usize, &str), stream: Stream, line: Line<'_>) {
        let (look, out) = match stream {
            Stream::Stdout => (self.style.stdout, &mut self.shown.stdout),
            Stream::Stderr => (self.style.stderr, &mut self.shown.stderr),
        };
        match (self.style.format, &mut self.folding) {
            (Format::Text, Some(folding)) => {
                folding.push(index, stream, false, self.style.prefix(now), &look.body(line));
            }
            (Format::Text, None) if self.style.timestamps => {
                look.line((index, &format!("{}{name}", self.style.prefix(now))), stream, line, out);
            }
            (Format::Text, None) => look.line((index, name), stream, line, out),
            _ => jsonl::line(name, now, stream, line, &mut self.shown.stdout),
        }
    }

    /// Shows what the tool has to say of a host.
    fn notice(&mut self, now: SystemTime, (index, name): (usize, &str), body: &[u8]) {
        let prefix = self.style.prefix(now);
        match &mut self.folding {
            Some(folding) => folding.push(index, Stream::Stderr, true, prefix, body),
            None => {
                let name = format!("{prefix}{name}");
                self.style.stderr.labelled((index, &name), Stream::Stderr, body, &mut self.shown.stderr);
            }
        }
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
}

#[cfg(test)]
mod tests;
