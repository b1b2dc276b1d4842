//! What Linux has its own way of.

#![expect(unsafe_code, reason = "system calls")]

use std::ffi::c_char;
use std::io;
use std::os::fd::RawFd;
use std::path::PathBuf;

use nix::libc;

/// Becomes the program that is open as `fd`. Returns if that fails, with the
/// reason in `errno`. Allocates nothing.
///
/// # Safety
///
/// `argv` and `env` are NUL-terminated, and so is all in them.
pub(super) unsafe fn exec_fd(fd: RawFd, argv: *const *const c_char, env: *const *const c_char) {
    // SAFETY: as the caller says; both paths are NUL-terminated.
    unsafe {
        // By number: musl has no symbol for it.
        libc::syscall(libc::SYS_execveat, fd, c"".as_ptr(), argv, env, libc::AT_EMPTY_PATH);
        // Emulators do not all know it; the same by name takes /proc.
        if nix::errno::Errno::last_raw() == libc::ENOSYS {
            libc::execve(path_of(fd).as_ptr(), argv, env);
        }
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

/// Between fork and exec: has this process killed when the thread that has
/// started it ends.
pub(super) fn die_with_parent(parent: u32) {
    // SAFETY: plain system calls.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        // It may have died before that.
        if u32::try_from(libc::getppid()) != Ok(parent) {
            libc::_exit(1);
        }
    }
}

/// The name of the launcher's end of a terminal.
pub(crate) fn terminal_name(ours: &nix::pty::PtyMaster) -> nix::Result<String> {
    nix::pty::ptsname_r(ours)
}

/// Where the executable of this process can be opened, even if it is gone.
pub(crate) fn own_executable() -> io::Result<PathBuf> {
    Ok("/proc/self/exe".into())
}

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
    fn memory_is_read_from_what_the_kernel_says() {
        assert_eq!(total("MemTotal:       24634240 kB\nMemFree: 1 kB\n"), Some(24_634_240 * 1024));
        assert_eq!(total("nonsense"), None);
        assert!(memory().is_some());
    }
}
