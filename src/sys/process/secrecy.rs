//! Protects the memory of this process from other processes: no core dumps, no debugger, no swap.

#![expect(unsafe_code, reason = "system calls")]

use std::io;
use std::sync::Mutex;
use std::sync::PoisonError;

use nix::libc;
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

/// The soft limit of core dumps that this process had before it was lowered. Set only while it is
/// lowered.
static CORE: Mutex<Option<rlim_t>> = Mutex::new(None);

/// While a value of this type lives, no other process of the same user can read the memory of this
/// process, and the system makes no core dump.
///
/// The hard limit of core dumps stays as it is: without privileges the process could not raise it
/// again for the processes that it starts.
#[derive(Debug)]
pub(crate) struct Secrecy {
    was_dumpable: bool,
}

impl Secrecy {
    pub(crate) fn begin() -> Self {
        let mut core = CORE.lock().unwrap_or_else(PoisonError::into_inner);
        if core.is_none()
            && let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_CORE)
            && setrlimit(Resource::RLIMIT_CORE, 0, hard).is_ok()
        {
            *core = Some(soft);
        }
        Self { was_dumpable: set_dumpable(false) }
    }
}

impl Drop for Secrecy {
    fn drop(&mut self) {
        if self.was_dumpable {
            set_dumpable(true);
        }
        let old = CORE.lock().unwrap_or_else(PoisonError::into_inner).take();
        restore_core(old);
    }
}

/// Sets whether other processes can read the memory of this process. Returns whether they could
/// before.
fn set_dumpable(dumpable: bool) -> bool {
    #[cfg(target_os = "linux")]
    {
        let was = nix::sys::prctl::get_dumpable().unwrap_or(false);
        // If the kernel refuses, nothing changes. The password is still wiped after use.
        let _ = nix::sys::prctl::set_dumpable(dumpable);
        was
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = dumpable;
        false
    }
}

/// The soft limit of core dumps for the processes that this one starts, if it differs from its own.
pub(super) fn old_core() -> Option<rlim_t> {
    *CORE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Restores the limit. Allocates nothing, because it runs between fork and exec.
pub(super) fn restore_core(soft: Option<rlim_t>) {
    if let Some(soft) = soft
        && let Ok((_, hard)) = getrlimit(Resource::RLIMIT_CORE)
    {
        let _ = setrlimit(Resource::RLIMIT_CORE, soft, hard);
    }
}

/// Keeps bytes out of the swap, as long as they are mapped. The system allows this for little
/// memory, and may refuse.
pub(crate) fn keep_in_memory(bytes: &[u8]) -> io::Result<()> {
    // SAFETY: the call changes no byte. It accepts any address, and returns an error for a range
    // that is not mapped.
    match unsafe { libc::mlock(bytes.as_ptr().cast(), bytes.len()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_kept_from_others_while_it_is_to_be_and_no_longer() {
        let core = || getrlimit(Resource::RLIMIT_CORE).unwrap();
        let (_, hard) = core();
        setrlimit(Resource::RLIMIT_CORE, hard.min(4096), hard).unwrap();
        let before = core();
        let secrecy = Secrecy::begin();
        assert_eq!((core(), old_core()), ((0, before.1), Some(before.0)));
        #[cfg(target_os = "linux")]
        assert!(!nix::sys::prctl::get_dumpable().unwrap());
        keep_in_memory(&[1; 100]).unwrap();
        drop(secrecy);
        assert_eq!((core(), old_core()), (before, None));
        #[cfg(target_os = "linux")]
        assert!(nix::sys::prctl::get_dumpable().unwrap());
    }
}
