//! The standard descriptors of a child context.

use std::io;
use std::os::fd::OwnedFd;
#[cfg(any(test, feature = "fuzzing"))]
use std::sync::atomic::{AtomicBool, Ordering};

use crate::sys::process::sys::{dup_high, replace};

/// The descriptors of a child context, with high numbers, so that processes started by it do not
/// get them.
#[derive(Debug)]
pub(crate) struct ChildFds {
    /// The link to the parent.
    pub(crate) input: OwnedFd,
    pub(crate) output: OwnedFd,
    /// Reads what this process and its descendants print.
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

/// Moves the link to high descriptors that no process inherits. 0 becomes `/dev/null`. 1 and 2
/// become pipes.
pub(crate) fn take_stdio() -> io::Result<ChildFds> {
    let input = dup_high(0)?;
    let output = dup_high(1)?;
    if nix::unistd::isatty(io::stderr()).unwrap_or(false) {
        // Some programs, such as old versions of sudo, execute this program in their place. If no
        // process had the terminal open any more, the kernel would send SIGHUP.
        std::mem::forget(dup_high(2)?);
    }
    let null = match std::fs::File::open("/dev/null") {
        Ok(null) => OwnedFd::from(null),
        // A bare root file system has no /dev/null. An empty pipe reads the same.
        Err(_) => io::pipe()?.0.into(),
    };
    replace(&null, 0)?;
    let (stdout, write) = io::pipe()?;
    replace(&write, 1)?;
    let (stderr, write) = io::pipe()?;
    replace(&write, 2)?;
    Ok(ChildFds { input, output, stdout: stdout.into(), stderr: stderr.into() })
}

/// Whether the standard descriptors belong to no child, although children run here.
#[cfg(any(test, feature = "fuzzing"))]
static KEPT: AtomicBool = AtomicBool::new(false);

/// Leaves the standard descriptors open when a child ends. Several children run in one process only in tests.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn keep_stdio() {
    KEPT.store(true, Ordering::Relaxed);
}

/// Closes this process's ends of the pipes that [`take_stdio`] has made, so that their readers find
/// the end of the file.
pub(crate) fn close_stdio() {
    #[cfg(any(test, feature = "fuzzing"))]
    if KEPT.load(Ordering::Relaxed) {
        return;
    }
    // Without /dev/null the best choice is to leave them open.
    if let Ok(null) = std::fs::OpenOptions::new().write(true).open("/dev/null") {
        for fd in [1, 2] {
            let _ = replace(&null, fd);
        }
    }
}
