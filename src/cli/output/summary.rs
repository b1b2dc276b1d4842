//! The results of a run, in numbers and names.

use crate::cli::exit::{Exit, Outcome};
use crate::cli::hosts::fold::fold;

/// The result on one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Status {
    /// The command exited with code 0.
    Ok,
    /// The command exited with another code or by a signal, or could not be started.
    Failed,
    /// The host could not be reached, or its connection was lost.
    Unreachable,
    /// The command ran for longer than the time limit.
    Timeout,
    /// The run was stopped before the command ended.
    Cancelled,
    /// The run was stopped before the host was started: nothing was done there.
    Skipped,
}

impl Status {
    pub(crate) const ALL: [Self; 6] =
        [Self::Ok, Self::Failed, Self::Unreachable, Self::Timeout, Self::Cancelled, Self::Skipped];

    /// The status in the JSON output.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
        }
    }

    /// The status in the text output.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Timeout => "timed out",
            other => other.as_str(),
        }
    }
}

/// Why a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// Every host was tried.
    Complete,
    /// The run was stopped for this reason before all hosts were done.
    Stopped(String),
    /// Ctrl-C or SIGTERM ended the run.
    Interrupted,
}

/// The results of a run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Summary {
    /// The hosts and their results, in the order of the expression.
    hosts: Vec<(String, Status)>,
    pub(crate) end: End,
    /// The duration of the run in seconds.
    pub(crate) seconds: f64,
    /// The largest exit code; for a signal, 128 and its number.
    pub(crate) largest_code: u8,
    /// The hosts that took much longer than most, the slowest first, with their seconds.
    pub(crate) slowest: Vec<(String, f64)>,
}

/// Most hosts that are named as slow.
const MOST_SLOW: usize = 3;
/// A host is slow if it takes so many times as long as the median, and so many seconds longer.
const TIMES: f64 = 2.0;
const SECONDS: f64 = 1.0;

/// The slow ones of hosts with their seconds: if there are more than two, those that took much longer than the one in the
/// middle. Differences that nobody would wait for are not told.
pub(crate) fn slowest(hosts: &[(&str, f64)]) -> Vec<(String, f64)> {
    let mut sorted = hosts.to_vec();
    sorted.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    if sorted.len() <= 2 {
        return Vec::new();
    }
    let (_, median) = sorted[sorted.len() / 2];
    let is_slow = |seconds: f64| seconds > median * TIMES && seconds > median + SECONDS;
    let slow = sorted.into_iter().take_while(|(_, seconds)| is_slow(*seconds)).take(MOST_SLOW);
    slow.map(|(name, seconds)| (name.to_owned(), seconds)).collect()
}

impl Summary {
    pub(crate) fn new(hosts: Vec<(String, Status)>, end: End, seconds: f64, largest_code: u8) -> Self {
        Self { hosts, end, seconds, largest_code, slowest: Vec::new() }
    }

    /// The same with the slow hosts.
    pub(crate) fn with_slowest(self, slowest: Vec<(String, f64)>) -> Self {
        Self { slowest, ..self }
    }

    /// How many hosts there are.
    pub(crate) fn total(&self) -> usize {
        self.hosts.len()
    }

    /// The number of hosts with this status.
    pub(crate) fn count(&self, status: Status) -> usize {
        self.hosts.iter().filter(|(_, s)| *s == status).count()
    }

    /// The hosts with this status, as an expression.
    pub(crate) fn folded(&self, status: Status) -> String {
        self.fold_where(|s| s == status)
    }

    /// The hosts that did not succeed, as an expression.
    pub(crate) fn not_ok(&self) -> String {
        self.fold_where(|status| status != Status::Ok)
    }

    /// How the tool ends. `by_code`: whether the largest exit code of a host was asked for.
    pub(crate) fn exit(&self, by_code: bool) -> Exit {
        let outcome = Outcome {
            failed: self.count(Status::Failed) + self.count(Status::Timeout) > 0,
            unreachable: self.count(Status::Unreachable) > 0,
            stopped: matches!(self.end, End::Stopped(_))
                || self.count(Status::Cancelled) + self.count(Status::Skipped) > 0,
        };
        match self.end {
            End::Interrupted => Exit::Interrupted,
            _ if by_code => Exit::Largest(self.largest_code, outcome),
            _ => Exit::Done(outcome),
        }
    }

    fn fold_where(&self, wanted: impl Fn(Status) -> bool) -> String {
        let names: Vec<&str> =
            self.hosts.iter().filter(|(_, status)| wanted(*status)).map(|(name, _)| name.as_str()).collect();
        fold(&names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(statuses: &[Status], end: End) -> Summary {
        let hosts = statuses.iter().enumerate().map(|(n, status)| (format!("web{}", n + 1), *status)).collect();
        Summary::new(hosts, end, 1.0, 3)
    }

    #[test]
    fn hosts_are_counted_and_folded_by_status() {
        use Status::{Cancelled, Failed, Ok, Skipped, Timeout, Unreachable};
        let summary = summary(&[Ok, Failed, Failed, Unreachable, Timeout, Ok, Cancelled, Skipped], End::Complete);
        assert_eq!(Status::ALL.map(|status| summary.count(status)), [2, 2, 1, 1, 1, 1]);
        assert_eq!(summary.total(), 8);
        assert_eq!(summary.folded(Failed), "web[2-3]");
        assert_eq!(summary.not_ok(), "web[2-5,7-8]");
    }

    #[test]
    fn hosts_that_took_much_longer_than_most_are_named() {
        let slow = |seconds: &[f64]| {
            let names: Vec<String> = (0..seconds.len()).map(|nth| format!("h{nth}")).collect();
            let hosts: Vec<(&str, f64)> = names.iter().map(String::as_str).zip(seconds.iter().copied()).collect();
            slowest(&hosts).into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(slow(&[1.0, 12.0, 1.1, 4.0, 1.2]), ["h1", "h3"]);
        assert_eq!(slow(&[9.0, 8.0, 7.0, 6.0, 1.0, 1.0, 1.0, 1.0, 1.0]), ["h0", "h1", "h2"]);
        // Two are easily compared, and what is no wait is no matter.
        for equal in [&[1.0, 9.0][..], &[], &[0.1, 0.1, 0.9], &[5.0, 5.1, 9.0], &[60.0, 61.0, 62.0]] {
            assert!(slow(equal).is_empty(), "{equal:?}");
        }
    }

    #[test]
    fn the_exit_code_follows_from_it() {
        use Status::{Cancelled, Failed, Ok, Skipped, Timeout, Unreachable};
        let code = |statuses: &[Status], end| summary(statuses, end).exit(false).code();
        assert_eq!(code(&[Ok, Ok], End::Complete), 0);
        assert_eq!(code(&[Ok, Failed], End::Complete), 2);
        assert_eq!(code(&[Timeout], End::Complete), 2);
        assert_eq!(code(&[Unreachable], End::Complete), 4);
        assert_eq!(code(&[Unreachable, Failed], End::Complete), 6);
        assert_eq!(code(&[Ok, Cancelled], End::Stopped("enough".into())), 8);
        assert_eq!(code(&[Failed, Unreachable], End::Stopped("enough".into())), 14);
        assert_eq!(code(&[Cancelled], End::Complete), 8);
        assert_eq!(code(&[Failed, Skipped], End::Stopped("enough".into())), 10);
        assert_eq!(code(&[Failed, Cancelled], End::Interrupted), 130);
    }

    #[test]
    fn the_largest_code_is_given_when_asked_for() {
        let failed = summary(&[Status::Failed, Status::Unreachable], End::Complete);
        assert_eq!(failed.exit(true).code(), 3);
        assert_eq!(summary(&[Status::Failed], End::Interrupted).exit(true).code(), 130);
        let unreachable = Summary { largest_code: 0, ..failed };
        assert_eq!(unreachable.exit(true).code(), 6);
    }
}
