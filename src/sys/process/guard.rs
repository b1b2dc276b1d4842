//! A process that ends the group of a command when this process has died
//! before it could do so.
//!
//! It lives in the session of the command, in a group of its own. As long as it
//! lives, the system gives the number of that session to no other process or
//! group, so the group of this number can be signalled without mistaking
//! another one for it, even when its leader has been reaped.

#![expect(unsafe_code, reason = "what happens between fork and exec")]

use std::os::fd::RawFd;

use nix::libc;

use crate::sys::process::group;
use crate::sys::process::platform;

/// Its name, which `ps` shows.
pub(super) const NAME: &std::ffi::CStr = c"offshoot-guard";
/// Signals from here on are not defined anywhere.
const SIGNALS: libc::c_int = 65;
/// Where the system cannot close all descriptors at once, this many are
/// closed one by one: more are not open in any context.
const MAX_OPEN: RawFd = 65_536;

/// Starts the guard of the session that the calling process leads. The guard
/// is no child of it: the program that this is to become might wait for its
/// children. Without room for a further process there is no guard.
///
/// `link` ends when the process that started the command has ended. The guard
/// writes its number to it.
///
/// # Safety
///
/// For a process between fork and exec. Makes async-signal-safe calls only and
/// allocates nothing.
pub(super) unsafe fn start(link: RawFd) {
    // SAFETY: plain system calls, and functions that make no others.
    unsafe {
        let leader = libc::getpid();
        let middle = libc::fork();
        if middle == 0 {
            if libc::fork() == 0 {
                live(link, leader);
            }
            libc::_exit(0);
        }
        while middle > 0
            && libc::waitpid(middle, std::ptr::null_mut(), 0) < 0
            && nix::errno::Errno::last_raw() == libc::EINTR
        {}
    }
}

/// The whole life of a guard.
///
/// # Safety
///
/// As [`start`].
unsafe fn live(link: RawFd, leader: libc::pid_t) -> ! {
    // SAFETY: plain system calls; the descriptors that are closed belong to
    // this process alone.
    unsafe {
        libc::setpgid(0, 0);
        for signal in 1..SIGNALS {
            libc::signal(signal, libc::SIG_IGN);
        }
        platform::rename_in_fork(NAME);
        let own = libc::getpid().to_ne_bytes();
        libc::write(link, own.as_ptr().cast(), own.len());
        // Whoever waits for an end of file must not wait for this process.
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
            if count >= 0 || nix::errno::Errno::last_raw() != libc::EINTR {
                break count;
            }
        };
        if count == 0 {
            end(leader);
        }
        libc::_exit(0);
    }
}

/// Ends the group, with the same patience as [`group::Group`].
///
/// # Safety
///
/// As [`start`].
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
