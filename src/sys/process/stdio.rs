//! The standard descriptors of a child context.

use std::io;
use std::os::fd::OwnedFd;

use crate::sys::process::sys::{dup_high, replace};

/// The descriptors of a child context, out of the way of whatever it starts.
#[derive(Debug)]
pub(crate) struct ChildFds {
    /// The link to the parent.
    pub(crate) input: OwnedFd,
    pub(crate) output: OwnedFd,
    /// What this process and its descendants print, to be read.
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

/// Moves the link to high descriptors that nobody inherits; 0 becomes
/// `/dev/null`, 1 and 2 become pipes.
pub(crate) fn take_stdio() -> io::Result<ChildFds> {
    let input = dup_high(0)?;
    let output = dup_high(1)?;
    if nix::unistd::isatty(io::stderr()).unwrap_or(false) {
        // Some programs, old sudo among them, execute us in their place: when
        // nobody had the terminal open any more, it would hang up on us.
        std::mem::forget(dup_high(2)?);
    }
    let null = match std::fs::File::open("/dev/null") {
        Ok(null) => OwnedFd::from(null),
        // A bare root file system has none: an empty pipe reads as nothing.
        Err(_) => io::pipe()?.0.into(),
    };
    replace(&null, 0)?;
    let (stdout, write) = io::pipe()?;
    replace(&write, 1)?;
    let (stderr, write) = io::pipe()?;
    replace(&write, 2)?;
    Ok(ChildFds { input, output, stdout: stdout.into(), stderr: stderr.into() })
}

/// Closes this process's ends of the pipes that [`take_stdio`] made, so that
/// their readers come to an end.
pub(crate) fn close_stdio() {
    // Without /dev/null there is nothing better than leaving them open.
    if let Ok(null) = std::fs::OpenOptions::new().write(true).open("/dev/null") {
        for fd in [1, 2] {
            let _ = replace(&null, fd);
        }
    }
}
