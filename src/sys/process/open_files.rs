//! The number of files that this process, and the processes that it starts, may have open.

use std::io;
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

/// The soft limit of open files that this process had before it raised it.
static OPEN_FILES: OnceLock<Option<rlim_t>> = OnceLock::new();

/// Raises the soft limit of open files to the hard limit, once. A context needs about four
/// descriptors for each of its children. The usual soft limit of 1024 exists for programs that use
/// `select`. Processes that this one starts get the old limit back.
pub(crate) fn raise_open_files() {
    OPEN_FILES.get_or_init(|| {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
        (soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok()).then_some(soft)
    });
}

/// Restores the old limit, between fork and exec. Allocates nothing. `old` is the value that
/// [`old_open_files`] has returned before the fork.
pub(super) fn lower_open_files(old: Old) {
    #[cfg(feature = "cli")]
    super::secrecy::restore_core(old.core);
    if let Some(soft) = old.open_files
        && let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
    {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, soft, hard);
    }
}

/// The soft limits for the processes that this one starts, if they differ from its own.
#[derive(Clone, Copy)]
pub(super) struct Old {
    open_files: Option<rlim_t>,
    #[cfg(feature = "cli")]
    core: Option<rlim_t>,
}

pub(super) fn old_open_files() -> Old {
    Old {
        open_files: OPEN_FILES.get().copied().flatten(),
        #[cfg(feature = "cli")]
        core: super::secrecy::old_core(),
    }
}

/// Whether an error means that this process, or the system, has as many files open as it may.
pub(crate) fn is_out_of_files(error: &io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EMFILE | Errno::ENFILE))
}

/// The number of files that this process may have open at once. `None` if it is unlimited or
/// unknown.
pub(crate) fn open_files_limit() -> Option<rlim_t> {
    getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft)
}
