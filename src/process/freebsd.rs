//! What FreeBSD has its own way of.

#![expect(unsafe_code, reason = "system calls")]

use std::ffi::c_char;
use std::io;
use std::os::fd::RawFd;
use std::path::PathBuf;

use nix::libc;
use nix::sys::resource::UsageWho;

use super::descendants::Relative;

/// Becomes the program that is open as `fd`. Returns if that fails, with the
/// reason in `errno`. Allocates nothing.
///
/// # Safety
///
/// `argv` and `env` are NUL-terminated, and so is all in them.
pub(super) unsafe fn exec_fd(fd: RawFd, argv: *const *const c_char, env: *const *const c_char) {
    // SAFETY: as the caller says.
    unsafe {
        libc::fexecve(fd, argv.cast(), env.cast());
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
pub(super) const THREAD_USAGE: Option<UsageWho> = Some(UsageWho::RUSAGE_THREAD);

/// Memory of the machine in bytes.
pub(crate) fn memory() -> Option<u64> {
    let mut memory = 0_u64;
    let mut size = size_of::<u64>();
    // SAFETY: the kernel writes at most `size` bytes.
    let result = unsafe {
        libc::sysctlbyname(c"hw.physmem".as_ptr(), (&raw mut memory).cast(), &raw mut size, std::ptr::null_mut(), 0)
    };
    (result == 0 && size == size_of::<u64>()).then_some(memory)
}
