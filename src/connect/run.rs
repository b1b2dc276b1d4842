//! Whole programs: from `main` to the exit code.

use std::fmt;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use crate::api::router::Router;
use crate::connect::program::Program;
use crate::sys::process::exit_now;
use crate::sys::process::hang_up_is_ignored;

/// Runs a program that is its own child: give it the rest of `main`.
///
/// In a child it never returns. In the controller it runs `app` on this
/// thread with a new [`Router`], ends all children when `app` ends, and
/// returns 0, or 1 if `app` failed, after printing the error and its causes.
/// SIGINT, SIGTERM and, unless it is ignored, SIGHUP end everything in order,
/// even if `app` blocks, with exit code 130, 143 or 129; a second signal ends the controller at once, and
/// with it, by the end of its links, everything else.
///
/// ```no_run
/// fn main() -> std::process::ExitCode {
///     offshoot::run(async |router| {
///         let child = router.local().connect().await?;
///         println!("{child} is up");
///         Ok::<(), offshoot::Error>(())
///     })
/// }
/// ```
///
/// What children print, and what they warn of, comes to stderr, each line
/// behind the context's name, unless the program has set up a `tracing`
/// subscriber, which then gets it. [`Program`] has settings for this.
#[doc(alias = "main")]
pub fn run<E: fmt::Display + fmt::Debug>(app: impl AsyncFnOnce(Router) -> Result<(), E>) -> ExitCode {
    Program::new().run(app)
}

/// Runs `app` with `router`, which it ends.
pub(super) fn run_with<E: fmt::Display + fmt::Debug>(
    router: &Router,
    app: impl AsyncFnOnce(Router) -> Result<(), E>,
) -> ExitCode {
    let stop = Arc::new(Stop::default());
    watch_signals(router, &stop);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    let result = runtime.block_on(async {
        tokio::select! {
            biased;
            () = stop.told.notified() => None,
            result = app(router.clone()) => Some(result),
        }
    });
    runtime.block_on(router.shutdown());
    match (stop.code.load(Ordering::Acquire), result) {
        (0, Some(Err(error))) => fail(&error),
        (code, _) => ExitCode::from(code),
    }
}

#[derive(Default)]
struct Stop {
    told: Notify,
    /// The exit code that a signal asks for; 0 if none came.
    code: AtomicU8,
}

/// The signals are heard on the I/O thread, whatever `app` does with its own.
fn watch_signals(router: &Router, stop: &Arc<Stop>) {
    let broker = router.broker();
    // The task's own handle keeps the thread until the very end.
    let (router, stop, kept) = (router.clone(), Arc::clone(stop), broker.clone());
    let watching = broker.defer(move || {
        tokio::task::spawn_local(async move {
            let (Ok(mut int), Ok(mut term)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else {
                return;
            };
            let mut hang_up = HangUp::heed();
            let code = next(&mut int, &mut term, &mut hang_up).await;
            stop.code.store(code, Ordering::Release);
            stop.told.notify_one();
            tokio::select! {
                // By now `run` has returned, unless `app` blocks its thread.
                () = async {
                    router.shutdown().await;
                    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                } => {}
                _ = next(&mut int, &mut term, &mut hang_up) => {}
            }
            drop(kept);
            exit_now(code.into());
        });
    });
    if let Err(error) = watching {
        tracing::warn!("signals will not be handled: {error}");
    }
}

async fn next(int: &mut Signal, term: &mut Signal, hang_up: &mut HangUp) -> u8 {
    tokio::select! {
        _ = int.recv() => 130,
        _ = term.recv() => 143,
        () = hang_up.recv() => 129,
    }
}

/// The loss of the terminal. For the tool, too.
#[doc(hidden)]
#[derive(Debug)]
pub struct HangUp(Option<Signal>);

impl HangUp {
    /// Heeds SIGHUP from now on, unless it is ignored, as `nohup` has it.
    pub fn heed() -> Self {
        Self(if hang_up_is_ignored() { None } else { signal(SignalKind::hangup()).ok() })
    }

    /// Waits for the next one.
    pub async fn recv(&mut self) {
        match &mut self.0 {
            Some(signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        }
    }
}

#[expect(clippy::print_stderr, reason = "the last word of a program goes to its user")]
pub(super) fn fail(error: &(impl fmt::Display + fmt::Debug)) -> ExitCode {
    // anyhow prints its chain with `#`; ours hold theirs in their text.
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}
