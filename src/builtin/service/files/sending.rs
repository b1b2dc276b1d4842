//! The side that sends a file.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;

use super::access::Access;
use super::message::{FromHost, Refusal};
use super::metadata::FileMetadata;
use super::places::Places;
use crate::api::sender::{Sender, Sending};
use crate::builtin::file::tree::content::Content;
use crate::builtin::file::tree::message::{Piece, Start};
use crate::builtin::file::tree::packing::Packing;
use crate::builtin::file::tree::remote::Running;
use crate::builtin::file::tree::sum::SumKind;
use crate::sys::beneath::{leads_out, open_beneath};
use crate::sys::blocking::on_other_thread;
use crate::sys::directory::Directory;
use crate::wire::error::FileErrorKind;

/// The pieces that are read at once: 256 KiB.
const PIECES: usize = 4;
/// How long an asker may take nothing while others wait for its place.
const STALLED: Duration = Duration::from_secs(60);

/// A file that is sent.
pub(super) struct Opened {
    content: Content,
    packing: Packing,
    metadata: FileMetadata,
    /// Whether somebody else may change the file meanwhile.
    may_change: bool,
}

impl Opened {
    /// Opens a file that is registered. Blocks.
    pub(super) fn registered(access: &Access, has: Option<Start>, stop: &AtomicBool) -> Result<Self, Refusal> {
        let file = open(access).map_err(|error| {
            if leads_out(&error) {
                let text = "it leads out of the directory that is registered with FileService; register where it leads";
                return Refusal::new(FileErrorKind::NotRegistered, text);
            }
            unreadable(&error)
        })?;
        let metadata = regular(&file)?;
        Self::new(file, metadata, has, true, stop)
    }

    /// Sends a file that is open. Blocks.
    pub(super) fn new(
        file: File,
        metadata: FileMetadata,
        has: Option<Start>,
        may_change: bool,
        stop: &AtomicBool,
    ) -> Result<Self, Refusal> {
        let content =
            Content::new(file, metadata.size, (has, SumKind::Sha256), stop).map_err(|error| unreadable(&error))?;
        Ok(Self { content, packing: Packing::default(), metadata, may_change })
    }

    /// The next pieces. After the last one, the file must be as it was at the begin. Blocks.
    fn next(&mut self, stop: &AtomicBool) -> Result<Vec<Piece>, Refusal> {
        let mut pieces = Vec::with_capacity(PIECES);
        while pieces.len() < PIECES {
            let next = self.content.next(stop);
            let is_end = matches!(next, Ok(Piece::End(_)));
            if (is_end || next.is_err()) && self.may_change {
                let is_same = self.metadata.is_of(self.content.file()).map_err(|error| unreadable(&error))?;
                if !is_same {
                    return Err(Refusal::new(FileErrorKind::Changed, "it changed while it was sent; fetch it again"));
                }
            }
            pieces.push(self.packing.pack(next.map_err(|error| unreadable(&error))?));
            if is_end {
                break;
            }
        }
        Ok(pieces)
    }
}

/// What is known of a file, if it is a regular one.
pub(super) fn regular(file: &File) -> Result<FileMetadata, Refusal> {
    let metadata = file.metadata().map_err(|error| unreadable(&error))?;
    if !metadata.is_file() {
        let what = if metadata.is_dir() { "a directory" } else { "a device, a pipe or a socket" };
        return Err(Refusal::new(FileErrorKind::NotAFile, format!("it is {what}; only regular files are sent")));
    }
    FileMetadata::of(file).map_err(|error| unreadable(&error))
}

/// Opens a file for reading by its path. A pipe without a writer does not hold it up.
pub(super) fn open_path(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)
}

fn open(access: &Access) -> io::Result<File> {
    match access {
        Access::Path(path) => open_path(path),
        Access::Beneath { directory, rest } => open_beneath(&Directory::open(directory)?, rest.as_os_str().as_bytes()),
    }
}

#[cold]
pub(super) fn unreadable(error: &io::Error) -> Refusal {
    // What is no file cannot always be opened.
    let kind = match error.raw_os_error().map(nix::errno::Errno::from_raw) {
        Some(nix::errno::Errno::ENXIO | nix::errno::Errno::ENODEV) => FileErrorKind::NotAFile,
        _ => FileErrorKind::Unreadable,
    };
    Refusal::new(kind, format!("the context that has it cannot read it: {error}"))
}

/// Opens a file on another thread and sends it. Holds no thread while it waits for the asker. Ends when it is dropped.
pub(super) async fn send(
    places: &Places,
    to: &Sender<FromHost>,
    open: impl FnOnce(&AtomicBool) -> Result<Opened, Refusal> + Send + 'static,
) -> Result<(), Refusal> {
    let running = Running::default();
    let stop = Arc::clone(&running.stop);
    let mut opened = elsewhere(move || open(&stop)).await?;
    let begin = FromHost::Begin { metadata: opened.metadata.clone(), from: opened.content.at() };
    accepted(places, to.send(begin)).await?;
    loop {
        let stop = Arc::clone(&running.stop);
        let (rest, pieces) = elsewhere(move || opened.next(&stop).map(|pieces| (opened, pieces))).await?;
        opened = rest;
        let is_end = matches!(pieces.last(), Some(Piece::End(_)));
        for piece in pieces {
            let (size, begun) = (piece.size(), Instant::now());
            accepted(places, to.send(FromHost::Piece(piece))).await?;
            opened.packing.sent(size, begun.elapsed());
        }
        if is_end {
            return Ok(());
        }
    }
}

/// Runs work that blocks.
async fn elsewhere<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let panicked = || Refusal::new(FileErrorKind::Unreadable, "a fault of this program: the reading panicked");
    on_other_thread(work).await.unwrap_or_else(|_| Err(panicked()))
}

/// Waits until the asker has room. An asker that takes nothing loses its place if others wait for one.
async fn accepted(places: &Places, mut sending: Sending) -> Result<(), Refusal> {
    loop {
        match tokio::time::timeout(STALLED, &mut sending).await {
            Ok(result) => return result.map_err(|_| Refusal::gone()),
            Err(_) if places.are_taken() => {
                let text = "the asker took nothing for a minute, and others wait; fetch it again";
                return Err(Refusal::new(FileErrorKind::Stalled, text));
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(path: &Path, change: impl FnOnce()) -> Result<Piece, Refusal> {
        let stop = AtomicBool::new(false);
        let mut opened = Opened::registered(&Access::Path(path.to_owned()), None, &stop)?;
        let first = opened.next(&stop)?;
        assert_eq!(first.len(), PIECES);
        change();
        loop {
            if let Some(end @ Piece::End(_)) = opened.next(&stop)?.pop() {
                return Ok(end);
            }
        }
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("file");
        let write = || std::fs::write(&path, vec![1; 1 << 20]).unwrap();
        write();
        assert!(read(&path, || ()).is_ok());
        let append = |path: &Path| OpenOptions::new().append(true).open(path).unwrap();
        let changes: [&dyn Fn(); 3] =
            [&|| append(&path).write_all(b"more").unwrap(), &|| append(&path).set_len(1 << 19).unwrap(), &|| {
                append(&path).set_modified(std::time::UNIX_EPOCH).unwrap();
            }];
        for change in changes {
            write();
            assert_eq!(read(&path, change).unwrap_err().kind, FileErrorKind::Changed);
        }
        // Another file in its place does no harm: the first one is read to its end.
        write();
        let other = place.path().join("other");
        std::fs::write(&other, "other").unwrap();
        assert!(read(&path, || std::fs::rename(&other, &path).unwrap()).is_ok());
    }

    #[test]
    fn only_regular_files_are_opened() {
        let place = tempfile::tempdir().unwrap();
        let pipe = place.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let socket = place.path().join("socket");
        let _socket = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for path in [place.path(), &pipe, &socket, Path::new("/dev/null")] {
            let opened = Opened::registered(&Access::Path(path.to_owned()), None, &AtomicBool::new(false));
            assert_eq!(opened.err().map(|refusal| refusal.kind), Some(FileErrorKind::NotAFile), "{}", path.display());
        }
        let missing = Access::Path(place.path().join("missing"));
        let refusal = Opened::registered(&missing, None, &AtomicBool::new(false)).err().unwrap();
        assert_eq!(refusal.kind, FileErrorKind::Unreadable);
    }
}
