//! The terminal of an ssh whose command has one: what is typed goes to the command as it is.

use std::os::fd::{AsFd, OwnedFd};

use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use crate::builtin::process::WindowSize;
use crate::sys::pty;

/// A terminal in raw mode. Dropping it restores its settings.
#[derive(Debug)]
pub(super) struct RawTerminal {
    terminal: OwnedFd,
    before: Termios,
}

impl RawTerminal {
    /// `None` if this is no terminal.
    pub(super) fn begin(stdin: &OwnedFd) -> Option<Self> {
        let before = tcgetattr(stdin).ok()?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        let terminal = stdin.try_clone().ok()?;
        tcsetattr(&terminal, SetArg::TCSADRAIN, &raw).ok()?;
        Some(Self { terminal, before })
    }

    pub(super) fn size(&self) -> WindowSize {
        match pty::size(self.terminal.as_fd()) {
            Ok([rows, columns]) if rows > 0 && columns > 0 => WindowSize { rows, columns },
            _ => WindowSize::default(),
        }
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // A failure means that the terminal is gone.
        let _ = tcsetattr(&self.terminal, SetArg::TCSANOW, &self.before);
    }
}
