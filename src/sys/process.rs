//! Processes: starting them, ending them, and the descriptors that a child
//! context begins with. What needs unsafe code is in [`sys`], what each
//! platform has its own way of in [`platform`].

#[cfg(not(target_os = "linux"))]
mod bsd;
mod descendants;
mod group;
mod guard;
#[cfg(target_os = "linux")]
mod namespaces;
#[cfg(target_os = "freebsd")]
#[path = "process/freebsd.rs"]
mod platform;
#[cfg(target_os = "linux")]
#[path = "process/linux.rs"]
mod platform;
#[cfg(target_os = "macos")]
#[path = "process/macos.rs"]
mod platform;

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::ExitStatus;
use std::sync::OnceLock;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, rlim_t, setrlimit};
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use crate::sys::pipe::{Input, Output, Stream};
use crate::sys::pty;

/// A process whose link has ended has this long to follow.
const TERM_AFTER: Duration = Duration::from_millis(500);
/// After SIGTERM it has this long until SIGKILL.
const KILL_AFTER: Duration = Duration::from_secs(1);

/// How long the thread waits for a process that was killed, since it was not
/// wanted any more.
const MOMENT: Duration = Duration::from_millis(1);
const MOMENTS: u32 = 20;

/// What to start.
#[derive(Debug)]
pub(crate) enum Launch {
    /// A tool, found through PATH.
    Tool(Vec<String>),
    /// An image that is open as this descriptor, with all its arguments.
    Image { image: OwnedFd, argv: Vec<OsString> },
}

/// What a launcher finds on its standard descriptors. The link is a socket on
/// 0 and 1 in either case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stdio {
    /// A pipe on 2, and no terminal.
    Pipe,
    /// A terminal on 2, which is also what `/dev/tty` leads to. For launchers
    /// that may ask, and that gain privileges.
    Terminal,
}

/// A launcher or child context that this process has started.
#[derive(Debug)]
pub(crate) struct Launched {
    child: Child,
    pid: Option<u32>,
    /// Our end of its terminal, which must not close before it has ended.
    terminal: Option<Output>,
    /// It is nobody's business any more.
    is_free: bool,
    /// What cleans up behind a first stage is in its group.
    may_clean_up: bool,
    _known: Known,
}

/// Starts a process with one socket as its stdin and stdout, in a session of
/// its own. It dies with this thread, which must be the I/O thread. The last
/// of what is returned is its stderr, or the terminal.
pub(crate) fn launch(what: Launch, stdio: Stdio) -> io::Result<(Launched, Stream, Input)> {
    let (ours, theirs) = link(stdio)?;
    let (terminal, stderr, their_stderr) = match stdio {
        Stdio::Pipe => {
            let (stderr, theirs) = io::pipe()?;
            (None, OwnedFd::from(stderr), OwnedFd::from(theirs))
        }
        Stdio::Terminal => {
            let (ours, theirs) = pty::open().map_err(io::Error::other)?;
            (Some(Output::new(ours.try_clone()?)?), ours, theirs.into())
        }
    };
    let mut command = match &what {
        Launch::Tool(argv) => {
            let Some((tool, args)) = argv.split_first() else {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "nothing to start"));
            };
            let mut command = std::process::Command::new(tool);
            command.args(args);
            command
        }
        // The name is only for error texts: it is never looked up.
        Launch::Image { .. } => std::process::Command::new("/offshoot"),
    };
    command.stdin(theirs[0].try_clone()?).stdout(theirs[1].try_clone()?).stderr(their_stderr);
    if terminal.is_some() {
        // ssh is to ask where it is answered.
        command.env_remove("SSH_ASKPASS_REQUIRE");
    }
    let exec = match what {
        Launch::Tool(_) => None,
        Launch::Image { image, argv } => Some(Exec::new(image, &argv)?),
    };
    sys::start_in_own_session(&mut command, exec, terminal.is_some());
    let mut command = Command::from(command);
    let child = command.spawn()?;
    let [input, output] = ours;
    let stream = Stream { input: Input::new(input)?, output: Output::new(output)? };
    let pid = child.id();
    let launched = Launched { child, pid, terminal, is_free: false, may_clean_up: true, _known: Known::new(pid) };
    Ok((launched, stream, Input::new(stderr)?))
}

/// Both ends of a link, each as what is read from and what is written to.
fn link(stdio: Stdio) -> io::Result<([OwnedFd; 2], [OwnedFd; 2])> {
    if stdio == Stdio::Terminal && selinux_enforces() {
        // A process that changes its domain may not use the socket of another
        // domain; pipes it may.
        let (input, their_output) = io::pipe()?;
        let (their_input, output) = io::pipe()?;
        return Ok(([input.into(), output.into()], [their_input.into(), their_output.into()]));
    }
    // Closed on exec, like all that std opens.
    let (ours, theirs) = UnixStream::pair()?;
    let (ours, theirs) = (OwnedFd::from(ours), OwnedFd::from(theirs));
    Ok(([ours.try_clone()?, ours], [theirs.try_clone()?, theirs]))
}

fn selinux_enforces() -> bool {
    std::fs::read("/sys/fs/selinux/enforce").is_ok_and(|mode| mode.starts_with(b"1"))
}

impl Launched {
    /// The process's id, as long as it has not been reaped.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Lets the process live as long as it likes; reaps it if it ends first.
    pub(crate) async fn let_go(mut self) {
        self.is_free = true;
        let _ = self.child.wait().await;
    }

    /// There is a child at its end, and nothing that a first stage has left.
    pub(crate) fn settle(&mut self) {
        self.may_clean_up = false;
    }

    /// Kills the process and its group. What cleans up behind a first stage
    /// ends by itself, and would leave files if it was killed: where it may be
    /// in the group, that only gets SIGTERM, which it ignores.
    pub(crate) fn kill(&mut self) {
        if !self.is_free && self.child.id().is_some() {
            let _ = self.child.start_kill();
            signal_group(self.pid, if self.may_clean_up { Signal::SIGTERM } else { Signal::SIGKILL });
        }
    }

    /// Our end of its terminal, if it has one.
    pub(crate) fn terminal(&self) -> Option<&Output> {
        self.terminal.as_ref()
    }

    /// Closes its terminal. What asks a question there gives up, also where
    /// it is another user's and cannot be signalled.
    pub(crate) fn hang_up(&mut self) {
        self.terminal = None;
    }

    /// Waits for its end. Cancel safe.
    pub(crate) async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Sees to it that the process ends, and reaps it: first it may end by
    /// itself, then SIGTERM, then SIGKILL.
    pub(crate) async fn reap(mut self) -> Option<ExitStatus> {
        if let Ok(status) = tokio::time::timeout(TERM_AFTER, self.child.wait()).await {
            return status.ok();
        }
        self.hang_up();
        signal_group(self.pid, Signal::SIGTERM);
        if let Ok(status) = tokio::time::timeout(KILL_AFTER, self.child.wait()).await {
            return status.ok();
        }
        self.kill();
        self.child.wait().await.ok()
    }
}

impl Drop for Launched {
    /// Whatever was not reaped was not wanted: it goes.
    fn drop(&mut self) {
        self.kill();
        // It takes no time to die, but nobody will look again.
        for _ in 0..MOMENTS {
            if self.is_free || !matches!(self.child.try_wait(), Ok(None)) {
                break;
            }
            std::thread::sleep(MOMENT);
        }
    }
}

/// The soft limit of open files that this process had before it raised it.
static OPEN_FILES: OnceLock<Option<rlim_t>> = OnceLock::new();

/// Raises the soft limit of open files to the hard one, once. A context needs
/// some four descriptors for each of its children; the usual soft limit, 1024,
/// is there for programs that use `select`. What this process starts gets the
/// old limit back.
pub(crate) fn raise_open_files() {
    OPEN_FILES.get_or_init(|| {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
        (soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok()).then_some(soft)
    });
}

/// Takes that back, between fork and exec. Allocates nothing. `soft` is what
/// [`old_open_files`] has given before the fork.
fn lower_open_files(soft: Option<rlim_t>) {
    if let Some(soft) = soft
        && let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
    {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, soft, hard);
    }
}

/// The soft limit for what this process starts, if its own is another one.
fn old_open_files() -> Option<rlim_t> {
    OPEN_FILES.get().copied().flatten()
}

/// Whether an error says that this process, or the system, has as many files
/// open as it may.
pub(crate) fn is_out_of_files(error: &io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EMFILE | Errno::ENFILE))
}

/// How many files this process may have open at once; `None` if that is not
/// limited, or not known.
pub(crate) fn open_files_limit() -> Option<rlim_t> {
    getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft)
}

/// Signals a group that a session leader of ours leads.
fn signal_group(leader: Option<u32>, signal: Signal) {
    if let Some(leader) = leader.and_then(|pid| i32::try_from(pid).ok()) {
        // It may just have ended.
        let _ = killpg(Pid::from_raw(leader), signal);
    }
}

/// `exited with return code 1` or `exited due to signal 9 (SIGKILL)`.
pub(crate) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with return code {code}"),
        (None, Some(number)) => match Signal::try_from(number) {
            Ok(signal) => format!("exited due to signal {number} ({})", signal.as_str()),
            Err(_) => format!("exited due to signal {number}"),
        },
        (None, None) => "ended in an unknown way".into(),
    }
}

fn c_string(text: &OsStr) -> io::Result<CString> {
    CString::new(text.as_bytes()).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "argument with a NUL byte"))
}

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

/// What this process has used so far.
#[derive(Debug)]
pub(crate) struct Usage {
    /// Time on processors, all threads together.
    pub(crate) process: Duration,
    /// The same of this thread; nothing where that cannot be known.
    pub(crate) thread: Duration,
    /// Kibibytes in memory, at most.
    pub(crate) resident: u64,
}

/// What this process and thread have used so far.
pub(crate) fn usage() -> Usage {
    use nix::sys::time::TimeValLike;
    let of = |who: Option<UsageWho>| {
        let used = getrusage(who?).ok()?;
        let micros = used.user_time().num_microseconds() + used.system_time().num_microseconds();
        Some((Duration::from_micros(micros.unsigned_abs()), u64::try_from(used.max_rss()).unwrap_or(0)))
    };
    let (process, resident) = of(Some(UsageWho::RUSAGE_SELF)).unwrap_or_default();
    let (thread, _) = of(platform::THREAD_USAGE).unwrap_or_default();
    Usage { process, thread, resident }
}

pub(crate) use descendants::{
    Known, adopt_orphans, end_descendants, mark_detached, outlive_parent, reap_orphans, spare, supervise,
};
pub(crate) use group::{Group, groups_ended};
#[cfg(target_os = "linux")]
pub(crate) use namespaces::{Namespaces, become_user, sealed_copy, wait_for_successor};
pub(crate) use platform::{memory, own_executable, terminal_name};
pub(crate) use sys::{Exec, adopt, dup_high, exit_now, hang_up_is_ignored, read_into, replace, set_variable, watch};
#[cfg(target_os = "linux")]
pub(crate) use sys::{die_with_parent, die_with_us, replace_environment};

/// Ends this process as another one has ended.
fn end_as(status: WaitStatus) -> ! {
    match status {
        WaitStatus::Exited(_, code) => exit_now(code),
        WaitStatus::Signaled(_, signal, _) => sys::end_by(signal),
        _ => exit_now(1),
    }
}

/// Random bytes that nobody can guess.
///
/// # Errors
///
/// Names what the system answered, where it has none.
pub(crate) fn random() -> io::Result<[u8; 16]> {
    match sys::random() {
        // Linux before 3.17.
        Err(Errno::ENOSYS) => {
            let mut bytes = [0; 16];
            io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
            Ok(bytes)
        }
        other => Ok(other?),
    }
}

/// Kills and reaps a direct child that this process has inherited from what
/// it was before. Blocks for as long as the kernel takes.
pub(crate) fn end_child(pid: i32) {
    let pid = Pid::from_raw(pid);
    // A pid that is not our child's any more may be anybody's.
    if waitpid(pid, Some(WaitPidFlag::WNOHANG)) == Ok(WaitStatus::StillAlive) {
        let _ = kill(pid, Signal::SIGKILL);
        let _ = waitpid(pid, None);
    }
}

#[expect(unsafe_code, reason = "fork, exec and raw descriptors; everything else is safe code")]
mod sys {
    use std::fs::File;
    use std::os::fd::{AsFd, FromRawFd, RawFd};
    use std::sync::Arc;

    use bytes::BytesMut;
    use nix::libc;
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    use super::*;

    /// Descriptors of ours stay clear of the low numbers, which shells and
    /// scripts use by number.
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
                // Up to 256 bytes come whole.
                Ok(_) => return Ok(bytes),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// An exec that is ready to happen between fork and exec, where nothing
    /// may be allocated.
    #[derive(Debug)]
    pub(crate) struct Exec {
        image: OwnedFd,
        argv: Vec<CString>,
    }

    impl Exec {
        /// `{fd}` in the last argument becomes the image's descriptor, which
        /// the new process inherits.
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

        /// Returns only if it fails.
        pub(crate) fn exec(&self) -> io::Error {
            unsafe extern "C" {
                static environ: *const *const libc::c_char;
            }
            let mut argv = [std::ptr::null(); MAX_ARGS + 1];
            for (slot, arg) in argv.iter_mut().zip(&self.argv) {
                *slot = arg.as_ptr();
            }
            let fd = self.image.as_raw_fd();
            // SAFETY: only async-signal-safe calls; the arrays are
            // NUL-terminated and live until the new image replaces us.
            unsafe {
                libc::fcntl(fd, libc::F_SETFD, 0);
                platform::exec_fd(fd, argv.as_ptr(), environ);
            }
            io::Error::last_os_error()
        }
    }

    /// Between fork and exec: a session of its own, death with the parent,
    /// and, if given, the image to become. With `terminal`, its stderr becomes
    /// the terminal of that session.
    pub(crate) fn start_in_own_session(command: &mut std::process::Command, exec: Option<Exec>, terminal: bool) {
        let (parent, open_files) = (std::process::id(), old_open_files());
        // SAFETY: the closure makes async-signal-safe calls only and
        // allocates nothing.
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

    /// The same for a command, with a guard, which gets its end of the link.
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

    /// Takes over a descriptor that was opened for this process by whoever
    /// started it.
    pub(crate) fn adopt(fd: RawFd) -> io::Result<OwnedFd> {
        let high = dup_high(fd)?;
        // SAFETY: the number was passed to this process for its own use, and
        // the only user of it has just got its copy.
        unsafe { libc::close(fd) };
        Ok(high)
    }

    /// A copy of a descriptor with a high number, which nobody inherits.
    pub(crate) fn dup_high(fd: RawFd) -> io::Result<OwnedFd> {
        // SAFETY: the new descriptor belongs to nobody else.
        unsafe {
            let mut copy = libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, HIGH);
            if copy < 0 {
                copy = libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3);
            }
            if copy < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(copy)) }
        }
    }

    /// Forks: the new process in the old one, `None` in the new one, which
    /// has this thread alone.
    pub(super) fn fork() -> io::Result<Option<Pid>> {
        // SAFETY: no other thread of this process holds a lock that the new
        // one takes: there is none, or it waits for this one.
        match unsafe { nix::unistd::fork() }? {
            nix::unistd::ForkResult::Parent { child } => Ok(Some(child)),
            nix::unistd::ForkResult::Child => Ok(None),
        }
    }

    /// Nobody ends this process by asking.
    pub(super) fn ignore_requests_to_end() {
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            // SAFETY: no handler is installed.
            let _ = unsafe { nix::sys::signal::signal(signal, nix::sys::signal::SigHandler::SigIgn) };
        }
    }

    /// Closes every descriptor of this process, which must not use one that it
    /// has opened before.
    pub(super) fn close_all() {
        let limit = nix::unistd::sysconf(nix::unistd::SysconfVar::OPEN_MAX).ok().flatten().unwrap_or(1024);
        let names = std::fs::read_dir("/proc/self/fd").map(|entries| {
            entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect::<Vec<RawFd>>()
        });
        let all = names.unwrap_or_else(|_| (0..RawFd::try_from(limit).unwrap_or(1024)).collect());
        for fd in all {
            // SAFETY: whoever had them open is never asked again.
            unsafe { libc::close(fd) };
        }
    }

    /// Closes a descriptor of the process as a whole.
    #[cfg(target_os = "linux")]
    pub(super) fn close(fd: RawFd) {
        // SAFETY: the caller is the whole process, and asks it no more.
        unsafe { libc::close(fd) };
    }

    /// Has a process that is about to be started die with this thread.
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

    /// Has this process killed when the one that has started it ends.
    #[cfg(target_os = "linux")]
    pub(crate) fn die_with_parent(parent: u32) {
        platform::die_with_parent(parent);
    }

    /// Only while the process has one thread: nobody reads the environment.
    pub(crate) fn set_variable(name: &str, value: &OsStr) {
        // SAFETY: see above; every caller is on its way to become a child.
        unsafe { std::env::set_var(name, value) };
    }

    /// Leaves of the environment what is to be kept, and adds to it. As above.
    #[cfg(target_os = "linux")]
    pub(crate) fn replace_environment(is_kept: fn(&str) -> bool, added: &[(&str, &str)]) {
        for (name, _) in std::env::vars_os() {
            if !name.to_str().is_some_and(is_kept) {
                // SAFETY: as above.
                unsafe { std::env::remove_var(name) };
            }
        }
        for (name, value) in added {
            set_variable(name, OsStr::new(value));
        }
    }

    /// Ends this process by a signal, as another one has ended.
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

    /// A descriptor that stays open and the same for as long as it lives.
    pub(crate) trait Lasting: AsRawFd {}
    impl Lasting for File {}
    impl Lasting for Arc<File> {}

    /// Has the event queue of this thread watch a descriptor.
    pub(crate) fn watch<T: Lasting>(file: T, interest: Interest) -> io::Result<AsyncFd<T>> {
        // SAFETY: it is `Lasting`.
        unsafe { AsyncFd::register_with_interest(file, interest) }.map_err(Into::into)
    }

    /// Reads once, into the spare capacity of `buffer`.
    pub(crate) fn read_into(file: &File, buffer: &mut BytesMut) -> io::Result<usize> {
        let spare = buffer.spare_capacity_mut();
        // SAFETY: at most `spare.len()` bytes are written, behind what the
        // buffer holds, and as many as the kernel says are taken in.
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
        // SAFETY: the action is only read, into what has room for it; all
        // zeros is one, too.
        unsafe {
            libc::sigaction(libc::SIGHUP, std::ptr::null(), action.as_mut_ptr());
            action.assume_init().sa_sigaction == libc::SIG_IGN
        }
    }

    /// Ends the process now, whatever its other threads do.
    pub(crate) fn exit_now(code: i32) -> ! {
        // SAFETY: never returns.
        unsafe { libc::_exit(code) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_in_the_words_of_old() {
        let end = |line: &str| describe(std::process::Command::new("sh").args(["-c", line]).status().unwrap());
        assert_eq!(end("exit 1"), "exited with return code 1");
        assert_eq!(end("kill -9 $$"), "exited due to signal 9 (SIGKILL)");
    }
}
