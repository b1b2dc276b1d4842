//! The unsafe part: fork, exec and raw descriptors.

#![expect(unsafe_code, reason = "fork, exec and raw descriptors; everything else is safe code")]

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::sync::Arc;

use bytes::BytesMut;
use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::Command;

use crate::sys::process::open_files::{lower_open_files, old_open_files};
use crate::sys::process::{guard, platform};

/// The lowest descriptor for files of this crate. Shells and scripts use lower numbers.
const HIGH: RawFd = 20;
const MAX_ARGS: usize = 63;

pub(super) fn random() -> nix::Result<[u8; 16]> {
    let mut bytes = [0_u8; 16];
    let pointer = bytes.as_mut_ptr().cast();
    loop {
        // SAFETY: the pointer leads to as many bytes as the length says.
        #[cfg(target_os = "linux")]
        let result = Errno::result(unsafe { libc::getrandom(pointer, bytes.len(), 0) });
        // SAFETY: likewise.
        #[cfg(not(target_os = "linux"))]
        let result = Errno::result(unsafe { libc::getentropy(pointer, bytes.len()) });
        match result {
            // The system returns up to 256 bytes in one piece.
            Ok(_) => return Ok(bytes),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// A prepared exec, to be made between fork and exec, where nothing may be allocated.
#[derive(Debug)]
pub(crate) struct Exec {
    image: OwnedFd,
    argv: Vec<CString>,
}

impl Exec {
    /// `{fd}` in the last argument is replaced by the descriptor of the image, which the new
    /// process inherits.
    pub(crate) fn new(image: OwnedFd, argv: &[OsString]) -> io::Result<Self> {
        let number = image.as_raw_fd().to_string();
        let argv: Vec<CString> = argv
            .iter()
            .map(|arg| c_string(if arg == "{fd}" { OsStr::new(&number) } else { arg }))
            .collect::<io::Result<_>>()?;
        if argv.len() > MAX_ARGS {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many arguments"));
        }
        Ok(Self { image, argv })
    }

    /// Executes it. Returns only if that fails.
    pub(crate) fn exec(&self) -> io::Error {
        unsafe extern "C" {
            static environ: *const *const libc::c_char;
        }
        let mut argv = [std::ptr::null(); MAX_ARGS + 1];
        for (slot, arg) in argv.iter_mut().zip(&self.argv) {
            *slot = arg.as_ptr();
        }
        let fd = self.image.as_raw_fd();
        // SAFETY: only async-signal-safe calls. The arrays are NUL-terminated and live until the
        // new image replaces this one.
        unsafe {
            libc::fcntl(fd, libc::F_SETFD, 0);
            platform::exec_fd(fd, argv.as_ptr(), environ);
        }
        io::Error::last_os_error()
    }
}

/// Prepares a command to do the following between fork and exec: begin a session of its own, die
/// with its parent and, if `exec` is given, execute it. With `terminal`, its stderr becomes the
/// controlling terminal of that session.
pub(crate) fn start_in_own_session(command: &mut std::process::Command, exec: Option<Exec>, terminal: bool) {
    let (parent, open_files) = (std::process::id(), old_open_files());
    // SAFETY: the closure makes async-signal-safe calls only and allocates nothing.
    unsafe {
        command.pre_exec(move || {
            libc::setsid();
            if terminal && libc::ioctl(2, libc::TIOCSCTTY as _, 0) != 0 {
                return Err(io::Error::last_os_error());
            }
            platform::die_with_parent(parent);
            lower_open_files(open_files);
            match &exec {
                Some(exec) => Err(exec.exec()),
                None => Ok(()),
            }
        });
    }
}

/// Does the same for a command, with a guard. The guard gets `link`, its end of the link.
pub(super) fn own_session(command: &mut Command, link: RawFd) {
    let (parent, open_files) = (std::process::id(), old_open_files());
    // SAFETY: as above.
    unsafe {
        command.pre_exec(move || {
            libc::setsid();
            platform::die_with_parent(parent);
            guard::start(link);
            lower_open_files(open_files);
            Ok(())
        });
    }
}

/// Takes over a descriptor that the process which started this one has opened for it.
pub(crate) fn adopt(fd: RawFd) -> io::Result<OwnedFd> {
    let high = dup_high(fd)?;
    // SAFETY: the number was passed to this process for its own use. The only user of it has just
    // got its copy.
    unsafe { libc::close(fd) };
    Ok(high)
}

/// A copy of a descriptor with a high number. No process inherits it.
pub(crate) fn dup_high(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: no other code owns the new descriptor.
    unsafe {
        let mut copy = libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, HIGH);
        if copy < 0 {
            copy = libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3);
        }
        if copy < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(copy)) }
    }
}

/// Forks. Returns the pid of the new process in the old process, and `None` in the new process. The
/// new process has only this thread.
pub(super) fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: no other thread of this process holds a lock that the new process takes. There is no
    // other thread, or it waits for this one.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Parent { child } => Ok(Some(child)),
        nix::unistd::ForkResult::Child => Ok(None),
    }
}

/// Ignores the signals that ask a process to end.
pub(super) fn ignore_requests_to_end() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: no handler is installed.
        let _ = unsafe { nix::sys::signal::signal(signal, nix::sys::signal::SigHandler::SigIgn) };
    }
}

/// Closes every descriptor of this process. The process must not use a descriptor that it has
/// opened before.
pub(super) fn close_all() {
    let limit = nix::unistd::sysconf(nix::unistd::SysconfVar::OPEN_MAX).ok().flatten().unwrap_or(1024);
    let names = std::fs::read_dir("/proc/self/fd").map(|entries| {
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect::<Vec<RawFd>>()
    });
    let all = names.unwrap_or_else(|_| (0..RawFd::try_from(limit).unwrap_or(1024)).collect());
    for fd in all {
        // SAFETY: the code that opened them never runs again in this process.
        unsafe { libc::close(fd) };
    }
}

/// Closes a descriptor of the process as a whole.
#[cfg(target_os = "linux")]
pub(super) fn close(fd: RawFd) {
    // SAFETY: the caller owns the descriptors of the whole process, and does not use this one
    // again.
    unsafe { libc::close(fd) };
}

/// Prepares a process that is about to be started to die with this thread.
#[cfg(target_os = "linux")]
pub(crate) fn die_with_us(command: &mut std::process::Command) {
    let parent = std::process::id();
    // SAFETY: async-signal-safe calls only, and nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            platform::die_with_parent(parent);
            Ok(())
        });
    }
}

/// Makes the kernel kill this process when the one that has started it ends.
#[cfg(target_os = "linux")]
pub(crate) fn die_with_parent(parent: u32) {
    platform::die_with_parent(parent);
}

/// Must be called only while the process has one thread, so that no other thread reads the
/// environment.
pub(crate) fn set_variable(name: &str, value: &OsStr) {
    // SAFETY: see above. Every caller is about to become a child.
    unsafe { std::env::set_var(name, value) };
}

/// Keeps only the listed variables of the environment, and adds others. The same condition holds.
#[cfg(target_os = "linux")]
pub(crate) fn replace_environment(is_kept: fn(&str) -> bool, added: &[(&str, &str)]) {
    for (name, _) in std::env::vars_os() {
        if !name.to_str().is_some_and(is_kept) {
            // SAFETY: the same condition holds.
            unsafe { std::env::remove_var(name) };
        }
    }
    for (name, value) in added {
        set_variable(name, OsStr::new(value));
    }
}

/// Ends this process by a signal, in the way another one has ended.
pub(super) fn end_by(signal: Signal) -> ! {
    // SAFETY: no handler is installed.
    let _ = unsafe { nix::sys::signal::signal(signal, nix::sys::signal::SigHandler::SigDfl) };
    let _ = kill(Pid::this(), signal);
    exit_now(1)
}

/// Makes `fd` a copy of `with`.
pub(crate) fn replace(with: &impl AsFd, fd: RawFd) -> io::Result<()> {
    // SAFETY: 0, 1 and 2 are owned by the process as a whole.
    let result = unsafe { libc::dup2(with.as_fd().as_raw_fd(), fd) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A descriptor that stays open, with the same number, as long as the value lives.
pub(crate) trait Lasting: AsRawFd {}
impl Lasting for File {}
impl Lasting for Arc<File> {}

/// Registers a descriptor with the event queue of this thread.
pub(crate) fn watch<T: Lasting>(file: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    // SAFETY: the type is `Lasting`.
    unsafe { AsyncFd::register_with_interest(file, interest) }.map_err(Into::into)
}

/// Reads once, into the spare capacity of `buffer`.
pub(crate) fn read_into(file: &File, buffer: &mut BytesMut) -> io::Result<usize> {
    let spare = buffer.spare_capacity_mut();
    // SAFETY: the kernel writes at most `spare.len()` bytes behind the content of the buffer. The
    // length grows by the number that the kernel returns.
    unsafe {
        let count = libc::read(file.as_raw_fd(), spare.as_mut_ptr().cast(), spare.len());
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        buffer.set_len(buffer.len() + count);
        Ok(count)
    }
}

/// Whether this process was started with SIGHUP ignored.
pub(crate) fn hang_up_is_ignored() -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: the call only reads the action, into a value that has room for it. All zeros is a
    // valid action.
    unsafe {
        libc::sigaction(libc::SIGHUP, std::ptr::null(), action.as_mut_ptr());
        action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

/// Makes the system keep the exit status of this process's children until it is asked for. Needed
/// if the process was started by one that ignores SIGCHLD.
pub(crate) fn heed_children() {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: the call only reads the action, into a value that has room for it. All zeros is a
    // valid action. No handler is installed.
    unsafe {
        libc::sigaction(libc::SIGCHLD, std::ptr::null(), action.as_mut_ptr());
        if action.assume_init().sa_sigaction == libc::SIG_IGN {
            libc::signal(libc::SIGCHLD, libc::SIG_DFL);
        }
    }
}

/// Ends the process now, whatever its other threads do.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: never returns.
    unsafe { libc::_exit(code) }
}

fn c_string(text: &OsStr) -> io::Result<CString> {
    CString::new(text.as_bytes()).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "argument with a NUL byte"))
}
