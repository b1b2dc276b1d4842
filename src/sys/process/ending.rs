//! How processes end: as text, and ending this process in the way another one has ended.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::sys::process::sys::{self, exit_now};

/// `exited with return code 1` or `exited due to signal 9 (SIGKILL)`.
pub(crate) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with return code {code}"),
        (None, Some(number)) => match Signal::try_from(number) {
            Ok(signal) => format!("exited due to signal {number} ({})", signal.as_str()),
            Err(_) => format!("exited due to signal {number}"),
        },
        (None, None) => "ended in an unknown way".into(),
    }
}

/// Ends this process in the way another one has ended: with the same exit code or signal.
pub(super) fn end_as(status: WaitStatus) -> ! {
    match status {
        WaitStatus::Exited(_, code) => exit_now(code),
        WaitStatus::Signaled(_, signal, _) => sys::end_by(signal),
        _ => exit_now(1),
    }
}

/// Kills and reaps a direct child that this process has inherited from the program it was before
/// exec. Blocks for as long as the kernel takes.
pub(crate) fn end_child(pid: i32) {
    let pid = Pid::from_raw(pid);
    // If the pid is not a child of this process any more, it may belong to any process.
    if waitpid(pid, Some(WaitPidFlag::WNOHANG)) == Ok(WaitStatus::StillAlive) {
        let _ = kill(pid, Signal::SIGKILL);
        let _ = waitpid(pid, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_in_the_words_of_old() {
        let end = |line: &str| describe(std::process::Command::new("sh").args(["-c", line]).status().unwrap());
        assert_eq!(end("exit 1"), "exited with return code 1");
        assert_eq!(end("kill -9 $$"), "exited due to signal 9 (SIGKILL)");
    }
}
