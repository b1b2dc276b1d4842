//! How a run ends: signals, and the output that is still to be written.

use std::io;
use std::time::Duration;

use crate::__private::HangUp;
use crate::Router;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::exit::Exit;
use crate::cli::output::pipe::{Closed, Pipes};
use crate::sys::process::is_ignored;

/// How long the note about cut output may take to be written.
const LAST_WORD: Duration = Duration::from_millis(500);

/// What is known, at the end of a run, about the readers of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readers {
    /// They may take any time, such as a pager.
    AreAwaited,
    /// The time is up, or a signal has come: they have to read something from time to time.
    MustRead,
    /// They read nothing for so long that output was cut.
    DoNotRead,
}

/// The signals that end a run.
pub(super) struct Signals {
    /// `None` if this process ignores it, as a shell has it that starts it in the background.
    interrupt: Option<Signal>,
    terminate: Signal,
    hang_up: HangUp,
}

impl Signals {
    /// Starts to listen for the signals. Call it inside a runtime. The runtime must run while signals are
    /// awaited.
    ///
    /// # Errors
    ///
    /// If the system refuses.
    pub(super) fn new() -> io::Result<Self> {
        let is_ignored = is_ignored(nix::sys::signal::Signal::SIGINT);
        let interrupt = (!is_ignored).then(|| signal(SignalKind::interrupt())).transpose()?;
        Ok(Self { interrupt, terminate: signal(SignalKind::terminate())?, hang_up: HangUp::heed() })
    }

    /// Waits for the next signal, and returns how the tool ends because of it. Cancel safe.
    pub(super) async fn next(&mut self) -> Exit {
        tokio::select! {
            () = interrupted(&mut self.interrupt) => Exit::Interrupted,
            _ = self.terminate.recv() => Exit::Terminated,
            () = self.hang_up.recv() => Exit::HungUp,
        }
    }
}

async fn interrupted(interrupt: &mut Option<Signal>) {
    match interrupt {
        Some(interrupt) => drop(interrupt.recv().await),
        None => std::future::pending().await,
    }
}

/// Tells all contexts to end. Does not wait until they have ended.
pub(super) async fn begin(router: &Router) {
    tokio::select! {
        biased;
        // The first poll of the shutdown sends the request to the router.
        () = router.shutdown() => {}
        () = std::future::ready(()) => {}
    }
}

/// Ends all contexts in order, and waits until the output has been read: see [`Pipes::flushed`]. Returns how
/// the tool ends if that changes: a signal ends it at once, and output that cannot be written is a failure.
/// `readers` decides how long it waits for readers.
pub(super) async fn end(
    router: &Router,
    signals: &mut Signals,
    pipes: &Pipes,
    owed: u64,
    readers: Readers,
) -> Option<Exit> {
    let flushed = async {
        match readers {
            Readers::AreAwaited => pipes.flushed(owed).await,
            Readers::MustRead => tokio::select! {
                biased;
                () = pipes.flushed(0) => {}
                () = pipes.unread() => {}
            },
            // One of the two outputs may still be read.
            Readers::DoNotRead => drop(tokio::time::timeout(LAST_WORD, pipes.drained()).await),
        }
    };
    let in_order = async {
        tokio::join!(router.shutdown(), flushed);
        let Some(Closed::Failed(why)) = pipes.stdout.end() else { return None };
        pipes.stderr.write(format!("offshoot: cannot write the output: {why}\n").into_bytes());
        pipes.flushed(0).await;
        Some(Exit::Internal)
    };
    // After a signal, everything behind the links ends because the links end.
    tokio::select! {
        biased;
        exit = signals.next() => {
            if pipes.stdout.waits() {
                pipes.stderr.write(b"offshoot: the output was cut: a signal came before all of it was read\n".to_vec());
                tokio::time::timeout(LAST_WORD, pipes.drained()).await.ok();
            }
            Some(exit)
        }
        exit = in_order => exit,
    }
}
