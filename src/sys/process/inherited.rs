//! The descriptors that processes inherit from this one.

#![expect(unsafe_code, reason = "any number may be a descriptor")]

use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

/// Lets the processes that this one starts from now on inherit nothing but the standard descriptors. Descriptors of this
/// program are never inherited, so this concerns those that it has inherited itself.
pub(crate) fn inherit_nothing() {
    let open = std::fs::read_dir("/dev/fd").into_iter().flatten().flatten();
    let numbers = open.filter_map(|entry| entry.file_name().to_str()?.parse::<RawFd>().ok());
    // Setting a flag of a descriptor that has been closed meanwhile fails, and harms nothing.
    for number in numbers.filter(|number| *number > 2) {
        // SAFETY: it is used for one system call, which checks the number.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        let _ = fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC));
    }
}

/// A copy of a descriptor that this process has inherited, which begins where the descriptor is. Processes that this one
/// starts from now on inherit neither, unless it is a standard descriptor.
///
/// # Errors
///
/// If there is no such descriptor.
pub(crate) fn inherited(number: RawFd) -> io::Result<File> {
    if number < 0 {
        return Err(io::Error::from_raw_os_error(nix::libc::EBADF));
    }
    // SAFETY: it is used for system calls only, which check the number.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    if number > 2 {
        fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    }
    let copy = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(3))?;
    // SAFETY: the system has just made it, and nothing else knows it.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(copy) }))
}
