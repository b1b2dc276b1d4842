//! Code for Linux only.

#![expect(unsafe_code, reason = "system calls")]

use std::ffi::{c_char, c_int, c_void};
use std::fs::File;
use std::io;
use std::os::fd::{FromRawFd, RawFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::resource::UsageWho;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::Pid;

use crate::sys::process::descendants::Relative;

/// Becomes the program that is open as `fd`. Returns if that fails, with the
/// reason in `errno`. Allocates nothing.
///
/// # Safety
///
/// `argv` and `env` are NUL-terminated arrays of NUL-terminated strings.
pub(super) unsafe fn exec_fd(fd: RawFd, argv: *const *const c_char, env: *const *const c_char) {
    // SAFETY: the caller guarantees it. Both paths are NUL-terminated.
    unsafe {
        // Called by number, because musl has no symbol for it.
        libc::syscall(libc::SYS_execveat, fd, c"".as_ptr(), argv, env, libc::AT_EMPTY_PATH);
        // Some emulators do not know execveat. The same by name needs /proc.
        if Errno::last_raw() == libc::ENOSYS {
            libc::execve(path_of(fd).as_ptr(), argv, env);
        }
    }
}

/// Starts a process that shares the memory of this one and runs `child`. This thread waits until the process has
/// executed a program or has ended.
///
/// # Safety
///
/// `child` makes system calls only, and writes nothing but its own stack and what `argument` leads to.
pub(super) unsafe fn vfork(child: extern "C" fn(*mut c_void) -> c_int, argument: *mut c_void) -> io::Result<Pid> {
    /// More than a few frames and a signal need.
    const STACK: usize = 32 * 1024;
    let mut stack = Vec::<u128>::with_capacity(STACK / size_of::<u128>());
    // SAFETY: the end of the memory that was just allocated, aligned as a stack has to be. It lives until the process
    // does not use it any more, as this thread waits. The caller guarantees the rest.
    let pid = unsafe {
        let top = stack.as_mut_ptr().add(stack.capacity());
        libc::clone(child, top.cast(), libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD, argument)
    };
    Ok(Errno::result(pid).map(Pid::from_raw)?)
}

/// fork, without anything that the C library does around it.
///
/// # Safety
///
/// The new process makes system calls only.
pub(super) unsafe fn bare_fork() -> libc::pid_t {
    // SAFETY: the caller guarantees it.
    unsafe { clone(libc::SIGCHLD) }
}

/// The same, but the new process is a child of the parent of this one. Fails where that is not possible, as under qemu-user.
///
/// # Safety
///
/// The new process makes system calls only.
pub(super) unsafe fn fork_sibling() -> libc::pid_t {
    // SAFETY: the caller guarantees it.
    unsafe { clone(libc::CLONE_PARENT | libc::SIGCHLD) }
}

/// # Safety
///
/// The new process makes system calls only.
unsafe fn clone(flags: c_int) -> libc::pid_t {
    let flags = libc::c_long::from(flags);
    // No stack: that of this process, as no memory is shared. This processor has the two arguments the other way round.
    let (first, second) = if cfg!(target_arch = "s390x") { (0, flags) } else { (flags, 0) };
    // SAFETY: the caller guarantees it.
    unsafe { libc::syscall(libc::SYS_clone, first, second, 0, 0, 0) as libc::pid_t }
}

/// A descriptor of a child of this process, which becomes readable when the child ends. Linux has these since 5.3.
pub(super) fn open_process(pid: Pid) -> Option<File> {
    // SAFETY: a plain system call, and nobody else has the new descriptor.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0);
        RawFd::try_from(fd).ok().filter(|fd| *fd >= 0).map(|fd| File::from_raw_fd(fd))
    }
}

/// `/proc/self/fd/NUMBER`, without allocating.
fn path_of(fd: RawFd) -> [c_char; 32] {
    let mut path = [0; 32];
    let mut digits = [0; 10];
    let mut count = 0;
    let mut rest = fd.unsigned_abs();
    while count == 0 || rest > 0 {
        digits[count] = b"0123456789"[rest as usize % 10];
        count += 1;
        rest /= 10;
    }
    let text = b"/proc/self/fd/".iter().chain(digits[..count].iter().rev());
    for (to, from) in path.iter_mut().zip(text) {
        *to = c_char::from_ne_bytes([*from]);
    }
    path
}

/// Between fork and exec: makes the kernel kill this process when the thread that has started it
/// ends.
pub(super) fn die_with_parent(parent: u32) {
    // SAFETY: plain system calls.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        // The parent may have died before the call.
        if u32::try_from(libc::getppid()) != Ok(parent) {
            libc::_exit(1);
        }
    }
}

/// The name of the launcher's end of a terminal.
pub(crate) fn terminal_name(ours: &nix::pty::PtyMaster) -> nix::Result<String> {
    nix::pty::ptsname_r(ours)
}

/// Undoes [`die_with_parent`].
pub(super) fn outlive_parent() {
    // The setting belongs to a thread, here to the first one. That thread may be busy, so it
    // changes the setting in a signal handler.
    extern "C" fn in_between(_: c_int) {
        // SAFETY: a plain system call, which is allowed in a signal handler.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, 0);
        }
        DONE.store(true, Ordering::Release);
    }
    static DONE: AtomicBool = AtomicBool::new(false);
    let action = SigAction::new(SigHandler::Handler(in_between), SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler makes a system call and sets an atomic.
    let Ok(before) = (unsafe { sigaction(Signal::SIGURG, &action) }) else { return };
    let pid = std::process::id();
    // SAFETY: a plain system call.
    unsafe {
        libc::syscall(libc::SYS_tgkill, pid, pid, libc::SIGURG);
    }
    for _ in 0..1000 {
        if DONE.load(Ordering::Acquire) {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    // SAFETY: restores the handler that was there before.
    let _ = unsafe { sigaction(Signal::SIGURG, &before) };
}

/// Makes the kernel send SIGTERM in place of SIGKILL, if [`die_with_parent`] holds for this thread.
pub(super) fn die_in_order_with_parent() {
    let mut signal: c_int = 0;
    // SAFETY: plain system calls; the first one writes to a number of this function.
    unsafe {
        if libc::prctl(libc::PR_GET_PDEATHSIG, &raw mut signal) == 0 && signal != 0 {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
        }
    }
}

/// Makes the kernel send SIGTERM to this process when the thread that has forked it ends.
pub(super) fn die_softly_with_parent() {
    // SAFETY: a plain system call.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
    }
}

/// Makes orphans below this process its children, from now on.
pub(super) fn adopt_orphans() -> bool {
    // SAFETY: a plain system call.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) == 0 }
}

/// In a process that was just forked: closes all descriptors from `first` on. Returns false if the
/// kernel cannot do that in one call.
pub(super) fn close_from(first: RawFd) -> bool {
    // SAFETY: a plain system call, of a process that needs none of them.
    unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) == 0 }
}

/// In a process that was just forked: changes the process name.
pub(super) fn rename_in_fork(name: &std::ffi::CStr) {
    // SAFETY: a plain system call; the name ends with a NUL.
    unsafe {
        libc::prctl(libc::PR_SET_NAME, name.as_ptr());
    }
}

/// Changes the name of this process's first thread, which is the name of the process.
pub(super) fn rename(name: &str) {
    // Without /proc no other process could read the name either.
    let _ = std::fs::write("/proc/self/comm", name);
}

/// The children of a process, including those of its other threads.
pub(super) fn children_of(parent: i32) -> Vec<Relative> {
    let threads = std::fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    let mut children = Vec::new();
    for thread in threads {
        match std::fs::read_to_string(thread.path().join("children")) {
            Ok(list) => {
                let found = list.split_ascii_whitespace().filter_map(relative);
                children.extend(found.map(|(child, _)| child));
            }
            // Not every kernel has this file.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return children_by_parent(parent),
            Err(_) => {}
        }
    }
    children
}

fn children_by_parent(parent: i32) -> Vec<Relative> {
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let all = all.filter_map(|entry| relative(entry.file_name().to_str()?));
    all.filter(|(_, of)| *of == parent).map(|(child, _)| child).collect()
}

/// A process and its parent.
fn relative(pid: &str) -> Option<(Relative, i32)> {
    let pid: i32 = pid.parse().ok()?;
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    // The name may contain any bytes, parentheses too.
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
    let mut fields = rest.split_ascii_whitespace();
    let is_zombie = matches!(fields.next()?, "Z" | "X");
    let mut number = || fields.next()?.parse::<i32>().ok();
    let (parent, _group, session) = (number()?, number()?, number()?);
    Some((Relative { pid, session, name: name.to_owned(), is_zombie }, parent))
}

/// Whether a process removes the files of a first stage and then ends by itself. Of all processes
/// of a first stage, only this one ignores SIGTERM.
pub(super) fn is_cleaner(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let ignored = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    ignored.is_some_and(|ignored| ignored & (1 << (libc::SIGTERM - 1)) != 0)
        && std::fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|argv| crate::sys::process::descendants::is_spared(&argv))
}

/// When this process began, as the kernel counts it: no other one that has its
/// number has this, too. `None` without /proc.
pub(crate) fn own_start() -> Option<u64> {
    let stat = std::fs::read("/proc/self/stat").ok()?;
    String::from_utf8_lossy(&stat).rsplit_once(") ")?.1.split(' ').nth(START_FIELD)?.parse().ok()
}

/// Where the executable of this process can be opened, even if it is gone.
pub(crate) fn own_executable() -> io::Result<PathBuf> {
    Ok("/proc/self/exe".into())
}

/// Which of the words behind a process's name is when it began.
const START_FIELD: usize = 19;

/// How to ask what this thread has used.
pub(super) const THREAD_USAGE: Option<UsageWho> = Some(UsageWho::RUSAGE_THREAD);

/// Memory of the machine in bytes.
pub(crate) fn memory() -> Option<u64> {
    total(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    #[test]
    fn descriptors_are_named_without_allocating() {
        for fd in [0, 7, 20, 1_048_576, RawFd::MAX] {
            let path = path_of(fd).map(|byte| byte.to_ne_bytes()[0]);
            let path = CStr::from_bytes_until_nul(&path).unwrap();
            assert_eq!(path.to_str(), Ok(&*format!("/proc/self/fd/{fd}")));
        }
    }

    #[test]
    fn children_are_found_whether_the_kernel_lists_them_or_not() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let (pid, own) = (child.id().cast_signed(), std::process::id().cast_signed());
        for children in [children_of(own), children_by_parent(own)] {
            let found = children.iter().find(|found| found.pid == pid).unwrap();
            assert!(!found.is_zombie);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!children_of(own).iter().any(|found| found.pid == pid));
    }

    #[test]
    fn memory_is_read_from_what_the_kernel_says() {
        assert_eq!(total("MemTotal:       24634240 kB\nMemFree: 1 kB\n"), Some(24_634_240 * 1024));
        assert_eq!(total("nonsense"), None);
        assert!(memory().is_some());
    }
}
