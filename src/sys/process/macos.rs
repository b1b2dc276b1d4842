//! Code for macOS only.

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

/// The most bytes that `F_GETPATH` writes, including the NUL.
const PATH_MAX: usize = 1024;

/// Becomes the program that is open as `fd`, by the path that the file has now. Returns if that
/// fails, with the reason in `errno`. Allocates nothing.
///
/// # Safety
///
/// `argv` and `env` are NUL-terminated arrays of NUL-terminated strings.
pub(super) unsafe fn exec_fd(fd: RawFd, argv: *const *const c_char, env: *const *const c_char) {
    let mut path = [0 as c_char; PATH_MAX];
    // SAFETY: the caller guarantees it. The buffer has the size that the call needs.
    unsafe {
        if libc::fcntl(fd, libc::F_GETPATH, path.as_mut_ptr()) == 0 {
            libc::execve(path.as_ptr(), argv, env);
        }
    }
}

/// The argument of `getrusage` for this thread. macOS has none.
pub(super) const THREAD_USAGE: Option<UsageWho> = None;

/// Memory of the machine in bytes.
pub(crate) fn memory() -> Option<u64> {
    bsd::number(c"hw.memsize")
}
