//! Whether the standard output was closed when this process began. Rust opens `/dev/null` in its place before `main`.

#![cfg_attr(target_os = "linux", expect(unsafe_code, reason = "runs before main"))]

use std::sync::atomic::{AtomicBool, Ordering};

static STDOUT_WAS_CLOSED: AtomicBool = AtomicBool::new(false);

/// Whether it was.
pub(crate) fn stdout_was_closed() -> bool {
    STDOUT_WAS_CLOSED.load(Ordering::Relaxed)
}

#[cfg(target_os = "linux")]
mod before_main {
    use nix::libc;

    extern "C" fn look() {
        // SAFETY: it asks about a number, whatever that stands for, and needs nothing of Rust's runtime.
        let is_closed = unsafe { libc::fcntl(1, libc::F_GETFD) } == -1;
        super::STDOUT_WAS_CLOSED.store(is_closed, super::Ordering::Relaxed);
    }

    // SAFETY: the section has functions that are called before `main`, and this is one.
    #[used]
    #[unsafe(link_section = ".init_array")]
    static LOOK: extern "C" fn() = look;
}
