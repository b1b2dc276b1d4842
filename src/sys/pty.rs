//! Terminals of our own, for launchers that ask for a password.
//!
//! Such a launcher gets one as its stderr and as the terminal that
//! `/dev/tty` leads to. What it asks arrives here, and answers are typed here;
//! its stdin and stdout stay a socket, as bytes that cross a terminal are
//! changed on the way.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::pty::{grantpt, posix_openpt, unlockpt};
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};

use crate::sys::process;

/// A new terminal: our end, and the launcher's.
///
/// Our end has to stay open for as long as the launcher lives: when it is
/// closed, the launcher is hung up.
///
/// # Errors
///
/// Says what to do about it.
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
    // Where the file system of terminals has made it for this user already,
    // being told "not permitted" does not matter.
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

/// Whether what is typed would be shown. Whoever asks for a secret switches
/// that off first.
pub(crate) fn echoes(terminal: &impl AsFd) -> bool {
    tcgetattr(terminal).is_ok_and(|modes| modes.local_flags.contains(LocalFlags::ECHO))
}

/// Switches it off. Failure means that the terminal has gone.
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
