//! The processor time and memory that this process has used.

use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};

use crate::sys::process::platform;

/// The processor time and memory that this process has used so far.
#[derive(Debug)]
pub(crate) struct Usage {
    /// Processor time of all threads together.
    pub(crate) process: Duration,
    /// Processor time of this thread. Zero if the system does not report it.
    pub(crate) thread: Duration,
    /// The largest resident memory, in KiB.
    pub(crate) resident: u64,
}

/// The processor time and memory that this process and this thread have used so far.
pub(crate) fn usage() -> Usage {
    use nix::sys::time::TimeValLike;
    let of = |who: Option<UsageWho>| {
        let used = getrusage(who?).ok()?;
        let micros = used.user_time().num_microseconds() + used.system_time().num_microseconds();
        Some((Duration::from_micros(micros.unsigned_abs()), u64::try_from(used.max_rss()).unwrap_or(0)))
    };
    let (process, resident) = of(Some(UsageWho::RUSAGE_SELF)).unwrap_or_default();
    let (thread, _) = of(platform::THREAD_USAGE).unwrap_or_default();
    Usage { process, thread, resident }
}
