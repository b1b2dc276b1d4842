//! The guard: a process that ends the group of a command if the process that started the command
//! has died before it could do so.
//!
//! The guard lives in the session of the command, in a group of its own. As long as it lives, the
//! system does not give the number of that session to another process or group. So the group with
//! this number can be signalled safely, even when its leader has been reaped.

#![expect(unsafe_code, reason = "what happens between fork and exec")]

use std::os::fd::RawFd;

use nix::errno::Errno;
use nix::libc;

use crate::sys::process::group;
use crate::sys::process::platform;

/// The process name of a guard, as `ps` shows it.
pub(super) const NAME: &std::ffi::CStr = c"offshoot-guard";
/// The first number above all signals.
pub(super) const SIGNALS: libc::c_int = 65;
/// The number of descriptors to close one by one, if the system cannot close all at once. No
/// context has more open.
const MAX_OPEN: RawFd = 65_536;

/// Starts the guard of the session that the calling process leads. The guard is not a child of the
/// calling process, because the program that this process becomes might wait for its children. If
/// no further process can be created, there is no guard.
///
/// `link` ends when the process that started the command has ended. The guard writes its number to
/// `link`.
///
/// # Safety
///
/// Only for a process between fork and exec. Makes async-signal-safe calls only and allocates
/// nothing.
pub(super) unsafe fn start(link: RawFd) {
    // SAFETY: plain system calls, and functions that make only plain system calls.
    unsafe {
        let leader = libc::getpid();
        let sibling = platform::fork_sibling();
        if sibling == 0 {
            live(link, leader);
        }
        if sibling > 0 {
            return;
        }
        // Or else it becomes a child of a process that ends at once. Not by the function of the C library, whose locks and records are
        // those of the process that shares its memory.
        let middle = platform::bare_fork();
        if middle == 0 {
            if platform::bare_fork() == 0 {
                live(link, leader);
            }
            libc::_exit(0);
        }
        while middle > 0 && libc::waitpid(middle, std::ptr::null_mut(), 0) < 0 && Errno::last() == Errno::EINTR {}
    }
}

/// Runs the guard until the process ends.
///
/// # Safety
///
/// The same as for [`start`].
unsafe fn live(link: RawFd, leader: libc::pid_t) -> ! {
    // SAFETY: plain system calls. The descriptors that are closed belong to this process alone.
    unsafe {
        libc::setpgid(0, 0);
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
        platform::rename_in_fork(NAME);
        let own = libc::getpid().to_ne_bytes();
        libc::write(link, own.as_ptr().cast(), own.len());
        // Another process may wait for the end of file of a descriptor. The guard must not hold it
        // open.
        libc::dup2(link, 0);
        if !platform::close_from(1) {
            for fd in 1..MAX_OPEN {
                libc::close(fd);
            }
        }
        libc::chdir(c"/".as_ptr());
        let mut word = 0_u8;
        let count = loop {
            let count = libc::read(0, (&raw mut word).cast(), 1);
            if count >= 0 || Errno::last() != Errno::EINTR {
                break count;
            }
        };
        if count == 0 {
            end(leader);
        }
        libc::_exit(0);
    }
}

/// Ends the group, with the same grace as [`group::Group`].
///
/// # Safety
///
/// The same as for [`start`].
unsafe fn end(group: libc::pid_t) {
    let nap = libc::timespec { tv_sec: 0, tv_nsec: group::POLL.subsec_nanos() as libc::c_long };
    let mut naps = group::KILL_AFTER.as_millis() / group::POLL.as_millis();
    // SAFETY: plain system calls; the number belongs to no other group.
    unsafe {
        libc::kill(-group, libc::SIGTERM);
        while libc::kill(-group, 0) == 0 && naps > 0 {
            libc::nanosleep(&raw const nap, std::ptr::null_mut());
            naps -= 1;
        }
        libc::kill(-group, libc::SIGKILL);
    }
}
