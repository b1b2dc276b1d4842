//! What the tool does with signals that concern every command of it, whatever the process that has started it did with them.

use std::sync::atomic::{AtomicU64, Ordering};

use nix::libc;

/// A bit for each signal that this process ignores and its parent did not.
static IGNORED: AtomicU64 = AtomicU64::new(0);

/// Whether this process ignores a signal of its own accord, so that the programs that it starts do not.
pub(super) fn is_ignored_here(number: libc::c_int) -> bool {
    (0..64).contains(&number) && IGNORED.load(Ordering::Relaxed) & (1 << number) != 0
}

/// Ignores a signal that would end this process. What this process starts does not ignore it, unless the parent of this
/// process did.
#[expect(unsafe_code, reason = "a disposition of a signal")]
fn ignore(number: libc::c_int) {
    // SAFETY: zeros are a valid value, which the call replaces; no handler is installed.
    unsafe {
        let mut before: libc::sigaction = std::mem::zeroed();
        if libc::sigaction(number, std::ptr::null(), &raw mut before) == 0 && before.sa_sigaction == libc::SIG_DFL {
            libc::signal(number, libc::SIG_IGN);
            IGNORED.fetch_or(1 << number, Ordering::Relaxed);
        }
    }
}

/// Lets a file that is larger than the limit allows be an error of the write.
pub(crate) fn ignore_file_limit() {
    ignore(libc::SIGXFSZ);
}

#[cfg(feature = "cli")]
#[expect(unsafe_code, reason = "dispositions of signals, also between fork and exec")]
mod of_the_tool {
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use nix::sys::signal::{SigSet, Signal};

    use super::{ignore, ignore_file_limit, is_ignored_here, libc};
    use crate::sys::process::open_files::{lower_open_files, old_open_files};
    use crate::sys::process::sys::heed_children;

    /// Signals that a parent may have blocked and that have to arrive.
    const HEARD: [Signal; 5] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCHLD, Signal::SIGUSR2];
    /// Makes this process independent of what its parent did with signals. What it ignores to outlive a terminal stays
    /// ignored: SIGHUP and SIGINT. Call it before there is another thread.
    pub(crate) fn prepare_signals() {
        heed_children();
        let heard: SigSet = HEARD.into_iter().collect();
        // The system refuses nothing here.
        let _ = heard.thread_unblock();
        // It asks what the tool does, and some commands have nothing to say.
        ignore(libc::SIGUSR2);
        ignore_file_limit();
    }

    /// Gives a program the signals and the limits that this process had when it began. As for every program of
    /// [`std::process`], no signal is blocked.
    pub(crate) fn with_usual_settings(command: &mut Command) -> &mut Command {
        let old = old_open_files();
        let restore = move || {
            for number in (1..64).filter(|number| is_ignored_here(*number)) {
                // SAFETY: no handler is installed.
                unsafe { libc::signal(number, libc::SIG_DFL) };
            }
            lower_open_files(old);
            Ok(())
        };
        // SAFETY: it makes system calls only, and allocates nothing.
        unsafe { command.pre_exec(restore) }
    }
}

#[cfg(feature = "cli")]
pub(crate) use of_the_tool::{prepare_signals, with_usual_settings};
