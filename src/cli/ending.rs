//! How a run ends: signals, and what is still to be written.

use std::io;
use std::time::Duration;

use crate::__private::HangUp;
use crate::Router;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::exit::Exit;
use crate::cli::output::pipe::{Closed, Pipes};

/// What is said about output that was cut has this long to be written.
const LAST_WORD: Duration = Duration::from_millis(500);

/// What is known of those who read the output at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readers {
    /// They have as long as they like, as behind a pager.
    AreAwaited,
    /// The time is up, or a signal has come: they have to take something now and then.
    MustRead,
    /// They took nothing for so long that output was cut.
    DoNotRead,
}

/// The signals that end a run.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: HangUp,
}

impl Signals {
    /// To be called inside a runtime, which must be running when they are to be heard.
    ///
    /// # Errors
    ///
    /// If the system refuses.
    pub(super) fn new() -> io::Result<Self> {
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        Ok(Self { interrupt, terminate, hang_up: HangUp::heed() })
    }

    /// Waits for the next one, and returns how it ends the tool. Cancel safe.
    pub(super) async fn next(&mut self) -> Exit {
        tokio::select! {
            _ = self.interrupt.recv() => Exit::Interrupted,
            _ = self.terminate.recv() => Exit::Terminated,
            () = self.hang_up.recv() => Exit::HungUp,
        }
    }
}

/// Tells all contexts to end, and does not wait until they have.
pub(super) async fn begin(router: &Router) {
    tokio::select! {
        biased;
        // It has asked the router when it waits for the first time.
        () = router.shutdown() => {}
        () = std::future::ready(()) => {}
    }
}

/// Ends everything in order, and waits until the output has been taken: see
/// [`Pipes::flushed`]. Returns how to end, if that is not as it was: a signal
/// ends it at once, and output that cannot be written is a failure. How long it waits for
/// `readers` depends on what is known of them.
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
                () = pipes.unread(|| true) => {}
            },
            // One of the two can be read.
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
    // The end of its links ends whatever is left on the other side of them.
    tokio::select! {
        biased;
        exit = signals.next() => {
            if pipes.stdout.waits() {
                pipes.stderr.write(b"offshoot: the output was cut, because a signal came before it was read\n".to_vec());
                tokio::time::timeout(LAST_WORD, pipes.drained()).await.ok();
            }
            Some(exit)
        }
        exit = in_order => exit,
    }
}
