//! Restores a terminal when a signal ends or stops the process.
//!
//! What cannot be caught is left: after SIGKILL and SIGSTOP the terminal is as it was, which is raw. SIGTTIN and SIGTTOU
//! keep their usual action, because they stop a process that uses a terminal which another one has in hand.

#![expect(unsafe_code, reason = "a signal handler")]

use std::io;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicPtr, Ordering};

use nix::errno::Errno;
use nix::libc::{self, c_int, termios};
use nix::sys::signal::{Signal, raise};
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

/// Further signals of Linux that do so: SIGSTKFLT, which some processors do not have, and SIGPWR.
#[cfg(any(target_os = "linux", target_os = "android"))]
const DEADLY_ON_LINUX: [c_int; 2] = [16, 30];

/// The numbers of all signals that end a process unless it catches them.
fn deadly() -> impl Iterator<Item = c_int> {
    let known = DEADLY.into_iter().map(|signal| signal as c_int);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let known = known.chain(DEADLY_ON_LINUX).chain(libc::SIGRTMIN()..=libc::SIGRTMAX());
    known
}

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
        for signal in deadly() {
            // A signal that is ignored or waited for ends nothing. The faults have a handler of the standard library,
            // which only explains the end.
            let is_fault = matches!(signal, libc::SIGSEGV | libc::SIGBUS);
            if is_fault || handler(signal)? == libc::SIG_DFL {
                catch(signal, restore as *const () as usize, libc::SA_RESETHAND | libc::SA_ONSTACK)?;
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

/// Whether SIGTSTP, by which a terminal or another process stops this one, is ignored.
pub(crate) fn ignores_stop() -> bool {
    handler(libc::SIGTSTP).is_ok_and(|handler| handler == libc::SIG_IGN)
}

/// Stops this process as SIGTSTP does, also if it is caught. Returns when the process is continued.
///
/// # Errors
///
/// If the system refuses.
pub(crate) fn stop() -> io::Result<()> {
    let mut caught = empty_action();
    let usual = empty_action();
    // SAFETY: both are whole values of this function, and the second one is that of a process that catches nothing.
    Errno::result(unsafe { libc::sigaction(libc::SIGTSTP, &raw const usual, &raw mut caught) })?;
    let stopped = raise(Signal::SIGTSTP);
    // SAFETY: this is what the system has said of the handler that was there before.
    Errno::result(unsafe { libc::sigaction(libc::SIGTSTP, &raw const caught, null_mut()) })?;
    Ok(stopped?)
}

/// What is done with a signal.
fn handler(signal: c_int) -> io::Result<usize> {
    let mut action = empty_action();
    // SAFETY: the kernel writes one value of this function.
    Errno::result(unsafe { libc::sigaction(signal, null(), &raw mut action) })?;
    Ok(action.sa_sigaction)
}

fn catch(signal: c_int, handler: usize, flags: c_int) -> io::Result<()> {
    let mut action = empty_action();
    (action.sa_sigaction, action.sa_flags) = (handler, flags);
    // SAFETY: the handler makes only calls that POSIX allows in handlers.
    Errno::result(unsafe { libc::sigaction(signal, &raw const action, null_mut()) })?;
    Ok(())
}

/// The usual action, which blocks no other signal.
fn empty_action() -> libc::sigaction {
    // SAFETY: of this struct of numbers and pointers, zero is a valid value, and means just that.
    unsafe { std::mem::zeroed() }
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
