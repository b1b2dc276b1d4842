//! Errors of the services that give files out.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::wire::sanitize::printable;

/// A service of files has refused, or a file has not arrived whole.
///
/// [`service::files`](crate::service::files) has an example.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("cannot fetch {}: {text}", printable(&.path.to_string_lossy()))]
#[non_exhaustive]
pub struct FileError {
    /// The kind of failure.
    pub kind: FileErrorKind,
    /// The file that was asked for, as the asker has named it.
    pub path: PathBuf,
    /// What failed, and what to do.
    pub text: String,
}

impl FileError {
    pub(crate) fn new(kind: FileErrorKind, path: PathBuf, text: impl Into<String>) -> Self {
        Self { kind, path, text: text.into() }
    }
}

/// Why a file has not arrived.
///
/// [`service::files`](crate::service::files) has an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum FileErrorKind {
    /// The service does not give this file to this asker: the path is not registered, is not beneath a registered
    /// directory, or leads out of that directory by a symbolic link.
    NotRegistered,
    /// It is a directory, a device, a pipe or a socket.
    NotAFile,
    /// The context with the service cannot read the file: it does not exist, permission is denied, or the disk fails.
    Unreadable,
    /// The file changed while it was sent.
    Changed,
    /// The bytes that have arrived are not those that were sent.
    Damaged,
    /// The file is larger than the asker accepts.
    TooLarge,
    /// The asker has not taken any bytes for a minute, while others waited for its place.
    Stalled,
    /// The asker has named a sender that leads to another context.
    ForeignSender,
    /// The file cannot be written here.
    Unwritable,
    /// The service keeps as many files as it can.
    TooMany,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_another_context_has_named_can_be_shown() {
        let error = FileError::new(FileErrorKind::Changed, "/a\x1b[2J".into(), "it changed");
        assert_eq!(error.to_string(), "cannot fetch /a\\u{1b}[2J: it changed");
        assert_eq!(error.path.to_str(), Some("/a\x1b[2J"));
    }
}
