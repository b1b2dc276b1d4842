//! What the service and an asker say to each other.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::metadata::FileMetadata;
use crate::api::function::Value;
use crate::builtin::file::tree::message::{MAX_PATH, Piece};
use crate::wire::codec::Blob;
use crate::wire::error::{Error, FileError, FileErrorKind};

/// What the service sends to an asker, in this order: the begin, and the pieces up to the end.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum FromHost {
    Begin {
        metadata: FileMetadata,
        /// How many bytes the asker has already.
        from: u64,
    },
    Piece(Piece),
}

/// Why a file is not sent, or not to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refusal {
    pub(super) kind: FileErrorKind,
    pub(super) text: String,
}

impl Refusal {
    #[cold]
    pub(super) fn new(kind: FileErrorKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    /// The asker has gone, so it does not hear this.
    #[cold]
    pub(super) fn gone() -> Self {
        Self::new(FileErrorKind::Stalled, "the asker has gone")
    }

    /// The error about this path.
    pub(super) fn about(self, path: &Path) -> Error {
        Error::File(Box::new(FileError::new(self.kind, path.to_owned(), self.text))).escaped()
    }
}

/// The end of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer(pub(super) Result<(), Refusal>);

impl Value for Answer {}

/// A path as it is sent: names need not be UTF-8.
pub(super) fn sent(path: &Path) -> Blob {
    Blob(path.as_os_str().as_bytes().to_vec())
}

/// A path that was sent.
pub(super) fn received(Blob(bytes): &Blob) -> Result<PathBuf, Refusal> {
    if bytes.is_empty() || bytes.len() > MAX_PATH || bytes.contains(&0) {
        return Err(Refusal::new(FileErrorKind::NotRegistered, "it is not a path"));
    }
    Ok(OsStr::from_bytes(bytes).into())
}
