//! Both directions of an interactive terminal, until one end is over.

use std::io;

use nix::libc::{SIGCONT, SIGTSTP};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::Receiver as Keys;

use super::escape::{Escape, Typed};
use super::terminal::{self, Raw, Shown};
use crate::api::sender::Sending;
use crate::builtin::process::run_process::CommandLine;
use crate::cli::ending::Signals;
use crate::cli::exit::Exit;
use crate::process::{self, Event, Running};
use crate::sys::raw_end;
use crate::{Blob, Call, Context, Error, Receiver, Sender};

/// Bytes that were typed and wait for the far end, at most. Then the keyboard is not read, as if the far end were
/// this machine.
const MAX_TYPED: usize = 64 * 1024;

/// How a session has ended.
#[derive(Debug)]
pub(crate) enum Over {
    /// What ran there has ended.
    Exited(process::Exit),
    /// The user has left by the escape character.
    Left,
    Signalled(Exit),
    Failed(Error),
}

/// The terminal here and the command there.
#[derive(Debug)]
pub(crate) struct Relay {
    /// `None` if stdin is no terminal.
    raw: Option<Raw>,
    /// `None` if stdin is not read, or has ended and is no terminal. The terminal there is not told, as ssh does not tell it.
    keys: Option<Keys<Vec<u8>>>,
    shown: Shown,
    resized: Signal,
    /// SIGTSTP, unless it is ignored.
    stopped: Option<Signal>,
    continued: Signal,
    escape: Escape,
    events: Receiver<Event>,
    exit: Call<process::Exit>,
    /// Bytes of output that have arrived.
    received: u64,
    outgoing: Outgoing,
}

/// What goes to the far end.
#[derive(Debug, Default)]
struct Outgoing {
    stdin: Option<Sender<Blob>>,
    sizes: Option<Sender<Blob>>,
    typed: Vec<u8>,
    /// Typed bytes that wait for room.
    sending: Option<Sending>,
    /// Set when the size has changed and was not sent.
    is_resized: bool,
    /// A size that waits for room.
    resizing: Option<Sending>,
}

impl Outgoing {
    /// Sends what waits. Returns when something was sent; never if there is nothing. Cancel safe.
    async fn sent(&mut self) {
        if self.sending.is_none()
            && let Some(stdin) = self.stdin.as_ref().filter(|_| !self.typed.is_empty())
        {
            self.sending = Some(stdin.send(Blob(std::mem::take(&mut self.typed))));
        }
        if self.resizing.is_none()
            && let Some(sizes) = self.sizes.as_ref().filter(|_| self.is_resized)
        {
            self.is_resized = false;
            self.resizing = Some(sizes.send(terminal::size().to_blob()));
        }
        // Errors mean that the far end is over, which the call tells.
        tokio::select! {
            _ = done(&mut self.sending) => self.sending = None,
            _ = done(&mut self.resizing) => self.resizing = None,
        }
    }
}

async fn next_of(keys: &mut Option<Keys<Vec<u8>>>) -> Option<Vec<u8>> {
    match keys {
        Some(keys) => keys.recv().await,
        None => std::future::pending().await,
    }
}

async fn stop_of(stopped: &mut Option<Signal>) {
    match stopped {
        Some(stopped) => drop(stopped.recv().await),
        None => std::future::pending().await,
    }
}

async fn done(sending: &mut Option<Sending>) -> Result<(), Error> {
    match sending {
        Some(sending) => sending.await,
        None => std::future::pending().await,
    }
}

impl Relay {
    /// Starts the command and puts the terminal here into raw mode, if stdin is one and `has_input`. Without a terminal
    /// here there is no escape character. Call it inside a runtime.
    pub(crate) fn begin(
        context: &Context,
        command: CommandLine,
        escape: Option<u8>,
        has_input: bool,
    ) -> io::Result<Self> {
        let resized = signal(SignalKind::window_change())?;
        let continued = signal(SignalKind::from_raw(SIGCONT))?;
        let stopped = (!raw_end::ignores_stop()).then(|| signal(SignalKind::from_raw(SIGTSTP))).transpose()?;
        let raw = (has_input && terminal::has_keyboard()).then(Raw::begin).transpose()?;
        let (keys, shown) = (has_input.then(terminal::keys).transpose()?, Shown::start()?);
        let Running { events, exit } = Running::start(context, None, command);
        let escape = Escape::new(escape.filter(|_| raw.is_some()));
        let outgoing = Outgoing::default();
        Ok(Self { raw, keys, shown, resized, stopped, continued, escape, events, exit, received: 0, outgoing })
    }

    /// Passes on both directions until the session is over. The terminal then is as it was before.
    pub(in crate::cli) async fn run(mut self, signals: &mut Signals) -> Over {
        let mut over = self.pass_on(signals).await;
        let mut is_urgent = !matches!(over, Over::Exited(_));
        if let Over::Exited(exit) = over {
            tokio::select! {
                biased;
                signal = signals.next() => {
                    over = Over::Signalled(signal);
                    is_urgent = true;
                }
                () = self.show_rest() => {
                    let missing = exit.missing([self.received, 0]);
                    if missing > 0 {
                        let line = format!("\r\noffshoot: {missing} bytes of the output were lost on the way\r\n");
                        let _ = self.shown.chunks.send(line.into_bytes()).await;
                    }
                }
            }
        }
        let Self { raw, shown, exit, events, .. } = self;
        // Dropping the call ends what runs there.
        drop((exit, events));
        if is_urgent && raw.is_some() {
            // What the far end has begun to write may stand in the line.
            let _ = shown.chunks.try_send(b"\r\n".to_vec());
        }
        tokio::select! {
            biased;
            signal = signals.next() => over = Over::Signalled(signal),
            () = shown.finish(is_urgent) => {}
        }
        drop(raw);
        over
    }

    async fn pass_on(&mut self, signals: &mut Signals) -> Over {
        let shown = self.shown.chunks.clone();
        loop {
            let may_type = self.outgoing.typed.len() < MAX_TYPED;
            tokio::select! {
                biased;
                signal = signals.next() => return Over::Signalled(signal),
                _ = self.resized.recv() => self.outgoing.is_resized = true,
                () = stop_of(&mut self.stopped) => match self.suspend() {
                    Ok(()) => self.outgoing.is_resized = true,
                    Err(error) => return Over::Failed(error.into()),
                },
                // After SIGSTOP, the shell of the user may have changed the terminal.
                _ = self.continued.recv() => match self.raw.as_ref().map_or(Ok(()), Raw::enter) {
                    Ok(()) => self.outgoing.is_resized = true,
                    Err(error) => return Over::Failed(error.into()),
                },
                typed = next_of(&mut self.keys), if may_type => match typed {
                    Some(typed) => if let Some(over) = self.typed(&typed).await {
                        return over;
                    }
                    // The terminal here is gone.
                    None if self.raw.is_some() => return Over::Signalled(Exit::HungUp),
                    None => self.keys = None,
                },
                () = self.outgoing.sent() => {}
                event = async {
                    // Errors mean that the terminal here is gone.
                    let place = shown.reserve().await.ok();
                    (place, self.events.recv().await)
                } => match event {
                    (None, _) => return Over::Signalled(Exit::HungUp),
                    (Some(place), Ok(Event::Stdout(Blob(bytes)))) => {
                        self.received += bytes.len() as u64;
                        place.send(bytes);
                    }
                    (_, Ok(event)) => self.outgoing.note(event),
                    // The end may have arrived before the connection was lost.
                    (_, Err(error)) if error.is_disconnected() => return ended((&mut self.exit).await),
                    (_, Err(error)) => return Over::Failed(error),
                },
                exit = &mut self.exit => return ended(exit),
            }
        }
    }

    /// Takes what was typed. Returns how the session ends, if that ends it.
    async fn typed(&mut self, bytes: &[u8]) -> Option<Over> {
        for typed in self.escape.take(bytes) {
            match typed {
                Typed::Bytes(bytes) => self.outgoing.typed.extend(bytes),
                Typed::Leave => return Some(Over::Left),
                Typed::Help => {
                    let _ = self.shown.chunks.try_send(self.escape.help().into_bytes());
                }
                Typed::Suspend => match self.suspend() {
                    Ok(()) => self.outgoing.is_resized = true,
                    Err(error) => return Some(Over::Failed(error.into())),
                },
            }
        }
        None
    }

    /// Stops this process until it is continued. The terminal is not raw in the meantime.
    fn suspend(&mut self) -> io::Result<()> {
        if self.stopped.is_none() {
            return Ok(());
        }
        if let Some(raw) = &self.raw {
            raw.leave();
        }
        raw_end::stop()?;
        self.raw.as_ref().map_or(Ok(()), Raw::enter)
    }

    /// Shows output that has arrived before the end.
    async fn show_rest(&mut self) {
        while let Ok(Some(event)) = self.events.try_recv() {
            if let Event::Stdout(Blob(bytes)) = event {
                self.received += bytes.len() as u64;
                let _ = self.shown.chunks.send(bytes).await;
            }
        }
    }
}

impl Outgoing {
    fn note(&mut self, event: Event) {
        if let Event::Started { stdin, sizes, .. } = event {
            (self.stdin, self.sizes) = (stdin, sizes);
            // It may have changed in the meantime.
            self.is_resized = true;
        }
    }
}

fn ended(exit: Result<process::Exit, Error>) -> Over {
    exit.map_or_else(Over::Failed, Over::Exited)
}
