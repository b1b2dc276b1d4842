//! Terminals for launchers that ask for a password, and for commands that a user types in.
//!
//! Such a launcher gets a terminal as its stderr and as `/dev/tty`. Its questions arrive here, and
//! the answers are typed here. Its stdin and stdout stay sockets, because a terminal changes the
//! bytes that pass through it.

#![expect(unsafe_code, reason = "requests about sizes")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::libc;
use nix::pty::{grantpt, posix_openpt, unlockpt};
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};

use crate::sys::process;

/// Opens a new terminal. Returns our end and the launcher's end.
///
/// Our end must stay open as long as the launcher lives. Closing it sends SIGHUP to the launcher.
///
/// # Errors
///
/// The error says what to do about it.
pub(crate) fn open() -> Result<(OwnedFd, File), String> {
    try_open().map_err(|error| {
        let hint = match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOSPC | Errno::EAGAIN | Errno::ENXIO | Errno::EIO | Errno::ENOMEM) => {
                "all of them are in use: end some sessions, or raise the limit, which is sysctl kernel.pty.max on \
                 Linux and kern.tty.ptmx_max on macOS"
            }
            _ => "are /dev/ptmx and /dev/pts there and open to this user?",
        };
        format!("Failed to create a PTY: {error}; {hint}")
    })
}

fn try_open() -> io::Result<(OwnedFd, File)> {
    let ours = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)?;
    // If the file system of terminals has already made the terminal for this user, the answer "not
    // permitted" does not matter.
    match grantpt(&ours) {
        Ok(()) | Err(Errno::EPERM) => {}
        Err(error) => return Err(error.into()),
    }
    unlockpt(&ours)?;
    let name = process::terminal_name(&ours)?;
    let theirs = OpenOptions::new().read(true).write(true).custom_flags(OFlag::O_NOCTTY.bits()).open(name)?;
    let ours = ours.as_fd().try_clone_to_owned()?;
    fcntl(&ours, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Ok((ours, theirs))
}

/// Tells a terminal how many rows and columns it has. The programs on it get SIGWINCH.
pub(crate) fn resize(terminal: BorrowedFd<'_>, [rows, columns]: [u16; 2]) -> io::Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel reads one value of this function.
    Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ as _, &raw const size) })?;
    Ok(())
}

/// How many rows and columns a terminal has.
#[cfg(any(feature = "fakessh", test))]
pub(crate) fn size(terminal: BorrowedFd<'_>) -> io::Result<[u16; 2]> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel writes one value of this function.
    Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ as _, &raw mut size) })?;
    Ok([size.ws_row, size.ws_col])
}

/// Whether the terminal shows what is typed. A program that asks for a secret switches this off
/// first.
pub(crate) fn echoes(terminal: &impl AsFd) -> bool {
    tcgetattr(terminal).is_ok_and(|modes| modes.local_flags.contains(LocalFlags::ECHO))
}

/// Switches the echo off. An error means that the terminal has gone.
pub(crate) fn silence(terminal: &impl AsFd) {
    if let Ok(mut modes) = tcgetattr(terminal) {
        modes.local_flags.remove(LocalFlags::ECHO | LocalFlags::ECHONL);
        let _ = tcsetattr(terminal, SetArg::TCSANOW, &modes);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn both_ends_of_a_terminal_have_the_size_that_it_was_told() {
        let (ours, theirs) = open().unwrap();
        resize(ours.as_fd(), [33, 99]).unwrap();
        assert_eq!(size(theirs.as_fd()).unwrap(), [33, 99]);
        assert!(size(File::open("/dev/null").unwrap().as_fd()).is_err());
    }

    #[test]
    fn what_is_typed_arrives_and_is_not_shown_once_silenced() {
        let (ours, mut theirs) = open().unwrap();
        assert!(echoes(&ours));
        silence(&ours);
        assert!(!echoes(&ours) && !echoes(&theirs));
        let mut ours = File::from(ours);
        ours.write_all(b"secret\n").unwrap();
        let mut line = [0; 16];
        assert_eq!(theirs.read(&mut line).unwrap(), 7);
        theirs.write_all(b"shown").unwrap();
        let mut shown = [0; 16];
        let count = ours.read(&mut shown).unwrap();
        assert_eq!(&shown[..count], b"shown");
    }
}
