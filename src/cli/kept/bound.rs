//! A keeper for one program: it ends with the process that has started it, however that ends.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::cli::kept::keeping::SUBCOMMAND;
use crate::sys::process::with_usual_settings;

/// How long it may take until it listens, and at the end until all connections have ended.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(2);

/// The keeper. Dropping it ends the keeper and its connections.
pub(crate) struct Bound(Child);

impl Bound {
    /// Starts a keeper, and returns when it listens at `socket`. Blocks.
    ///
    /// # Errors
    ///
    /// If it does not start, or does not listen in time.
    pub(crate) fn start(socket: &Path) -> io::Result<Self> {
        let mut keeper = Command::new(std::env::current_exe()?);
        keeper.arg(SUBCOMMAND).arg("--bound").arg(socket);
        // The other end of stdin is here only, so it ends with this process.
        keeper.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut keeper = Self(with_usual_settings(&mut keeper).spawn()?);
        let begun = Instant::now();
        loop {
            match UnixStream::connect(socket) {
                Ok(_) => return Ok(keeper),
                Err(error) if begun.elapsed() > PATIENCE || keeper.0.try_wait()?.is_some() => return Err(error),
                Err(_) => std::thread::sleep(LOOK),
            }
        }
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE && matches!(self.0.try_wait(), Ok(None)) {
            std::thread::sleep(LOOK);
        }
        // One that has ended is not concerned.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
