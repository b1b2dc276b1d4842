//! Tests of the library with `local` children: calls, cancellation, flow control, isolation, ends.

#![expect(clippy::unwrap_used, reason = "a test that fails panics")]

offshoot::testing!();

mod authority;
mod broker;
#[cfg(feature = "cli")]
mod by_name;
mod cancelling;
mod chains;
mod commands;
mod connecting;
mod connections;
mod debugging;
mod descendants;
mod detaching;
mod ending;
mod errors;
#[cfg(feature = "fakessh")]
mod fakessh;
mod far;
#[cfg(feature = "files")]
mod files;
mod flow;
mod forking;
#[path = "../support/frame.rs"]
mod frame;
mod handlers;
mod hostile;
mod images;
mod in_time;
mod introspection;
mod isolation;
mod latches;
mod launching;
mod logs;
mod receivers;
mod selects;
mod services;
mod spellings;
mod stamped;
mod streams;
mod terminals;
mod trust;
mod typed;
mod unix;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use offshoot::error::ChannelErrorKind;
use offshoot::{Context, Error, Router, export};

/// Runs the future of a test on this thread, without any runtime, because the futures of the library need
/// none.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Task::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park_timeout(Duration::from_secs(30)),
        }
    }
}

/// A router that ends when the test ends.
struct Tree(Router);

impl Tree {
    fn new() -> Self {
        Self(Router::new().unwrap())
    }

    fn child(&self) -> Context {
        self.0.local().blocking_connect().unwrap()
    }

    fn behind(&self, via: &Context) -> Context {
        self.0.local().via(via).blocking_connect().unwrap()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        self.0.blocking_shutdown();
    }
}

fn pid() -> u32 {
    std::process::id()
}
export!(pid);

/// Kibibytes of this process in memory.
fn resident() -> std::io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    Ok(line.trim().trim_end_matches(" kB").parse().unwrap_or(0))
}
export!(concurrent resident);

fn block(seconds: u64) {
    std::thread::sleep(Duration::from_secs(seconds));
}
export!(block);

/// Waits until `done` returns true, for at most ten seconds.
fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// How long something takes at best. The machine may be busy, so the shortest of some times is what counts.
fn at_best(mut something: impl FnMut() -> Duration) -> Duration {
    (0..8).map(|_| something()).min().unwrap()
}

/// Whether a process exists and is not a zombie.
fn is_alive(pid: u32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    state.rsplit(')').next().is_some_and(|rest| !rest.trim().is_empty() && !rest.trim_start().starts_with('Z'))
}

fn reason(error: Error) -> String {
    match error {
        // The text may go on with the call that it was.
        Error::Channel(error) => error.reason.split(", in a call of ").next().unwrap().to_owned(),
        other => panic!("not a channel error: {other:?}"),
    }
}

fn kind(error: Error) -> ChannelErrorKind {
    match error {
        Error::Channel(error) => error.kind,
        other => panic!("not a channel error: {other:?}"),
    }
}
