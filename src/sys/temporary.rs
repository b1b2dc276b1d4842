//! Where temporary files go.

use std::path::PathBuf;

/// The directory for temporary files. A variable `TMPDIR` that is empty counts as one that is not set.
pub(crate) fn directory() -> PathBuf {
    match std::env::temp_dir() {
        path if path.as_os_str().is_empty() => "/tmp".into(),
        path => path,
    }
}
