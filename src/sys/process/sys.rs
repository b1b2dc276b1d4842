//! The unsafe part: fork, exec and raw descriptors.

#![expect(unsafe_code, reason = "fork, exec and raw descriptors; everything else is safe code")]

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use bytes::BytesMut;
use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::sys::process::platform;

/// The lowest descriptor for files of this crate. Shells and scripts use lower numbers.
const HIGH: RawFd = 20;

pub(super) fn random() -> nix::Result<[u8; 16]> {
    let mut bytes = [0_u8; 16];
    let pointer = bytes.as_mut_ptr().cast();
    loop {
        // SAFETY: the pointer leads to as many bytes as the length says.
        #[cfg(target_os = "linux")]
        let result = Errno::result(unsafe { libc::getrandom(pointer, bytes.len(), 0) });
        // SAFETY: likewise.
        #[cfg(not(target_os = "linux"))]
        let result = Errno::result(unsafe { libc::getentropy(pointer, bytes.len()) });
        match result {
            // The system returns up to 256 bytes in one piece.
            Ok(_) => return Ok(bytes),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Takes over a descriptor that the process which started this one has opened for it.
pub(crate) fn adopt(fd: RawFd) -> io::Result<OwnedFd> {
    let high = dup_high(fd)?;
    // SAFETY: the number was passed to this process for its own use. The only user of it has just
    // got its copy.
    unsafe { libc::close(fd) };
    Ok(high)
}

/// A copy of a descriptor with a high number. No process inherits it.
pub(crate) fn dup_high(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: no other code owns the new descriptor.
    unsafe {
        let mut copy = libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, HIGH);
        if copy < 0 {
            copy = libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3);
        }
        if copy < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(copy)) }
    }
}

/// Forks. Returns the pid of the new process in the old process, and `None` in the new process. The
/// new process has only this thread.
pub(super) fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: no other thread of this process holds a lock that the new process takes. There is no
    // other thread, or it waits for this one.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Parent { child } => Ok(Some(child)),
        nix::unistd::ForkResult::Child => Ok(None),
    }
}

/// Ignores the signals that ask a process to end.
pub(super) fn ignore_requests_to_end() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: no handler is installed.
        let _ = unsafe { nix::sys::signal::signal(signal, nix::sys::signal::SigHandler::SigIgn) };
    }
}

/// Closes every descriptor of this process. The process must not use a descriptor that it has
/// opened before.
pub(super) fn close_all() {
    let limit = nix::unistd::sysconf(nix::unistd::SysconfVar::OPEN_MAX).ok().flatten().unwrap_or(1024);
    let names = std::fs::read_dir("/proc/self/fd").map(|entries| {
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect::<Vec<RawFd>>()
    });
    let all = names.unwrap_or_else(|_| (0..RawFd::try_from(limit).unwrap_or(1024)).collect());
    for fd in all {
        // SAFETY: the code that opened them never runs again in this process.
        unsafe { libc::close(fd) };
    }
}

/// Closes a descriptor of the process as a whole.
#[cfg(target_os = "linux")]
pub(super) fn close(fd: RawFd) {
    // SAFETY: the caller owns the descriptors of the whole process, and does not use this one
    // again.
    unsafe { libc::close(fd) };
}

/// Makes the kernel kill this process when the one that has started it ends.
#[cfg(target_os = "linux")]
pub(crate) fn die_with_parent(parent: u32) {
    platform::die_with_parent(parent);
}

/// If the kernel is to kill this process at the end of the one that has started it, makes it send SIGTERM instead. Call it on
/// the first thread.
pub(crate) fn die_in_order_with_parent() {
    platform::die_in_order_with_parent();
}

/// Must be called only while the process has one thread, so that no other thread reads the
/// environment.
pub(crate) fn set_variable(name: &str, value: &OsStr) {
    // SAFETY: see above. Every caller is about to become a child.
    unsafe { std::env::set_var(name, value) };
}

/// Keeps only the listed variables of the environment, and adds others. The same condition holds.
#[cfg(target_os = "linux")]
pub(crate) fn replace_environment(is_kept: fn(&str) -> bool, added: &[(&str, &str)]) {
    for (name, _) in std::env::vars_os() {
        if !name.to_str().is_some_and(is_kept) {
            // SAFETY: the same condition holds.
            unsafe { std::env::remove_var(name) };
        }
    }
    for (name, value) in added {
        set_variable(name, OsStr::new(value));
    }
}

/// Ends this process by a signal, in the way another one has ended.
pub(super) fn end_by(signal: Signal) -> ! {
    // SAFETY: no handler is installed.
    let _ = unsafe { nix::sys::signal::signal(signal, nix::sys::signal::SigHandler::SigDfl) };
    let _ = kill(Pid::this(), signal);
    exit_now(1)
}

/// Makes `fd` a copy of `with`.
pub(crate) fn replace(with: &impl AsFd, fd: RawFd) -> io::Result<()> {
    // SAFETY: 0, 1 and 2 are owned by the process as a whole.
    let result = unsafe { libc::dup2(with.as_fd().as_raw_fd(), fd) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A descriptor that stays open, with the same number, as long as the value lives.
pub(crate) trait Lasting: AsRawFd {}
impl Lasting for File {}
impl Lasting for Arc<File> {}

/// Registers a descriptor with the event queue of this thread.
pub(crate) fn watch<T: Lasting>(file: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    // SAFETY: the type is `Lasting`.
    unsafe { AsyncFd::register_with_interest(file, interest) }.map_err(Into::into)
}

/// Reads once, into the spare capacity of `buffer`.
pub(crate) fn read_into(file: &File, buffer: &mut BytesMut) -> io::Result<usize> {
    let spare = buffer.spare_capacity_mut();
    // SAFETY: the kernel writes at most `spare.len()` bytes behind the content of the buffer. The
    // length grows by the number that the kernel returns.
    unsafe {
        let count = libc::read(file.as_raw_fd(), spare.as_mut_ptr().cast(), spare.len());
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        buffer.set_len(buffer.len() + count);
        Ok(count)
    }
}

/// Whether this process ignores a signal, as it does if it was started so.
pub(crate) fn is_ignored(signal: Signal) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: the call only reads the action, into a value that has room for it. All zeros is a
    // valid action.
    unsafe {
        libc::sigaction(signal as libc::c_int, std::ptr::null(), action.as_mut_ptr());
        action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

/// Makes the system keep the exit status of this process's children until it is asked for. Needed
/// if the process was started by one that ignores SIGCHLD.
pub(crate) fn heed_children() {
    if is_ignored(Signal::SIGCHLD) {
        // SAFETY: no handler is installed.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    }
}

/// Ends the process now, whatever its other threads do.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: never returns.
    unsafe { libc::_exit(code) }
}
