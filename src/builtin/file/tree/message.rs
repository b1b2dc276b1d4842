//! What source and sink say to each other.

use std::io;

use serde::{Deserialize, Serialize};

use super::sum::SumKind;
use crate::wire::codec::Blob;
use crate::wire::error::{Error, IoError};

/// The most entries in one message. The answer to a message has at most some 50 bytes for each.
pub(crate) const BATCH: usize = 256;
/// The most messages with entries that are not answered yet. All answers fit into the smallest window, so that a sink
/// that answers never waits for a source that sends.
pub(crate) const UNANSWERED: usize = 4;
/// The most bytes of one piece, and about the size of a message with pieces: the window has room for several.
pub(crate) const CHUNK: usize = 64 * 1024;
/// The most bytes of a name, and of the path of a directory: those that all systems know.
pub(crate) const MAX_NAME: usize = 255;
pub(crate) const MAX_PATH: usize = 4095;

/// A digest: SHA-256, or XXH64 in its first bytes.
pub(crate) type Digest = [u8; 32];

/// What the source sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ToSink {
    /// The name of a user or group, before the first entry that has it.
    Owner(Owner),
    /// The sink answers each of these with one [`ToSource`].
    Entries(Vec<Group>),
    /// Content of wanted files, in the order of the answers.
    Pieces(Vec<Piece>),
    /// Something that the source cannot send.
    Fault(Fault),
    /// All entries were listed, and all wanted files sent.
    End,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owner {
    pub(crate) is_group: bool,
    pub(crate) id: u32,
    pub(crate) name: String,
}

/// Entries of one directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Group {
    /// The path of the directory below the root. The root itself is empty.
    pub(crate) directory: Blob,
    pub(crate) entries: Vec<Entry>,
    /// Whether this is the first group of the directory.
    pub(crate) is_first: bool,
    /// Whether the groups of the directory so far have all that is in it.
    pub(crate) is_complete: bool,
}

/// Something in a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) name: Blob,
    pub(crate) what: What,
    pub(crate) mode: u32,
    /// Seconds since 1970, and nanoseconds.
    pub(crate) modified: (i64, u32),
    /// The numbers that user and group have at the source.
    pub(crate) user: u32,
    pub(crate) group: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum What {
    File {
        size: u64,
    },
    Directory,
    /// A symbolic link, and where it leads.
    Symlink(Blob),
    /// The same file as an earlier one, whose directory and name these are.
    HardLink(Blob, Blob),
    /// A pipe, a socket or a device, which is not copied. What has its name at the target stays.
    Other,
}

/// The answer to a message with entries: the files that the sink wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ToSource(pub(crate) Vec<Want>);

/// A wanted file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Want {
    /// Its number. All entries are counted, from 0 on.
    pub(crate) number: u64,
    /// What the sink has of it already, if its digest is the same there.
    pub(crate) has: Option<Start>,
}

/// The first bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) size: u64,
    pub(crate) digest: Digest,
}

/// Content of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Piece {
    /// The content of this file begins, after as many bytes as the sink has already.
    Begin {
        number: u64,
        from: u64,
    },
    Bytes(Blob),
    /// So many bytes that are all zero.
    Zeros(u64),
    /// All was sent. The digest is that of the whole file.
    End(Digest),
    /// The file, whose content has begun, cannot be read to its end.
    Broken(IoError),
    /// So many bytes, as zstd has packed them: blocks, without the header of a frame. See `packing`.
    Packed {
        size: u32,
        blocks: Blob,
    },
}

/// What a piece costs besides its bytes, about: so that a message has no endless number of them.
const PIECE: usize = 16;

impl Piece {
    /// The bytes of a file that it has, but for zeros.
    pub(crate) fn content(&self) -> usize {
        match self {
            Self::Bytes(Blob(bytes)) => bytes.len(),
            Self::Packed { size, .. } => *size as usize,
            _ => 0,
        }
    }

    /// The bytes that it takes in a message, about.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Bytes(Blob(bytes)) | Self::Packed { blocks: Blob(bytes), .. } => PIECE + bytes.len(),
            _ => PIECE,
        }
    }
}

impl ToSink {
    /// The bytes that it takes, about.
    pub(crate) fn size(&self) -> usize {
        /// What an entry takes besides its name: mode, time and owner.
        const ENTRY: usize = 32;
        match self {
            Self::Pieces(pieces) => pieces.iter().map(Piece::size).sum(),
            Self::Entries(groups) => {
                let entries = groups.iter().flat_map(|group| &group.entries);
                entries.map(|entry| ENTRY + entry.name.0.len()).sum()
            }
            Self::Fault(Fault { path, why }) => path.0.len() + why.text().len(),
            Self::Owner(_) | Self::End => PIECE,
        }
    }
}

/// Something that was not copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fault {
    /// Its path below the root.
    pub(crate) path: Blob,
    pub(crate) why: IoError,
}

/// What the sink tells while it works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Note {
    Fault(Fault),
    /// Something that would change, and how: only if nothing is changed.
    Would(Change, Blob),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Change {
    Write,
    Make,
    Adjust,
    Delete,
}

/// Sees what source and sink say to each other, and may hold it up.
pub(crate) trait Watch {
    /// Called with each message before it is sent, or before it is taken.
    fn message(&self, message: &ToSink);

    /// Called with each answer that the source takes or the sink gives.
    fn answer(&self, answer: &ToSource);
}

/// What is copied, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Options {
    /// Names and paths that are left out, on both sides.
    pub(crate) exclude: Vec<String>,
    /// Whether files are compared by their content, and not by size and time.
    pub(crate) checksum: bool,
    /// Whether to remove what the source does not have.
    pub(crate) delete: bool,
    /// Whether to change nothing, and to tell what would change.
    pub(crate) dry_run: bool,
    /// Whether users and groups of the same names own the copies, where that is allowed.
    pub(crate) owners: bool,
}

impl Options {
    /// How content is summed up. What an interrupted copy has left is its own, and so is what is on its way. The content of
    /// files that are compared may be chosen by somebody who wants them to look alike.
    pub(crate) fn sum(&self) -> SumKind {
        if self.checksum { SumKind::Sha256 } else { SumKind::Quick }
    }
}

/// Where the sink writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Destination {
    pub(crate) path: Blob,
    pub(crate) place: Place,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Place {
    /// In the directory, which is made if it is missing.
    Inside,
    /// Under this very name, or in it if it is a directory. There is one entry, and it is a file.
    Named,
    /// The directory becomes a copy of this one, whose mode and owner it gets.
    Copy(Entry),
    /// In the directory of this name in the directory. Both are made if they are missing. The name must not be that of a
    /// symbolic link, which another user may have put there.
    #[cfg(any(feature = "cli", test))]
    Below(Blob),
}

/// What the sink has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tally {
    /// Files whose content was written.
    pub(crate) written: u64,
    /// Bytes that arrived for them.
    pub(crate) bytes: u64,
    /// Directories and links that were made.
    pub(crate) made: u64,
    /// What has got another mode, owner or time.
    pub(crate) adjusted: u64,
    pub(crate) unchanged: u64,
    pub(crate) deleted: u64,
    /// What was not copied.
    pub(crate) failed: u64,
    /// Pipes, sockets and devices.
    pub(crate) left_out: u64,
}

/// How a copy has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    /// Why it has ended early.
    pub(crate) stopped: Option<Stop>,
}

/// Why a copy cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stop {
    pub(crate) reason: Reason,
    pub(crate) text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reason {
    NoSpace,
    Permission,
    NotFound,
    NotADirectory,
    /// The other side does not keep to the rules.
    Protocol,
    /// The other side has gone.
    Gone,
    Io,
}

impl Reason {
    /// The word for it in JSON.
    #[cfg(feature = "cli")]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::NoSpace => "no_space",
            Self::Permission => "permission",
            Self::NotFound => "not_found",
            Self::NotADirectory => "not_a_directory",
            Self::Protocol => "protocol",
            Self::Gone => "disconnect",
            Self::Io => "io",
        }
    }

    fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::Permission,
            io::ErrorKind::NotFound => Self::NotFound,
            io::ErrorKind::NotADirectory => Self::NotADirectory,
            _ => Self::Io,
        }
    }
}

impl Stop {
    pub(crate) fn new(reason: Reason, text: impl Into<String>) -> Self {
        Self { reason, text: text.into() }
    }

    /// The end because of an error with this path.
    #[cold]
    pub(crate) fn at(what: &str, path: &[u8], error: &io::Error) -> Self {
        Self::new(Reason::of(error), format!("cannot {what} {}: {error}", String::from_utf8_lossy(path)))
    }

    /// Why nothing more is received.
    pub(crate) fn unread(error: &Error) -> Self {
        match error {
            Error::Payload(_) => Self::rule("the other side sends what cannot be read"),
            _ => Self::gone(),
        }
    }

    #[cold]
    pub(crate) fn gone() -> Self {
        Self::new(Reason::Gone, "the other side has ended before the copy was complete")
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn rule(text: &str) -> Self {
        Self::new(Reason::Protocol, text)
    }
}

/// Whether an error concerns all that is still to be written.
pub(crate) fn is_fatal(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem)
}

/// The path of a name in a directory.
pub(crate) fn joined(directory: &[u8], name: &[u8]) -> Vec<u8> {
    match directory {
        [] => name.to_vec(),
        _ => [directory, b"/", name].concat(),
    }
}
