//! Starts a process in the address space of this one (vfork). fork would copy the page tables, which takes longer the more
//! memory this process has.

#![expect(unsafe_code, reason = "what happens between fork and exec")]

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::libc::{self, c_int, c_void};
use nix::sys::signal::{SigSet, SigmaskHow};

use crate::sys::process::open_files::{Old, lower_open_files, old_open_files};
use crate::sys::process::program::{self, Program, Variables};
use crate::sys::process::started::Started;
use crate::sys::process::sys::dup_high;
use crate::sys::process::{guard, platform, signals};

/// A process to start. It dies with the thread that starts it, or if it has a terminal and a guard, by these.
#[derive(Debug)]
pub(crate) struct Start {
    program: Program,
    pub(crate) variables: Variables,
    stdio: [OwnedFd; 3],
    directory: Option<CString>,
    has_session: bool,
    has_terminal: bool,
    guarded_by: Option<OwnedFd>,
    /// Another descriptor that it inherits, under the same number.
    passed: Option<OwnedFd>,
}

/// All that the new process needs. It must not allocate, as its memory is that of this process.
struct Prepared<'a> {
    program: program::Prepared<'a>,
    stdio: [RawFd; 3],
    directory: Option<&'a CString>,
    has_session: bool,
    has_terminal: bool,
    guarded_by: Option<RawFd>,
    passed: Option<RawFd>,
    parent: u32,
    open_files: Old,
    /// Where the reason goes if the program cannot be executed.
    report: RawFd,
}

impl Start {
    /// In a session of its own, with the variables of this process.
    pub(crate) fn new(program: Program, stdio: [OwnedFd; 3]) -> Self {
        let variables = std::env::vars_os().collect();
        Self {
            program,
            variables,
            stdio,
            directory: None,
            has_session: true,
            has_terminal: false,
            guarded_by: None,
            passed: None,
        }
    }

    /// Its directory, if not that of this process.
    pub(crate) fn in_directory(&mut self, directory: &Path) -> io::Result<()> {
        self.directory = Some(CString::new(directory.as_os_str().as_bytes())?);
        Ok(())
    }

    /// Leaves it in the session and in the group of this process, so that it is ended with them.
    #[cfg(target_os = "linux")]
    pub(crate) fn in_this_session(&mut self) {
        self.has_session = false;
    }

    /// Makes its stderr the controlling terminal of its session.
    pub(crate) fn with_terminal(&mut self) {
        self.has_terminal = true;
    }

    /// Lets it inherit this descriptor, which has a high number.
    pub(crate) fn pass(&mut self, fd: OwnedFd) {
        self.passed = Some(fd);
    }

    /// Starts a guard of its session first. The guard gets `link`; see [`guard`].
    pub(super) fn with_guard(&mut self, link: OwnedFd) {
        self.guarded_by = Some(link);
    }

    /// Starts the process. An error is the reason why the program could not be executed.
    pub(crate) fn spawn(self) -> io::Result<Started> {
        let (mut report, of_child) = io::pipe()?;
        let [stdin, stdout, stderr] = self.stdio;
        // The standard descriptors are replaced one by one, so none of them may be a source.
        let (stdio, of_child) = ([apart(stdin)?, apart(stdout)?, apart(stderr)?], apart(of_child.into())?);
        let prepared = Prepared {
            program: self.program.prepare(&self.variables)?,
            stdio: stdio.each_ref().map(AsRawFd::as_raw_fd),
            directory: self.directory.as_ref(),
            has_session: self.has_session,
            has_terminal: self.has_terminal,
            guarded_by: self.guarded_by.as_ref().map(AsRawFd::as_raw_fd),
            passed: self.passed.as_ref().map(AsRawFd::as_raw_fd),
            parent: std::process::id(),
            open_files: old_open_files(),
            report: of_child.as_raw_fd(),
        };
        // The new process must not run handlers of this one in its memory.
        let mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        // SAFETY: `become_program` makes system calls and writes to its own stack only, and `prepared` outlives it.
        let started = unsafe { platform::vfork(become_program, (&raw const prepared).cast_mut().cast()) };
        mask.thread_set_mask()?;
        let mut started = Started::new(started?);
        drop(of_child);
        let mut code = [0; 4];
        match report.read_exact(&mut code) {
            Err(_) => Ok(started),
            Ok(()) => {
                let _ = started.wait_here();
                Err(io::Error::from_raw_os_error(c_int::from_ne_bytes(code)))
            }
        }
    }
}

/// A standard descriptor without input, and whose output is not wanted.
pub(crate) fn null() -> io::Result<OwnedFd> {
    let opened = File::options().read(true).write(true).open("/dev/null").map(OwnedFd::from);
    opened.map_err(|error| io::Error::new(error.kind(), format!("cannot open /dev/null: {error}")))
}

fn apart(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() > 2 { Ok(fd) } else { dup_high(fd.as_raw_fd()) }
}

/// What the new process does. Never returns.
extern "C" fn become_program(prepared: *mut c_void) -> c_int {
    // SAFETY: it is what `spawn` has passed, which waits. Plain system calls, and functions that make only such.
    unsafe {
        let prepared = &*prepared.cast::<Prepared<'_>>();
        let code = prepared.run().raw_os_error().unwrap_or(libc::EINVAL).to_ne_bytes();
        libc::write(prepared.report, code.as_ptr().cast(), code.len());
        libc::_exit(127)
    }
}

impl Prepared<'_> {
    /// Returns why the process has not become the program.
    ///
    /// # Safety
    ///
    /// Only for a process between fork and exec.
    unsafe fn run(&self) -> io::Error {
        // SAFETY: plain system calls with pointers into what `self` borrows and owns.
        unsafe {
            reset_signals();
            for (number, fd) in self.stdio.iter().enumerate() {
                if libc::dup2(*fd, number as RawFd) < 0 {
                    return io::Error::last_os_error();
                }
            }
            if let Some(directory) = self.directory
                && libc::chdir(directory.as_ptr()) != 0
            {
                return io::Error::last_os_error();
            }
            if let Some(fd) = self.passed {
                libc::fcntl(fd, libc::F_SETFD, 0);
            }
            if self.has_session {
                libc::setsid();
            }
            if self.has_terminal && libc::ioctl(2, libc::TIOCSCTTY as _, 0) != 0 {
                return io::Error::last_os_error();
            }
            // What is typed in is told by its terminal that it is over, and tells its jobs. A guard sees to it that it ends.
            if !self.has_terminal || self.guarded_by.is_none() {
                platform::die_with_parent(self.parent);
            }
            if let Some(link) = self.guarded_by {
                guard::start(link);
            }
            lower_open_files(self.open_files);
            self.program.exec()
        }
    }
}

/// Removes the handlers of the old process, and then blocks no signal. What is ignored stays so, but for SIGPIPE, which
/// only Rust programs ignore, and for what only this process ignores.
///
/// # Safety
///
/// Only for a process between fork and exec.
unsafe fn reset_signals() {
    // SAFETY: the kernel writes and reads values of this function.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        for number in 1..guard::SIGNALS {
            // The C library takes a lock for this one. exec resets it.
            if number == libc::SIGABRT || libc::sigaction(number, std::ptr::null(), &raw mut action) != 0 {
                continue;
            }
            let is_ignored =
                action.sa_sigaction == libc::SIG_IGN && number != libc::SIGPIPE && !signals::is_ignored_here(number);
            if action.sa_sigaction != libc::SIG_DFL && !is_ignored {
                libc::signal(number, libc::SIG_DFL);
            }
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;
    use std::time::{Duration, Instant};

    use super::*;

    fn start(argv: &[&str], without: Option<&str>) -> io::Result<(Started, File)> {
        let (output, theirs) = io::pipe()?;
        let mut start = Start::new(Program::new(argv)?, [null()?, theirs.into(), null()?]);
        start.variables.retain(|(name, _)| without.is_none_or(|without| name != without));
        Ok((start.spawn()?, OwnedFd::from(output).into()))
    }

    fn output(line: &str, without: Option<&str>) -> (String, ExitStatus) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut process, mut output) = start(&["sh", "-c", line], without).unwrap();
            let mut text = String::new();
            output.read_to_string(&mut text).unwrap();
            (text, process.wait().await.unwrap())
        })
    }

    #[test]
    fn a_process_gets_what_a_program_expects_and_its_end_is_told() {
        assert_eq!(output("printf hello; exit 7", None), ("hello".into(), ExitStatus::from_raw(7 << 8)));
        assert_eq!(output("kill -9 $$", None).1, ExitStatus::from_raw(9));
        assert_ne!(output("printf %s \"$PATH\"", None).0, "");
        assert_eq!(output("printf %s \"$CARGO_MANIFEST_DIR\"", Some("CARGO_MANIFEST_DIR")).0, "");
        #[cfg(target_os = "linux")]
        {
            // SIGPIPE is 13. This process ignores it. Others that it ignores stay so.
            let (masks, _) = output("grep -E 'Sig(Blk|Ign)' /proc/self/status", None);
            for (name, bits) in [("SigBlk:", u64::MAX), ("SigIgn:", 1 << 12)] {
                let mask = masks.lines().find_map(|line| line.strip_prefix(name)).unwrap();
                assert_eq!(u64::from_str_radix(mask.trim(), 16).unwrap() & bits, 0, "{masks}");
            }
        }
    }

    #[test]
    fn what_cannot_be_executed_is_told_with_the_number_of_the_error() {
        for (name, code) in
            [("no-such-program-anywhere", libc::ENOENT), ("/etc/passwd", libc::EACCES), ("/", libc::EACCES)]
        {
            let error = start(&[name], None).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(code), "{name}: {error}");
        }
    }

    #[test]
    fn a_process_that_nobody_waits_for_is_reaped() {
        let (process, _output) = start(&["sleep", "0.2"], None).unwrap();
        let pid = nix::unistd::Pid::from_raw(process.id().unwrap() as i32);
        drop(process);
        let start = Instant::now();
        while nix::sys::signal::kill(pid, None).is_ok() {
            assert!(start.elapsed() < Duration::from_secs(20), "it is still there");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Fork copies page tables: 2 MiB of them for 1 GiB.
    #[cfg(target_os = "linux")]
    #[test]
    fn the_time_to_start_a_process_does_not_grow_with_the_memory_of_this_one() {
        let quickest = || {
            let one = |_| {
                let start_time = Instant::now();
                drop(start(&["true"], None).unwrap());
                start_time.elapsed()
            };
            (0..20).map(one).min().unwrap()
        };
        let before = quickest();
        let memory = vec![1_u8; 512 << 20];
        let with_memory = quickest();
        assert_eq!(std::hint::black_box(&memory)[1000], 1);
        assert!(with_memory < before * 3 + Duration::from_millis(2), "{before:?}, then {with_memory:?}");
    }
}
