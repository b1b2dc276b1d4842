//! What shows a run while it goes on: the output of its hosts, and on a terminal how far it is.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::Instant;

use crate::cli::args::{Cli, OutputArgs};
use crate::cli::hosts::path::HostPath;
use crate::cli::output::files::Files;
use crate::cli::output::folding::WINDOW;
use crate::cli::output::marks::Marks;
use crate::cli::output::pipe::Pipes;
use crate::cli::output::progress::{Counts, Progress, State, Times};
use crate::cli::output::report::{Format, HostEvent, Report, Shown, Style, Surroundings};
use crate::cli::transfer::meter::{self, Meters};
use crate::sys::pty;

/// The report of a run, and the outputs that it goes to.
pub(super) struct Display<'a> {
    report: Report,
    marks: Marks,
    progress: Progress,
    /// How far copies are.
    meters: Option<Arc<Meters>>,
    files: Option<Files>,
    /// When lines that wait for equal ones have waited long enough.
    release: Option<Instant>,
    pub(super) pipes: &'a Pipes,
}

impl<'a> Display<'a> {
    pub(super) fn new(
        cli: &Cli,
        output: OutputArgs,
        files: Option<Files>,
        hosts: &[HostPath],
        (pipes, meters): (&'a Pipes, Option<Arc<Meters>>),
    ) -> Self {
        let around = surroundings();
        let names = hosts.iter().map(|host| host.text.clone()).collect();
        let style = Style::new(output, cli.color, around);
        let has_progress = has_progress(around, cli.verbose) && !output.showing.quiet;
        let progress = match meters {
            // A program reads what a copy prints as JSON, and it may read stderr, too.
            Some(_) => Progress::new(has_progress && style.format == Format::Text, Times::COPY),
            None => Progress::new(has_progress, Times::RUN),
        };
        Self {
            report: Report::new(style, names),
            marks: Marks::new(hosts.len()),
            progress,
            meters,
            files,
            release: None,
            pipes,
        }
    }

    /// Shows an event.
    pub(super) fn take(&mut self, mut event: HostEvent) {
        self.files.iter_mut().for_each(|files| files.take(&mut event));
        let host = Marks::owner(&event);
        let shown = self.report.handle(SystemTime::now(), event);
        self.show(shown);
        host.into_iter().for_each(|host| self.marks.set(host, self.pipes));
        self.release = match self.report.waits() {
            true => self.release.or_else(|| Some(Instant::now() + WINDOW)),
            false => None,
        };
    }

    /// Takes an event whose output nobody will read. The output is not shown, and counts as cut.
    pub(super) fn lose(&mut self, mut event: HostEvent) {
        let Some(host) = Marks::owner(&event) else { return self.take(event) };
        self.files.iter_mut().for_each(|files| files.take(&mut event));
        self.marks.lose(host);
    }

    /// Waits until something has to be shown although there is no event. Cancel safe.
    pub(super) async fn due(&self) {
        let released = async {
            match self.release {
                Some(time) => tokio::time::sleep_until(time).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.progress.due() => {}
            () = released => {}
        }
    }

    /// Shows what is due.
    pub(super) fn renew(&mut self) {
        if self.release.is_some_and(|time| time <= Instant::now()) {
            self.release = None;
            let hosts = self.report.waiting();
            let shown = self.report.release();
            self.show(shown);
            return hosts.into_iter().for_each(|host| self.marks.set(host, self.pipes));
        }
        let counts = self.meters.as_ref().map(|meters| meters.counts());
        let bytes_left = |host| counts.as_ref()?.get(&host).copied().map(Counts::bytes_left);
        let state = State { copied: counts.as_ref().map(meter::total), ..self.report.progress(&bytes_left) };
        // The terminal may have another size by now.
        let [_, columns] = pty::size(io::stderr().as_fd()).unwrap_or_default();
        self.progress.show(state, columns, &self.pipes.stderr);
    }

    /// Removes what is not to stay on the screen.
    pub(super) fn end(mut self) -> (Report, Marks) {
        self.progress.clear(&self.pipes.stderr);
        (self.report, self.marks)
    }

    /// Queues output, and removes the progress line if there is any output.
    fn show(&mut self, shown: Shown) {
        if !shown.is_empty() {
            self.progress.clear(&self.pipes.stderr);
        }
        shown.write(self.pipes);
    }
}

fn surroundings() -> Surroundings {
    Surroundings {
        stdout_is_terminal: io::stdout().is_terminal(),
        stderr_is_terminal: io::stderr().is_terminal(),
        no_color: std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb"),
    }
}

/// Whether the progress line may be shown on stderr: it needs a terminal that can erase it, and no other
/// program may write to the terminal.
fn has_progress(around: Surroundings, verbose: u8) -> bool {
    let can_erase = std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
    around.stderr_is_terminal && can_erase && verbose == 0
}
