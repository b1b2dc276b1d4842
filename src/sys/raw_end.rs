//! Restores a terminal when a signal ends the process that no part of the program waits for.

#![expect(unsafe_code, reason = "a signal handler")]

use std::io;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

use nix::libc::{self, c_int, termios};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::termios::Termios;

/// The settings of stdin that a handler restores; null if there are none.
static BEFORE: AtomicPtr<termios> = AtomicPtr::new(null_mut());

/// The signals of all systems that end a process unless it catches them. SIGHUP, SIGINT and SIGTERM are missing: the tool
/// waits for them and ends in order.
const DEADLY: [Signal; 17] = [
    Signal::SIGQUIT,
    Signal::SIGILL,
    Signal::SIGTRAP,
    Signal::SIGABRT,
    Signal::SIGBUS,
    Signal::SIGFPE,
    Signal::SIGUSR1,
    Signal::SIGSEGV,
    Signal::SIGUSR2,
    Signal::SIGPIPE,
    Signal::SIGALRM,
    Signal::SIGXCPU,
    Signal::SIGXFSZ,
    Signal::SIGVTALRM,
    Signal::SIGPROF,
    Signal::SIGIO,
    Signal::SIGSYS,
];

/// As long as a value of this type lives, a deadly signal restores the terminal before it ends the process.
#[derive(Debug)]
pub(crate) struct RestoreOnSignal(());

impl RestoreOnSignal {
    /// `before` is what stdin gets back.
    ///
    /// # Errors
    ///
    /// If the system refuses to catch signals.
    pub(crate) fn begin(before: &Termios) -> io::Result<Self> {
        // It is never freed, because a handler may still read it. A process begins few shells.
        BEFORE.store(Box::into_raw(Box::new(before.clone().into())), Ordering::Release);
        let begun = Self(());
        let flags = SaFlags::SA_RESETHAND | SaFlags::SA_ONSTACK;
        let action = SigAction::new(SigHandler::Handler(restore), flags, SigSet::empty());
        for signal in DEADLY {
            // SAFETY: the handler makes only calls that POSIX allows in handlers.
            let old = unsafe { sigaction(signal, &action) }?;
            // A signal that is ignored or waited for ends nothing. The faults have a handler of the standard library,
            // which only explains the end.
            let is_fault = matches!(signal, Signal::SIGSEGV | Signal::SIGBUS);
            if !matches!(old.handler(), SigHandler::SigDfl) && !is_fault {
                // SAFETY: this is the handler that was there before.
                unsafe { sigaction(signal, &old) }?;
            }
        }
        Ok(begun)
    }
}

impl Drop for RestoreOnSignal {
    fn drop(&mut self) {
        BEFORE.store(null_mut(), Ordering::Release);
    }
}

/// Restores the terminal. The signal has its usual action again, and comes once more when the handler returns.
extern "C" fn restore(signal: c_int) {
    let before = BEFORE.load(Ordering::Acquire);
    if !before.is_null() {
        // SAFETY: what the pointer leads to is never freed or changed. The call is allowed in handlers.
        unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, before) };
    }
    // SAFETY: the call is allowed in handlers.
    unsafe { libc::raise(signal) };
}
