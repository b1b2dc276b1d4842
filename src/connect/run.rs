//! Whole programs, from `main` to the exit code.

use std::fmt;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use crate::api::router::Router;
use crate::connect::program::Program;
use crate::sys::allocator::Cached;
use crate::sys::process::{exit_now, is_ignored};

/// Runs a program that is its own child: `app` is the rest of `main`.
///
/// In a child it never returns. In the controller it runs `app` on this thread with a new [`Router`], and ends
/// all children when `app` ends. It returns 0. If `app` failed, it prints the error and its causes and returns
/// 1.
///
/// SIGINT, SIGTERM and, unless it is ignored, SIGHUP end everything in order, even if `app` blocks, with exit
/// code 130, 143 or 129. A second signal ends the controller at once. All children then end because their links
/// end.
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
/// Lines that children print, and their warnings, go to stderr. Each line begins with the context's name. If
/// the program has set up a `tracing` subscriber, the subscriber gets them instead. [`Program`] has settings
/// for this.
#[doc(alias = "main")]
pub fn run<E: fmt::Display + fmt::Debug>(app: impl AsyncFnOnce(Router) -> Result<(), E>) -> ExitCode {
    Program::new().run(app)
}

/// Runs `app` with `router`, and shuts the router down.
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
    let _cached = Cached::here();
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
    /// The exit code of the signal that came; 0 if none came.
    code: AtomicU8,
}

/// Handles signals on the I/O thread, so that `app` may do anything with its own thread.
fn watch_signals(router: &Router, stop: &Arc<Stop>) {
    let broker = router.broker();
    // The task holds a handle of its own, which keeps the thread until the end.
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
                // `run` returns within this time, unless `app` blocks its thread.
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

/// SIGHUP, the loss of the terminal. The tool uses it, too.
#[doc(hidden)]
#[derive(Debug)]
pub struct HangUp(Option<Signal>);

impl HangUp {
    /// Handles SIGHUP from now on, unless the process ignores it, as under `nohup`.
    pub fn heed() -> Self {
        Self(if is_ignored(nix::sys::signal::Signal::SIGHUP) { None } else { signal(SignalKind::hangup()).ok() })
    }

    /// Waits for the next signal. Never returns if SIGHUP is ignored.
    pub async fn recv(&mut self) {
        match &mut self.0 {
            Some(signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        }
    }
}

#[expect(clippy::print_stderr, reason = "the last word of a program goes to its user")]
pub(super) fn fail(error: &(impl fmt::Display + fmt::Debug)) -> ExitCode {
    // anyhow prints the chain of causes with `#`. The text of our errors contains it already.
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}
