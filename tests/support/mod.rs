//! Code that the tests of whole programs share.

pub(crate) mod lines;
pub(crate) mod process;
pub(crate) mod tool;
pub(crate) mod trace;
pub(crate) mod transcript;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The interval at which a test looks for what it waits for.
const POLL: Duration = Duration::from_millis(10);
/// The limit of every wait. Nothing that a test waits for takes this long, however busy the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// The time within which everything must be gone after an end in order.
pub(crate) const AT_ONCE: Duration = Duration::ZERO;
pub(crate) const ONE_SECOND: Duration = Duration::from_secs(1);
/// The time that is promised after any process of ours was killed. A trial that asserts it must run
/// [`ALONE`].
pub(crate) const THREE_SECONDS: Duration = Duration::from_secs(3);
/// The margin for a promised time on a machine that has nothing else to do.
const MARGIN: Duration = Duration::from_millis(500);

/// The time within which everything has gone that ends by itself and has no promised time.
pub(crate) const A_WHILE: Duration = Duration::from_secs(5);

/// Set once the trials that run side by side are over.
pub(crate) static ALONE: AtomicBool = AtomicBool::new(false);

/// Gives the signals of a terminal their usual action. A shell that starts a program in the background has it ignore
/// some of them, and nohup another one. Everything that the trials start would ignore them, too.
pub(crate) fn catch_again() {
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
    let usual = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP] {
        // SAFETY: there is no handler.
        #[expect(unsafe_code, reason = "std has no way to do this")]
        let _ = unsafe { sigaction(signal, &usual) };
    }
}

/// The time that a trial waits for something promised within `time`.
///
/// Three seconds are never extended. Every other time gets a margin, which grows with the work that the
/// machine has for each processor, because other trials run at the same time.
///
/// # Panics
///
/// If a trial asks for the three seconds and does not run alone.
pub(crate) fn promised(time: Duration) -> Duration {
    if time == THREE_SECONDS {
        assert!(ALONE.load(Ordering::Relaxed), "a trial that asserts three seconds has a name that ends with `alone`");
        return time;
    }
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: f64 = load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0);
    let processors = std::thread::available_parallelism().map_or(1.0, |count| count.get() as f64);
    time + MARGIN.mul_f64((load / processors).clamp(1.0, 10.0))
}

/// Looks again and again until `look` returns something, or the time is up.
pub(crate) fn wait_for<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if start.elapsed() > limit {
            return None;
        }
        std::thread::sleep(POLL);
    }
}

/// A text that occurs nowhere else on this machine.
pub(crate) fn unique() -> String {
    use std::sync::atomic::AtomicU32;
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{:x}-{:x}-{number}", std::process::id(), now.as_micros() % 0xffff_ffff)
}

/// An argument for `sleep` that occurs nowhere else on this machine. It is longer than any test.
pub(crate) fn long_time() -> String {
    let digits: String = unique().bytes().map(|byte| format!("{byte:03}")).collect();
    format!("10000.{digits}")
}

/// The error of a trial that needs something which this machine lacks.
#[derive(Debug, Clone)]
pub(crate) struct Missing(pub(crate) String);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Missing {}
