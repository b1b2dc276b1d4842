//! Passes bytes and events of a launcher to the dialogue, and carries out the actions of the dialogue.

use std::collections::VecDeque;
use std::io;
use std::process::ExitStatus;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::Attempt;
use crate::connect::bootstrap::{Action, Input};
use crate::connect::handshake::Hello;
use crate::connect::methods::Spec;
use crate::connect::methods::packing::{self, Packing};
use crate::connect::methods::question::Answering;
use crate::engine::io::{Io, sleep_until};
use crate::engine::log::log_later;
use crate::image::executable::Packed;
use crate::sys::process;
use crate::sys::pty;
use crate::wire::codec::Secret;
use crate::wire::error::ConnectError;

/// How long the rest of a launcher's stderr is awaited after the launcher has ended.
const STDERR_GRACE: Duration = Duration::from_millis(100);
/// How long a launcher that has closed its stdout may take to exit.
const EXIT_GRACE: Duration = Duration::from_secs(1);
/// A launcher that has printed nothing on its terminal for this long may wait for an answer.
const QUIET: Duration = Duration::from_millis(300);
/// A program that reads a secret from a terminal switches the echo off shortly before or after it asks. A
/// secret is typed after this time at the latest. The second limit is for a program that may read the secret
/// from stdin instead.
const ECHO_OFF: Duration = Duration::from_secs(1);
const ECHO_OFF_OR_STDIN: Duration = Duration::from_millis(80);
/// How often the echo is checked.
const ECHO_POLL: Duration = Duration::from_millis(2);

/// A hello, and the bytes after it.
type Greeting = (Hello, Vec<u8>);

/// Actions of the dialogue that are not complete yet.
struct UnderWay {
    unsent: VecDeque<Bytes>,
    packing: Option<Packing>,
    typing: Option<Typing>,
    answering: Option<Answering>,
    /// When a silent launcher with a terminal counts as waiting for an answer, and when to look at one without a
    /// terminal.
    waiting: Option<Instant>,
}

/// A secret that is typed once the terminal does not show it, or at the limit.
struct Typing {
    secret: Secret,
    by_stdin: bool,
    /// When to check the echo next.
    next: Instant,
    limit: Instant,
}

/// How far a launcher has ended.
struct End {
    stdout_open: bool,
    stderr_open: bool,
    exit: Option<ExitStatus>,
    /// After this time the launcher counts as ended, even if some of its output is still open.
    at: Option<Instant>,
}

impl End {
    /// Restarts the timer after an event.
    fn schedule(&mut self) {
        if self.stdout_open {
            return;
        }
        let now = Instant::now();
        if self.exit.is_some() {
            let grace = if self.stderr_open { STDERR_GRACE } else { Duration::ZERO };
            self.at = Some(self.at.map_or(now + grace, |at| at.min(now + grace)));
        } else if self.at.is_none() {
            self.at = Some(now + EXIT_GRACE);
        }
    }
}

/// An event, before it is passed to the dialogue.
enum Event {
    Stdout(usize),
    Stderr(usize),
    Exit(io::Result<ExitStatus>),
    Deadline,
    Ended,
    Cancelled,
    UnderWay(Progress),
}

/// What has become of something that is under way.
enum Progress {
    Quiet,
    LookAtEcho,
    Answer(Option<Secret>),
    Written(io::Result<usize>),
    Packed(Result<(Packed, [u8; 32]), ConnectError>),
}

impl Attempt {
    /// Passes bytes and events to the dialogue, and carries out its actions, until the child has sent its
    /// hello.
    pub(in crate::connect::methods) async fn carry(
        &mut self,
        io: &Rc<Io>,
        spec: &Spec,
    ) -> Result<Greeting, ConnectError> {
        let (mut output, mut errors) = (vec![0; 32 * 1024], vec![0; 4 * 1024]);
        let mut end = End { stdout_open: true, stderr_open: true, exit: None, at: None };
        // If the launcher has ended, its exit status says why.
        let unsent = spec.only().map(|_| Bytes::from(self.nonce.child_line())).into_iter().collect();
        let mut under_way = UnderWay { unsent, packing: None, typing: None, answering: None, waiting: None };
        #[cfg(feature = "cli")]
        self.look_later(spec, &mut under_way.waiting);
        loop {
            let event = self.next(io, &mut under_way, &end, &mut output, &mut errors).await;
            let actions = match event {
                Event::Stdout(0) => {
                    end.stdout_open = false;
                    Vec::new()
                }
                Event::Stdout(count) => {
                    #[cfg(feature = "cli")]
                    self.look_later(spec, &mut under_way.waiting);
                    self.dialogue.input(Input::Stdout(&output[..count]))
                }
                Event::Stderr(0) => {
                    end.stderr_open = false;
                    Vec::new()
                }
                Event::Stderr(count) => {
                    if self.launched.terminal().is_some() {
                        under_way.waiting = Some(Instant::now() + QUIET);
                    }
                    self.dialogue.input(Input::Stderr(&errors[..count]))
                }
                Event::Exit(status) => {
                    end.exit = Some(status.unwrap_or_default());
                    Vec::new()
                }
                Event::Ended => self.ended(&mut end).await,
                Event::Deadline => self.dialogue.input(Input::Deadline(spec.limit())),
                Event::Cancelled => self.dialogue.input(Input::Cancelled),
                #[cfg(feature = "cli")]
                Event::UnderWay(Progress::Quiet) if self.launched.terminal().is_none() => {
                    self.look(io, spec, &mut under_way.waiting)
                }
                Event::UnderWay(progress) => self.progress(&mut under_way, progress).await,
            };
            self.note_phase();
            #[cfg(feature = "cli")]
            self.tell_login(spec);
            end.schedule();
            for action in actions {
                if let Some(greeting) = self.carry_out(io, spec, &mut under_way, action)? {
                    return Ok(greeting);
                }
            }
        }
    }

    /// Waits for the next event.
    async fn next(
        &mut self,
        io: &Io,
        under_way: &mut UnderWay,
        end: &End,
        output: &mut [u8],
        errors: &mut [u8],
    ) -> Event {
        let UnderWay { unsent, packing, typing, answering, waiting } = under_way;
        let may_wait = typing.is_none() && answering.is_none();
        tokio::select! {
            count = self.stream.input.read(output), if end.stdout_open => Event::Stdout(count.unwrap_or(0)),
            count = self.stderr.read(errors), if end.stderr_open => Event::Stderr(count.unwrap_or(0)),
            () = sleep_until(waiting.map(Into::into)), if may_wait => Event::UnderWay(Progress::Quiet),
            () = sleep_until(typing.as_ref().map(|typing| typing.next.into())), if typing.is_some() => Event::UnderWay(Progress::LookAtEcho),
            answer = finished(answering) => Event::UnderWay(Progress::Answer(answer)),
            count = self.stream.output.write(unsent.front().map_or(&[], |bytes| &bytes[..])), if !unsent.is_empty() => {
                Event::UnderWay(Progress::Written(count))
            }
            packed = finished(packing) => Event::UnderWay(Progress::Packed(packed)),
            status = self.launched.wait(), if end.exit.is_none() => Event::Exit(status),
            () = tokio::time::sleep_until(self.deadline) => Event::Deadline,
            () = sleep_until(end.at.map(Into::into)) => Event::Ended,
            () = io.stop.cancelled() => Event::Cancelled,
        }
    }

    /// Handles an event of the work that is under way.
    async fn progress(&mut self, under_way: &mut UnderWay, progress: Progress) -> Vec<Action> {
        match progress {
            Progress::Quiet => {
                under_way.waiting = None;
                let echoes = self.launched.terminal().is_none_or(pty::echoes);
                self.dialogue.input(Input::Waiting { echoes })
            }
            Progress::LookAtEcho => {
                let shown = self.launched.terminal().is_some_and(pty::echoes);
                match under_way.typing.take() {
                    Some(soon) if shown && soon.next < soon.limit => {
                        under_way.typing = Some(Typing { next: soon.next + ECHO_POLL, ..soon });
                    }
                    Some(now) => self.type_in(&now).await,
                    None => {}
                }
                Vec::new()
            }
            Progress::Answer(answer) => {
                under_way.answering = None;
                self.dialogue.input(Input::Answer(answer.as_ref()))
            }
            Progress::Written(count) => {
                advance(&mut under_way.unsent, count);
                if under_way.unsent.is_empty() { self.dialogue.input(Input::Sent) } else { Vec::new() }
            }
            Progress::Packed(packed) => {
                under_way.packing = None;
                self.sent = packed.as_ref().ok().map(|(image, _)| image.checksum);
                self.dialogue.input(Input::Image(packed))
            }
        }
    }

    /// Kills a launcher that has closed its stdout and does not exit, and tells the dialogue how the launcher
    /// ended.
    async fn ended(&mut self, end: &mut End) -> Vec<Action> {
        let lingered = end.exit.is_none();
        if lingered {
            self.launched.kill();
            end.exit = self.launched.wait().await.ok();
        }
        let status = end.exit.map_or_else(|| "ended".into(), process::describe);
        self.dialogue.input(Input::Ended { status, code: end.exit.and_then(|exit| exit.code()), lingered })
    }

    /// Carries out the actions of the dialogue.
    fn carry_out(
        &mut self,
        io: &Rc<Io>,
        spec: &Spec,
        under_way: &mut UnderWay,
        action: Action,
    ) -> Result<Option<Greeting>, ConnectError> {
        match action {
            Action::Write(bytes) => under_way.unsent.push_back(bytes),
            Action::Type { secret, by_stdin } => {
                let limit = if by_stdin { ECHO_OFF_OR_STDIN } else { ECHO_OFF };
                let next = Instant::now();
                under_way.typing = Some(Typing { secret, by_stdin, next, limit: next + limit });
            }
            Action::Ask(question) => {
                under_way.answering = self.answerer.clone().map(|answerer| answerer.ask(question));
            }
            Action::ChooseImage(machine) => under_way.packing = Some(packing::choose(io, &self.hop, &machine)),
            Action::Hello { hello, rest } => {
                let hello = Hello::check(&hello, self.sent, spec.binary.is_some(), &self.hop)?;
                return Ok(Some((hello, rest)));
            }
            Action::Fail(error) => return Err(error),
            Action::Note(line) => log_later!(io, DEBUG, "{}: {line}", self.hop),
        }
        Ok(None)
    }

    /// Types a secret. The terminal does not show it.
    async fn type_in(&self, typing: &Typing) {
        let mut line = Zeroizing::new(Vec::with_capacity(typing.secret.expose().len() + 1));
        line.extend_from_slice(typing.secret.expose().as_bytes());
        line.push(b'\n');
        let Some(terminal) = self.launched.terminal() else { return };
        let shown = pty::echoes(terminal);
        let reader = if typing.by_stdin && shown { &self.stream.output } else { terminal };
        if shown {
            pty::silence(terminal);
        }
        // If the reader is gone, its end is an event of its own. If the reader does not read, the deadline ends
        // this.
        let _ = tokio::time::timeout_at(self.deadline, reader.write_all(&line)).await;
    }
}

/// Removes the bytes that were written. A write that failed ends the upload; stdout, stderr or the exit status
/// shows why.
fn advance(unsent: &mut VecDeque<Bytes>, written: io::Result<usize>) {
    let (Ok(count), Some(front)) = (written, unsent.front_mut()) else {
        return unsent.clear();
    };
    bytes::Buf::advance(front, count);
    if front.is_empty() {
        unsent.pop_front();
    }
}

async fn finished<T>(future: &mut Option<impl Future<Output = T> + Unpin>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
