//! Code that FreeBSD and macOS share. Neither system lets a process adopt orphans, or ends a child
//! when its parent dies. The end of file of its link has to be enough.

#![expect(unsafe_code, reason = "system calls")]

use std::ffi::{CStr, c_int, c_void};
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::libc;
use nix::unistd::Pid;

use crate::sys::hex::hex;
use crate::sys::process::descendants::Relative;
use crate::sys::process::random::random;
use crate::sys::process::sys::dup_high;

/// Starts a process that runs `child` in a copy of the memory of this one.
///
/// # Safety
///
/// `child` makes only calls that are allowed between fork and exec.
pub(super) unsafe fn vfork(child: extern "C" fn(*mut c_void) -> c_int, argument: *mut c_void) -> io::Result<Pid> {
    // SAFETY: the caller guarantees it.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        child(argument);
    }
    Ok(Errno::result(pid).map(Pid::from_raw)?)
}

/// # Safety
///
/// The new process makes only calls that are allowed between fork and exec.
pub(super) unsafe fn bare_fork() -> libc::pid_t {
    // SAFETY: the caller guarantees it.
    unsafe { libc::fork() }
}

/// These systems have nothing like it.
pub(super) unsafe fn fork_sibling() -> libc::pid_t {
    -1
}

/// A file with these bytes that has no name any more. Its number is high.
pub(crate) fn sealed_copy(bytes: &[u8]) -> io::Result<OwnedFd> {
    let path = crate::sys::temporary::directory().join(format!(".offshoot.{}", hex(&random()?)));
    let mut file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    file.write_all(bytes)?;
    file.rewind()?;
    dup_high(file.as_raw_fd())
}

/// These systems have other ways to wait for a process.
pub(super) fn open_process(_: Pid) -> Option<File> {
    None
}

pub(super) fn die_with_parent(_: u32) {}

pub(super) fn outlive_parent() {}

pub(super) fn die_in_order_with_parent() {}

pub(super) fn die_softly_with_parent() {}

/// Orphans go to PID 1 here.
pub(super) fn adopt_orphans() -> bool {
    false
}

pub(super) fn close_from(_: std::os::fd::RawFd) -> bool {
    false
}

pub(super) fn rename(_: &str) {}

pub(super) fn rename_in_fork(_: &CStr) {}

/// Nothing is adopted here, so there is nothing to look for.
pub(super) fn children_of(_: i32) -> Vec<Relative> {
    Vec::new()
}

pub(super) fn is_cleaner(_: i32) -> bool {
    false
}

/// The name of the launcher's end of a terminal.
pub(crate) fn terminal_name(ours: &nix::pty::PtyMaster) -> nix::Result<String> {
    // SAFETY: only the I/O thread opens terminals, so no other code uses the static buffer that
    // this call returns.
    unsafe { nix::pty::ptsname(ours) }
}

/// As there need not be a /proc, nothing is run by way of it.
pub(crate) fn own_start() -> Option<u64> {
    None
}

/// Where the executable of this process can be opened.
pub(crate) fn own_executable() -> io::Result<PathBuf> {
    std::env::current_exe()
}

/// Reads a number from the system.
pub(super) fn number(name: &CStr) -> Option<u64> {
    let mut number = 0_u64;
    let mut size = size_of::<u64>();
    // SAFETY: the kernel writes at most `size` bytes.
    let result =
        unsafe { libc::sysctlbyname(name.as_ptr(), (&raw mut number).cast(), &raw mut size, std::ptr::null_mut(), 0) };
    (result == 0 && size == size_of::<u64>()).then_some(number)
}
