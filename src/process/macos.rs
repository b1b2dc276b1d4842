//! What macOS has its own way of.

#![expect(unsafe_code, reason = "system calls")]

use std::ffi::c_char;
use std::io;
use std::os::fd::RawFd;
use std::path::PathBuf;

use nix::libc;
use nix::sys::resource::UsageWho;

use super::descendants::Relative;

/// What `F_GETPATH` may write, with its NUL.
const PATH_MAX: usize = 1024;

/// Becomes the program that is open as `fd`, by the name that it has now.
/// Returns if that fails, with the reason in `errno`. Allocates nothing.
///
/// # Safety
///
/// `argv` and `env` are NUL-terminated, and so is all in them.
pub(super) unsafe fn exec_fd(fd: RawFd, argv: *const *const c_char, env: *const *const c_char) {
    let mut path = [0 as c_char; PATH_MAX];
    // SAFETY: as the caller says; the buffer has the size that is asked for.
    unsafe {
        if libc::fcntl(fd, libc::F_GETPATH, path.as_mut_ptr()) == 0 {
            libc::execve(path.as_ptr(), argv, env);
        }
    }
}

/// Nothing kills a process here when its parent ends: end of file of its link
/// has to do.
pub(super) fn die_with_parent(_: u32) {}

/// The name of the launcher's end of a terminal.
pub(crate) fn terminal_name(ours: &nix::pty::PtyMaster) -> nix::Result<String> {
    // SAFETY: only the I/O thread opens terminals, so nobody else uses the
    // buffer that this gives its answer in.
    unsafe { nix::pty::ptsname(ours) }
}

pub(super) fn outlive_parent() {}

pub(super) fn die_softly_with_parent() {}

/// Orphans go to PID 1 here.
pub(super) fn adopt_orphans() -> bool {
    false
}

pub(super) fn rename(_: &str) {}

/// Nobody is looked for where nobody is adopted.
pub(super) fn children_of(_: i32) -> Vec<Relative> {
    Vec::new()
}

/// Where the executable of this process can be opened.
pub(crate) fn own_executable() -> io::Result<PathBuf> {
    std::env::current_exe()
}

/// How to ask what this thread has used.
pub(super) const THREAD_USAGE: Option<UsageWho> = None;

/// Memory of the machine in bytes.
pub(crate) fn memory() -> Option<u64> {
    let mut memory = 0_u64;
    let mut size = size_of::<u64>();
    // SAFETY: the kernel writes at most `size` bytes.
    let result = unsafe {
        libc::sysctlbyname(c"hw.memsize".as_ptr(), (&raw mut memory).cast(), &raw mut size, std::ptr::null_mut(), 0)
    };
    (result == 0 && size == size_of::<u64>()).then_some(memory)
}
