//! How the tool ends: its exit codes, which are documented and do not change.

use std::process::ExitCode;

use crate::cli::hosts::expression_error::FaultKind;

/// Everything succeeded.
pub(crate) const OK: u8 = 0;
/// Added if hosts ran the command and it failed.
pub(crate) const FAILED: u8 = 2;
/// Added if hosts could not be reached.
pub(crate) const UNREACHABLE: u8 = 4;
/// Added if the run was stopped before all hosts were done.
pub(crate) const STOPPED: u8 = 8;
/// The command line is wrong.
pub(crate) const USAGE: u8 = 64;
/// No host matches, or a list of hosts cannot be read.
pub(crate) const NO_HOSTS: u8 = 66;
/// An internal error, or an error of the machine that the tool runs on.
pub(crate) const INTERNAL: u8 = 70;
/// Ctrl-C, regardless of the hosts.
pub(crate) const INTERRUPTED: u8 = 130;
/// SIGHUP, regardless of the hosts.
pub(crate) const HUNG_UP: u8 = 129;
/// SIGTERM, regardless of the hosts.
pub(crate) const TERMINATED: u8 = 143;

/// How the tool ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The run ended by itself.
    Done(Outcome),
    /// With `-S`: the largest code of any host, or else the code of `Done`.
    Largest(u8, Outcome),
    /// The code of what ran on a terminal of a host.
    Remote(u8),
    Usage,
    NoHosts,
    Internal,
    Interrupted,
    Terminated,
    HungUp,
}

impl Exit {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done(outcome) => outcome.code(),
            // Unreachable hosts have no exit code, but they are a failure.
            Self::Largest(0, outcome) => outcome.code(),
            Self::Largest(code, _) | Self::Remote(code) => code,
            Self::Usage => USAGE,
            Self::NoHosts => NO_HOSTS,
            Self::Internal => INTERNAL,
            Self::Interrupted => INTERRUPTED,
            Self::Terminated => TERMINATED,
            Self::HungUp => HUNG_UP,
        }
    }
}

impl From<FaultKind> for Exit {
    fn from(kind: FaultKind) -> Self {
        match kind {
            FaultKind::Syntax | FaultKind::Limit => Self::Usage,
            FaultKind::Source | FaultKind::Empty => Self::NoHosts,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// What went wrong in the run. Several of these can be true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Outcome {
    pub(crate) failed: bool,
    pub(crate) unreachable: bool,
    pub(crate) stopped: bool,
}

impl Outcome {
    pub(crate) fn code(self) -> u8 {
        let bit = |set: bool, bit| if set { bit } else { OK };
        bit(self.failed, FAILED) + bit(self.unreachable, UNREACHABLE) + bit(self.stopped, STOPPED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_wrong_adds_up() {
        let code = |failed, unreachable, stopped| Exit::Done(Outcome { failed, unreachable, stopped }).code();
        assert_eq!(code(false, false, false), 0);
        assert_eq!(code(true, false, false), 2);
        assert_eq!(code(false, true, false), 4);
        assert_eq!(code(true, true, false), 6);
        assert_eq!(code(false, false, true), 8);
        assert_eq!(code(true, true, true), 14);
    }

    #[test]
    fn the_other_codes_are_as_documented() {
        assert_eq!(Exit::Usage.code(), 64);
        assert_eq!(Exit::NoHosts.code(), 66);
        assert_eq!(Exit::Internal.code(), 70);
        assert_eq!(Exit::Interrupted.code(), 130);
        assert_eq!(Exit::Terminated.code(), 143);
        assert_eq!(Exit::from(FaultKind::Empty).code(), 66);
        assert_eq!(Exit::from(FaultKind::Source).code(), 66);
        assert_eq!(Exit::from(FaultKind::Syntax).code(), 64);
        assert_eq!(Exit::from(FaultKind::Limit).code(), 64);
    }

    #[test]
    fn the_largest_code_hides_no_unreachable_host() {
        let unreachable = Outcome { unreachable: true, ..Outcome::default() };
        assert_eq!(Exit::Largest(7, unreachable).code(), 7);
        assert_eq!(Exit::Largest(0, unreachable).code(), 4);
        assert_eq!(Exit::Largest(0, Outcome::default()).code(), 0);
    }
}
