//! Whether, and when, a host is tried again. Decisions without I/O.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::cli::args::running::{RetryOn, RunningArgs};
use crate::cli::output::report::HostExit;
use crate::cli::output::summary::Status;

/// The wait before the second attempt. Each further wait is twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait, before it is spread: a host that restarts is back within some of these.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Kinds of errors of a connect that another attempt may not have. Others, such as a wrong password or an unknown
/// host key, stay, and to repeat them can lock the account.
const PASSING: [&str; 4] = ["eof", "timeout", "corrupt", "disconnect"];

/// How often a host is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Retries {
    pub(crate) most: u32,
    pub(crate) on: RetryOn,
}

impl Retries {
    pub(crate) fn new(args: &RunningArgs) -> Self {
        Self { most: args.retries, on: args.retry_on }
    }

    /// How long to wait until the next attempt; `None` if there is none. `attempt` is the number of the attempt
    /// that has ended like this, from 1 on. `chance` is between 0 and 1.
    pub(crate) fn wait(self, attempt: u32, exit: &HostExit, chance: f64) -> Option<Duration> {
        if attempt > self.most || !self.is_for(exit) {
            return None;
        }
        let doubled = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(attempt - 1)).min(LONGEST_WAIT);
        // Hosts that failed together are not tried again together.
        Some(doubled.mul_f64(0.5 + chance))
    }

    fn is_for(self, exit: &HostExit) -> bool {
        match (exit.status, self.on) {
            (Status::Ok | Status::Cancelled | Status::Skipped, _) => false,
            (Status::Unreachable, on) => match (exit.may_have_run(), &exit.error) {
                (true, _) => on == RetryOn::All,
                (false, Some(error)) => PASSING.contains(&error.kind.as_str()),
                (false, None) => true,
            },
            (Status::Failed | Status::Timeout, on) => on == RetryOn::All,
        }
    }
}

/// A random number between 0 and 1.
pub(crate) fn chance() -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "it is for chance")]
    let chance = RandomState::new().hash_one(()) as f64 / u64::MAX as f64;
    chance
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::report::ErrorInfo;

    fn exit(status: Status, kind: &str, phase: &str) -> HostExit {
        let error = ErrorInfo { kind: kind.into(), phase: phase.into(), ..ErrorInfo::default() };
        HostExit { status, error: (!kind.is_empty()).then_some(error), ..HostExit::cancelled() }
    }

    #[test]
    fn only_what_another_attempt_can_mend_is_tried_again() {
        use Status::{Cancelled, Failed, Ok, Timeout, Unreachable};
        for (exit, on_connect, on_all) in [
            (exit(Ok, "", ""), false, false),
            (exit(Cancelled, "", ""), false, false),
            (exit(Failed, "", ""), false, true),
            (exit(Timeout, "timeout", "command"), false, true),
            (exit(Unreachable, "eof", "login"), true, true),
            (exit(Unreachable, "timeout", "upload"), true, true),
            (exit(Unreachable, "disconnect", "start"), true, true),
            (exit(Unreachable, "disconnect", "command"), false, true),
            (exit(Unreachable, "password", "login"), false, false),
            (exit(Unreachable, "host_key", "login"), false, false),
            (exit(Unreachable, "auth", "login"), false, false),
            (exit(Unreachable, "start", "start"), false, false),
        ] {
            for (on, again) in [(RetryOn::Connect, on_connect), (RetryOn::All, on_all)] {
                assert_eq!(Retries { most: 1, on }.wait(1, &exit, 0.5).is_some(), again, "{on:?} {exit:?}");
            }
        }
    }

    #[test]
    fn waits_double_up_to_a_limit_and_are_spread() {
        let retries = Retries { most: 40, on: RetryOn::Connect };
        let exit = exit(Status::Unreachable, "eof", "login");
        let wait = |attempt, chance| retries.wait(attempt, &exit, chance).map(|wait| wait.as_millis());
        assert_eq!([1, 2, 3].map(|attempt| wait(attempt, 0.5)), [Some(1000), Some(2000), Some(4000)]);
        assert_eq!((wait(1, 0.0), wait(1, 1.0)), (Some(500), Some(1500)));
        assert_eq!((wait(40, 0.5), wait(41, 0.5)), (Some(30_000), None));
        assert_eq!(Retries::default().wait(1, &exit, 0.5), None);
        assert!((0..100).all(|_| (0.0..=1.0).contains(&chance())));
    }
}
