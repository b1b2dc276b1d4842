//! Reading and writing files of other contexts, in chunks.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::api::context::{Context, Econtext};
use crate::api::function::Value;
use crate::api::receiver::Receiver;
use crate::api::router::Router;
use crate::api::sender::Sender;
use crate::wire::codec::Blob;
use crate::wire::error::{Error, IoError};

/// Bytes of one chunk.
const CHUNK: usize = 64 * 1024;

/// A piece of a file on its way.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum Piece {
    Bytes(Blob),
    /// All of it has been sent. A stream that ends without this has broken.
    End,
}

impl Value for Piece {}

/// Reads a file of `context` into `sink`, and returns its size in bytes. Holds
/// at most a window of it in memory.
///
/// # Errors
///
/// [`Error::Call`] if the file cannot be read there, [`Error::Payload`] if
/// `sink` fails, and what [`Context::call`] gives.
pub async fn read(
    router: &Router,
    context: &Context,
    path: impl Into<PathBuf>,
    mut sink: impl Write,
) -> Result<u64, Error> {
    let pieces: Receiver<Piece> = Receiver::from_context(router.shared(), context.id(), true);
    let mut call = context.call(read_file, (path.into(), pieces.sender()));
    let mut size = 0;
    loop {
        let piece = tokio::select! {
            biased;
            piece = pieces.recv() => piece?,
            // It ends before the file does only when it fails.
            result = &mut call => {
                result?;
                pieces.recv().await?
            }
        };
        match piece {
            Piece::Bytes(Blob(bytes)) => {
                size += bytes.len() as u64;
                sink.write_all(&bytes)
                    .map_err(|error| Error::Io(IoError::while_doing("cannot store the file", &error)))?;
            }
            Piece::End => return Ok(size),
        }
    }
}

/// Writes what `source` gives to a file of `context`, with `mode`, and
/// returns its size in bytes. The file appears whole or not at all: it is
/// written beside its place and renamed.
///
/// # Errors
///
/// [`Error::Call`] if the file cannot be written there, [`Error::Payload`] if
/// `source` fails, and what [`Context::call`] gives.
pub async fn write(
    router: &Router,
    context: &Context,
    path: impl Into<PathBuf>,
    mode: u32,
    mut source: impl Read,
) -> Result<u64, Error> {
    let ready: Receiver<Sender<Piece>> = Receiver::from_context(router.shared(), context.id(), true);
    let mut call = context.call(write_file, (path.into(), mode, ready.sender()));
    let pieces = tokio::select! {
        pieces = ready.recv() => pieces?,
        result = &mut call => {
            result?;
            ready.recv().await?
        }
    };
    let mut buffer = vec![0; CHUNK];
    loop {
        let count = source
            .read(&mut buffer)
            .map_err(|error| Error::Io(IoError::while_doing("cannot read the file to send", &error)))?;
        if count == 0 {
            break;
        }
        let sending = pieces.send(Piece::Bytes(Blob(buffer[..count].to_vec())));
        tokio::select! {
            biased;
            // A full disk is told by the call, not by the channel.
            result = &mut call => return result,
            result = sending => result?,
        }
    }
    pieces.send(Piece::End).await?;
    call.await
}

async fn read_file(path: PathBuf, pieces: Sender<Piece>) -> io::Result<()> {
    let name = path.clone();
    let mut file = blocking(&path, move || File::open(name)).await?;
    loop {
        let (rest, chunk) = blocking(&path, move || {
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

async fn write_file(econtext: &Econtext, path: PathBuf, mode: u32, ready: Sender<Sender<Piece>>) -> io::Result<u64> {
    let pieces: Receiver<Piece> = Receiver::from_context(econtext.shared(), econtext.caller_id(), true);
    let unfinished = Unfinished(beside(&path)?);
    let (name, target) = (unfinished.0.clone(), path.clone());
    let open = move || OpenOptions::new().write(true).create_new(true).mode(mode).open(name);
    let mut file = blocking(&path, open).await?;
    ready.send(pieces.sender()).await.map_err(io::Error::other)?;
    let mut size = 0;
    while let Piece::Bytes(Blob(bytes)) = pieces.recv().await.map_err(io::Error::other)? {
        size += bytes.len() as u64;
        file = blocking(&path, move || file.write_all(&bytes).map(|()| file)).await?;
    }
    let name = unfinished.0.clone();
    let finish = move || {
        // The mode asked for, whatever the umask.
        file.set_permissions(Permissions::from_mode(mode))?;
        std::fs::rename(name, target)
    };
    blocking(&path, finish).await?;
    Ok(size)
}
crate::export!(bound write_file);

/// Does what may block on a thread that may, and names the file in the error.
async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let result = tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?;
    result.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// A file that is removed unless it was renamed.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn beside(path: &Path) -> io::Result<PathBuf> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("{}: not a file name", path.display())))?;
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!(".{}.offshoot-{}-{count}", name.to_string_lossy(), std::process::id());
    Ok(path.with_file_name(name))
}
