//! Reads and writes files on the machine of another context.
//!
//! ```
//! # use offshoot::{Error, Router};
//! # fn main() -> std::process::ExitCode {
//! # offshoot::run(app) }
//! # async fn app(router: Router) -> Result<(), Error> {
//! # let web = router.local().await?;
//! # let path = std::env::temp_dir().join(format!("offshoot-doc-{}", std::process::id()));
//! web.write_file(&path, "hello\n").await?;
//! assert_eq!(web.read_file(&path).await?, b"hello\n");
//! // Copies of any size, from anything that can be read and to anything that can be written to.
//! let size = web.copy_from(&path, tokio::io::sink()).await?;
//! assert_eq!(web.copy_to(tokio::io::empty(), &path, 0o600).await?, size - 6);
//! # std::fs::remove_file(path).unwrap();
//! # Ok(()) }
//! ```

pub(crate) mod replaced;
pub(crate) mod tree;

use std::any::type_name_of_val;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};

use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::api::context::Context;
use crate::api::econtext::Econtext;
use crate::api::function::{Builtin, Value};
use crate::api::receiver::Receiver;
use crate::api::sender::Sender;
use crate::api::with_timeout::WithTimeout;
use crate::builtin::file::replaced::Replaced;
use crate::builtin::file::tree::draft::{Draft, Drafts};
use crate::sys::blocking::on_other_thread;
use crate::sys::directory::{Directory, OWNER_ONLY, permit};
use crate::wire::codec::Blob;
use crate::wire::error::{Error, IoError};

/// The most bytes of one piece of a file.
const CHUNK: usize = 64 * 1024;
/// The mode of a new file, which the umask reduces.
const FOR_ALL: u32 = 0o666;

/// A piece of a file in a stream.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Piece {
    Bytes(Blob),
    /// The whole file has been sent. A stream that ends without this is incomplete.
    End,
}

impl Value for Piece {}

/// What reads and writes files and copies trees, for [`Connect::allow`](crate::connect::Connect::allow), which has an
/// example.
pub const FILES: Builtin = Builtin(|| {
    let files = [type_name_of_val(&read_file), type_name_of_val(&write_file)];
    let trees = [type_name_of_val(&tree::remote::receive_tree), type_name_of_val(&tree::remote::send_tree)];
    [files, trees].concat()
});

impl Context {
    /// Reads a file on the machine of the context, into memory. A pipe is an error. Dropping the future ends the
    /// reading. The [module](crate::file) has an example.
    /// Code that is not async uses [`block_on`](crate::block_on).
    ///
    /// # Errors
    ///
    /// [`Error::Call`] if the file cannot be read there, and the errors of [`Context::call`].
    pub async fn read_file(&self, path: impl Into<PathBuf>) -> Result<Vec<u8>, Error> {
        let mut content = Vec::new();
        self.copy_from(path, &mut content).await?;
        Ok(content)
    }

    /// Copies a file on the machine of the context into `sink`, and returns its size in bytes.
    /// Keeps at most one window of it in memory (1 MiB). Dropping the future ends the copying.
    /// `sink` then has a part of the file. Code that is not async uses [`block_on`](crate::block_on).
    ///
    /// # Errors
    ///
    /// [`Error::Call`] if the file cannot be read there, [`Error::Io`] if `sink` fails, and the
    /// errors of [`Context::call`].
    pub async fn copy_from(&self, path: impl Into<PathBuf>, sink: impl AsyncWrite) -> Result<u64, Error> {
        let mut sink = pin!(sink);
        let pieces: Receiver<Piece> = Receiver::from_context(self.shared(), self.id(), true);
        let mut call = self.call(read_file, (path.into(), pieces.sender()));
        let mut size = 0;
        loop {
            let piece = tokio::select! {
                biased;
                piece = pieces.recv() => piece?,
                // If the call ends before the file does, the call has failed.
                result = &mut call => {
                    result?;
                    pieces.recv().await?
                }
            };
            let stored = match piece {
                Piece::Bytes(Blob(bytes)) => {
                    size += bytes.len() as u64;
                    sink.write_all(&bytes).await
                }
                Piece::End => return sink.flush().await.map(|()| size).map_err(|error| unstored(&error)),
            };
            stored.map_err(|error| unstored(&error))?;
        }
    }

    /// Writes a file on the machine of the context. The file is written whole or not at all, also if the future
    /// is dropped: the function writes another file in the same directory and renames it. A file that is
    /// replaced keeps its mode, and its owner and its group if the context may set them; if it may not, a setuid or setgid
    /// program loses these bits. A new file gets the mode 0666, reduced by the umask there. [`Context::copy_to`]
    /// sets another mode. A symbolic link is replaced, and not the file that it leads to. Code that is not async uses
    /// [`block_on`](crate::block_on).
    ///
    /// # Errors
    ///
    /// [`Error::Call`] if the file cannot be written there, and the errors of [`Context::call`].
    pub async fn write_file(&self, path: impl Into<PathBuf>, bytes: impl AsRef<[u8]>) -> Result<(), Error> {
        write(self, path.into(), None, Pin::new(&mut bytes.as_ref())).await.map(drop)
    }

    /// Copies `source` into a file on the machine of the context, sets its `mode`, and returns its
    /// size in bytes. The file then belongs to the user of the context, also if it replaces one of another user. It is
    /// written whole or not at all, as by [`Context::write_file`], also if the future is dropped. Code that is not async uses [`block_on`](crate::block_on).
    ///
    /// # Errors
    ///
    /// [`Error::Call`] if the file cannot be written there, [`Error::Io`] if `source` fails, and
    /// the errors of [`Context::call`].
    pub async fn copy_to(&self, source: impl AsyncRead, path: impl Into<PathBuf>, mode: u32) -> Result<u64, Error> {
        write(self, path.into(), Some(mode), pin!(source)).await
    }
}

impl WithTimeout<'_> {
    /// As [`Context::read_file`], but fails with [`Error::Timeout`] when the time limit has passed.
    /// Code that is not async uses [`block_on`](crate::block_on).
    ///
    /// # Errors
    ///
    /// As [`Context::read_file`], and [`Error::Timeout`].
    pub async fn read_file(&self, path: impl Into<PathBuf>) -> Result<Vec<u8>, Error> {
        self.within("reading a file", self.context.read_file(path)).await
    }

    /// As [`Context::copy_from`], but fails with [`Error::Timeout`] when the time limit has passed.
    /// Code that is not async uses [`block_on`](crate::block_on).
    ///
    /// # Errors
    ///
    /// As [`Context::copy_from`], and [`Error::Timeout`].
    pub async fn copy_from(&self, path: impl Into<PathBuf>, sink: impl AsyncWrite) -> Result<u64, Error> {
        self.within("reading a file", self.context.copy_from(path, sink)).await
    }

    /// As [`Context::write_file`], but fails with [`Error::Timeout`] when the time limit has passed. Then the
    /// file is unchanged, or has all of the new content if the limit passed in the moment in which it got its name. Code
    /// that is not async uses [`block_on`](crate::block_on).
    ///
    /// # Errors
    ///
    /// As [`Context::write_file`], and [`Error::Timeout`].
    pub async fn write_file(&self, path: impl Into<PathBuf>, bytes: impl AsRef<[u8]>) -> Result<(), Error> {
        self.within("writing a file", self.context.write_file(path, bytes)).await
    }

    /// As [`Context::copy_to`], but fails with [`Error::Timeout`] when the time limit has passed. Then the file
    /// is unchanged, or has all of the new content, as with [`WithTimeout::write_file`]. Code that is not async uses
    /// [`block_on`](crate::block_on).
    ///
    /// # Errors
    ///
    /// As [`Context::copy_to`], and [`Error::Timeout`].
    pub async fn copy_to(&self, source: impl AsyncRead, path: impl Into<PathBuf>, mode: u32) -> Result<u64, Error> {
        self.within("writing a file", self.context.copy_to(source, path, mode)).await
    }
}

fn unstored(error: &io::Error) -> Error {
    Error::Io(IoError::while_doing("cannot store the file", error))
}

async fn write<R: AsyncRead>(
    context: &Context,
    path: PathBuf,
    mode: Option<u32>,
    mut source: Pin<&mut R>,
) -> Result<u64, Error> {
    let ready: Receiver<Sender<Piece>> = Receiver::from_context(context.shared(), context.id(), true);
    let mut call = context.call(write_file, (path, mode, ready.sender()));
    let pieces = tokio::select! {
        pieces = ready.recv() => pieces?,
        result = &mut call => {
            result?;
            ready.recv().await?
        }
    };
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = source.read(&mut buffer).await;
        let count = read.map_err(|error| Error::Io(IoError::while_doing("cannot read the file to send", &error)))?;
        if count == 0 {
            break;
        }
        let sending = pieces.send(Piece::Bytes(Blob(buffer[..count].to_vec())));
        tokio::select! {
            biased;
            // The call reports a full disk. The channel does not.
            result = &mut call => return result,
            result = sending => result?,
        }
    }
    pieces.send(Piece::End).await?;
    call.await
}

async fn read_file(path: PathBuf, pieces: Sender<Piece>) -> io::Result<()> {
    let name = path.clone();
    let mut file = blocking("read", &path, move || open(&name)).await?;
    loop {
        let (rest, chunk) = blocking("read", &path, move || {
            let mut chunk = vec![0; CHUNK];
            let count = file.read(&mut chunk)?;
            chunk.truncate(count);
            Ok((file, chunk))
        })
        .await?;
        if chunk.is_empty() {
            break;
        }
        file = rest;
        pieces.send(Piece::Bytes(Blob(chunk))).await.map_err(io::Error::other)?;
    }
    pieces.send(Piece::End).await.map_err(io::Error::other)
}
crate::export!(bound read_file);

/// Opens a file for reading.
fn open(path: &Path) -> io::Result<File> {
    // To open a pipe without a writer would take a thread until there is one.
    let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    if file.metadata()?.file_type().is_fifo() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a pipe; a command, such as cat, can read it"));
    }
    Ok(file)
}

async fn write_file(
    econtext: &Econtext,
    path: PathBuf,
    mode: Option<u32>,
    ready: Sender<Sender<Piece>>,
) -> io::Result<u64> {
    let pieces: Receiver<Piece> = Receiver::from_context(econtext.shared(), econtext.caller_id(), true);
    let writing = Writing(Drafts::default());
    let (drafts, target) = (writing.0.clone(), path.clone());
    let mut file = blocking("write", &path, move || NewFile::begin(&drafts, &target, mode)).await?;
    ready.send(pieces.sender()).await.map_err(io::Error::other)?;
    let mut size = 0;
    while let Piece::Bytes(Blob(bytes)) = pieces.recv().await.map_err(io::Error::other)? {
        size += bytes.len() as u64;
        file = blocking("write", &path, move || file.draft.write(&bytes).map(|()| file)).await?;
    }
    blocking("write", &path, move || file.place()).await?;
    Ok(size)
}
crate::export!(bound write_file);

/// Removes the draft when the call ends, also if another thread is about to go on with it.
struct Writing(Drafts);

impl Drop for Writing {
    fn drop(&mut self) {
        // If another thread is making the draft just now, this one does not wait for the file system.
        if !self.0.try_end() && tokio::runtime::Handle::try_current().is_ok() {
            let drafts = self.0.clone();
            drop(on_other_thread(move || drafts.end()));
        }
    }
}

/// A file that is written. All of it blocks.
struct NewFile {
    draft: Draft,
    /// The mode that it gets, whatever the umask is.
    mode: Option<u32>,
    replaced: Option<Replaced>,
}

impl NewFile {
    fn begin(drafts: &Drafts, path: &Path, mode: Option<u32>) -> io::Result<Self> {
        let (directory, name) = Directory::of_file(path)?;
        let replaced = Replaced::at(&directory, name)?;
        // The file that a symbolic link leads to may be private. The link is replaced, and the file stays.
        let mode = mode.or_else(|| match replaced {
            Some(_) => None,
            None => Some(std::fs::metadata(path).ok()?.mode() & 0o777),
        });
        // The file never has wider permissions than at the end. The umask reduces the mode of a new file.
        let first = if replaced.is_some() { OWNER_ONLY } else { mode.unwrap_or(FOR_ALL) & FOR_ALL };
        let draft = Draft::brief(drafts, &directory, name, first)?;
        Ok(Self { draft, mode, replaced })
    }

    fn place(self) -> io::Result<()> {
        let file = self.draft.file();
        let mode = match (self.mode, self.replaced) {
            (None, Some(replaced)) => Some(replaced.hand_over(file)?),
            (mode, _) => mode,
        };
        if let Some(mode) = mode {
            permit(file, mode)?;
        }
        self.draft.place()
    }
}

/// Runs blocking work on another thread. Errors say that the file at `path` cannot be read or written.
async fn blocking<T: Send + 'static>(
    what: &str,
    path: &Path,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let result = on_other_thread(work).await.map_err(io::Error::other)?;
    result.map_err(|error| io::Error::new(error.kind(), format!("cannot {what} {}: {error}", path.display())))
}
