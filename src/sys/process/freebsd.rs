//! Code for FreeBSD only.

#![expect(unsafe_code, reason = "system calls")]

use std::ffi::c_char;
use std::os::fd::RawFd;

use nix::libc;
use nix::sys::resource::UsageWho;

use crate::sys::process::bsd;
pub(super) use crate::sys::process::bsd::{
    adopt_orphans, bare_fork, children_of, close_from, die_in_order_with_parent, die_softly_with_parent,
    die_with_parent, fork_sibling, is_cleaner, open_process, outlive_parent, rename, rename_in_fork, vfork,
};
pub(crate) use crate::sys::process::bsd::{own_executable, own_start, terminal_name};

/// Becomes the program that is open as `fd`. Returns if that fails, with the
/// reason in `errno`. Allocates nothing.
///
/// # Safety
///
/// `argv` and `env` are NUL-terminated arrays of NUL-terminated strings.
pub(super) unsafe fn exec_fd(fd: RawFd, argv: *const *const c_char, env: *const *const c_char) {
    // SAFETY: the caller guarantees it.
    unsafe {
        libc::fexecve(fd, argv.cast(), env.cast());
    }
}

/// The argument of `getrusage` for this thread.
pub(super) const THREAD_USAGE: Option<UsageWho> = Some(UsageWho::RUSAGE_THREAD);

/// Memory of the machine in bytes.
pub(crate) fn memory() -> Option<u64> {
    bsd::number(c"hw.physmem")
}
