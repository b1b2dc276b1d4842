//! The terminal of the user, in raw mode: every key goes to the far end, and its output is shown as it is.

use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;

use crate::process::WindowSize;
use crate::sys::patient::Patient;
use crate::sys::pty;
use crate::sys::raw_end::RestoreOnSignal;

/// Bytes of one read of the keyboard: more than anybody types at once, so that pasted text needs few messages.
const CHUNK: usize = 4096;
/// Reads of the keyboard that wait for the far end. Then the terminal itself keeps what is typed.
const TYPED: usize = 4;
/// Chunks of output that wait for the terminal. More would be shown after Ctrl-C.
const SHOWN: usize = 2;
/// How long the terminal may take for the last output when a signal ends the tool.
const LAST_OUTPUT: Duration = Duration::from_millis(500);

/// The settings of the terminal before raw mode. Dropping it restores them, and so does a signal that ends the process.
#[derive(Debug)]
pub(super) struct Raw(Termios, RestoreOnSignal);

impl Raw {
    /// Whether both stdin and stdout are a terminal.
    pub(super) fn is_possible() -> bool {
        has_keyboard() && io::stdout().is_terminal()
    }

    pub(super) fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let on_signal = RestoreOnSignal::begin(&before)?;
        let raw = Self(before, on_signal);
        raw.enter()?;
        Ok(raw)
    }

    /// Makes the terminal raw.
    pub(super) fn enter(&self) -> io::Result<()> {
        let mut modes = self.0.clone();
        cfmakeraw(&mut modes);
        Ok(tcsetattr(io::stdin(), SetArg::TCSADRAIN, &modes)?)
    }

    /// Makes the terminal what it was before.
    pub(super) fn leave(&self) {
        // Does not wait for the terminal, which may be stopped. A failure means that the terminal is gone.
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &self.0);
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Whether stdin is a terminal.
pub(crate) fn has_keyboard() -> bool {
    io::stdin().is_terminal()
}

/// The size of the terminal that is stdout, or else stdin, or the usual size if it has none.
pub(super) fn size() -> WindowSize {
    let known = pty::size(io::stdout().as_fd()).or_else(|_| pty::size(io::stdin().as_fd()));
    let [rows, columns] = known.unwrap_or_default();
    if rows == 0 || columns == 0 { WindowSize::default() } else { WindowSize { rows, columns } }
}

/// Starts to read the keyboard. The channel ends when the terminal is gone.
pub(super) fn keys() -> io::Result<Receiver<Vec<u8>>> {
    let (typed, keys) = channel(TYPED);
    // It ends with the process: nothing can end a read of a terminal.
    std::thread::Builder::new().name("keyboard".into()).spawn(move || {
        let mut stdin = Patient(io::stdin());
        let mut chunk = vec![0; CHUNK];
        loop {
            match stdin.read(&mut chunk) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return,
                Ok(count) => {
                    if typed.blocking_send(chunk[..count].to_vec()).is_err() {
                        return;
                    }
                }
            }
        }
    })?;
    Ok(keys)
}

/// What is shown on the terminal. Another thread writes it, because a terminal can be stopped.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) chunks: Sender<Vec<u8>>,
    /// Ends when everything was written, or the terminal is gone.
    done: oneshot::Receiver<()>,
}

impl Shown {
    pub(super) fn start() -> io::Result<Self> {
        let (chunks, mut shown) = channel::<Vec<u8>>(SHOWN);
        let (ended, done) = oneshot::channel();
        std::thread::Builder::new().name("screen".into()).spawn(move || {
            let mut stdout = Patient(io::stdout());
            while let Some(chunk) = shown.blocking_recv() {
                if stdout.write_all(&chunk).and_then(|()| stdout.flush()).is_err() {
                    break;
                }
            }
            let _ = ended.send(());
        })?;
        Ok(Self { chunks, done })
    }

    /// Waits until everything was written. If `is_urgent`, not for long.
    pub(super) async fn finish(self, is_urgent: bool) {
        drop(self.chunks);
        if is_urgent {
            let _ = tokio::time::timeout(LAST_OUTPUT, self.done).await;
        } else {
            let _ = self.done.await;
        }
    }
}
