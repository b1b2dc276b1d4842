//! A process that this one has started.

#![expect(unsafe_code, reason = "waitpid that keeps all that the kernel says")]

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::errno::Errno;
use nix::libc::{self, c_int};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use tokio::io::Interest;
use tokio::signal::unix::{SignalKind, signal};

use crate::sys::process::platform;
use crate::sys::process::sys::watch;

/// A process that this process has started and has to reap.
#[derive(Debug)]
pub(crate) struct Started {
    pid: Pid,
    status: Option<ExitStatus>,
}

impl Started {
    pub(crate) fn new(pid: Pid) -> Self {
        Self { pid, status: None }
    }

    /// Its number. `None` once it has been reaped, as another process may have it then.
    pub(crate) fn id(&self) -> Option<u32> {
        if self.status.is_some() { None } else { u32::try_from(self.pid.as_raw()).ok() }
    }

    /// Kills it, unless it has been reaped.
    pub(crate) fn kill(&self) {
        if self.status.is_none() {
            // Another user's process cannot be killed.
            let _ = nix::sys::signal::kill(self.pid, nix::sys::signal::Signal::SIGKILL);
        }
    }

    /// Reaps it if it has ended.
    pub(crate) fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.reap(libc::WNOHANG)
    }

    /// Waits for its end and reaps it, while this thread does nothing else.
    pub(crate) fn wait_here(&mut self) -> io::Result<ExitStatus> {
        loop {
            match self.reap(0) {
                Ok(Some(status)) => return Ok(status),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn reap(&mut self, options: c_int) -> io::Result<Option<ExitStatus>> {
        if self.status.is_none() {
            let mut status = 0;
            // SAFETY: the kernel writes one number.
            let reaped = Errno::result(unsafe { libc::waitpid(self.pid.as_raw(), &raw mut status, options) })?;
            self.status = (reaped != 0).then(|| ExitStatus::from_raw(status));
        }
        Ok(self.status)
    }

    /// Waits for its end and reaps it. Cancel safe.
    pub(crate) async fn wait(&mut self) -> io::Result<ExitStatus> {
        // Before the first look, so that no end is missed.
        let ending = platform::open_process(self.pid).map(|file| watch(file, Interest::READABLE)).transpose()?;
        let mut ends = if ending.is_none() { Some(signal(SignalKind::child())?) } else { None };
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(status);
            }
            match (&ending, &mut ends) {
                (Some(ending), _) => ending.readable().await?.clear_ready(),
                (None, Some(ends)) => _ = ends.recv().await,
                (None, None) => {}
            }
        }
    }
}

impl Drop for Started {
    /// No code waits for it any more, but it must be reaped, whenever it ends.
    fn drop(&mut self) {
        if let Ok(None) = self.try_wait() {
            let pid = self.pid;
            // Without a thread the process stays a zombie until this one ends.
            let _ = std::thread::Builder::new().name("reap".into()).spawn(move || waitpid(pid, None));
        }
    }
}
