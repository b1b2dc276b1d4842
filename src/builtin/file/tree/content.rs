//! The content of a file, in pieces, and its digest.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use super::message::{CHUNK, Piece, Start};
use super::sum::{Sum, SumKind};
use crate::sys::directory::{Stat, next_data};
use crate::wire::codec::Blob;

static ZEROS: [u8; CHUNK] = [0; CHUNK];

/// A file that is read from a position to its end. It has a position of its own, so others may read the same open file.
#[derive(Debug)]
pub(crate) struct Content {
    file: File,
    at: u64,
    size: u64,
    /// Until here the file has bytes, and no hole.
    data_end: u64,
    is_sparse: bool,
    digest: Sum,
    /// When it was modified, and its size then.
    begun: ((i64, u32), u64),
}

impl Content {
    /// Begins after `has`, if the file begins so. Reads at most `listed` bytes, although the file may grow.
    /// `has` has a digest of this kind, as the end has.
    pub(crate) fn new(
        file: File,
        listed: u64,
        (has, kind): (Option<Start>, SumKind),
        stop: &AtomicBool,
    ) -> io::Result<Self> {
        let stat = Stat::of(&file)?;
        if stat.size < listed {
            return Err(shorter());
        }
        // A file of /proc has no size, and content.
        if stat.size == 0 && file.read_at(&mut [0], 0)? > 0 && Stat::of(&file)?.size == 0 {
            return Err(io::Error::other("it has content and no size, as the files of /proc; print it with a command"));
        }
        let mut digest = Sum::new(kind);
        let mut at = 0;
        if let Some(start) = has.filter(|start| start.size <= listed) {
            let begin = digest_of(&file, start.size, kind, stop)?;
            if begin.digest() == start.digest {
                (digest, at) = (begin, start.size);
            }
        }
        let data_end = if stat.is_sparse { at } else { listed };
        let begun = (stat.modified, stat.size);
        Ok(Self { file, at, size: listed, data_end, is_sparse: stat.is_sparse, digest, begun })
    }

    #[cfg(feature = "files")]
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// How many bytes the other side has already.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// The next piece, of at most [`CHUNK`] bytes, or the end.
    pub(crate) fn next(&mut self, stop: &AtomicBool) -> io::Result<Piece> {
        if self.at == self.size {
            let stat = Stat::of(&self.file)?;
            let (modified, size) = self.begun;
            // What is written to the end of a log leaves its beginning as it was.
            if stat.modified != modified && stat.size <= size {
                return Err(io::Error::other("it changed while it was read; copy it again"));
            }
            return Ok(Piece::End(self.digest.digest()));
        }
        if self.at == self.data_end {
            let (begin, end) = next_data(&self.file, self.at, self.size)?.unwrap_or((self.size, self.size));
            self.data_end = end;
            if begin > self.at {
                return self.zeros(begin - self.at, stop);
            }
        }
        let most = usize::try_from(self.data_end - self.at).map_or(CHUNK, |most| most.min(CHUNK));
        let mut bytes = vec![0; most];
        let count = read_full(&self.file, &mut bytes, self.at)?;
        bytes.truncate(count);
        if count == 0 {
            return Err(shorter());
        }
        if self.is_sparse && bytes == ZEROS[..count] {
            return self.zeros(count as u64, stop);
        }
        self.digest.update(&bytes);
        self.at += count as u64;
        Ok(Piece::Bytes(Blob(bytes)))
    }

    fn zeros(&mut self, count: u64, stop: &AtomicBool) -> io::Result<Piece> {
        add_zeros(&mut self.digest, count, stop)?;
        self.at += count;
        Ok(Piece::Zeros(count))
    }
}

fn shorter() -> io::Error {
    io::Error::other("it became shorter while it was read; copy it again")
}

fn stopped() -> io::Error {
    io::Error::other("the copy was stopped")
}

/// Reads from a position on until the buffer is full or the file ends.
fn read_full(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        match file.read_at(&mut buffer[count..], at + count as u64) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

/// Adds so many zero bytes to a digest. Takes long for many.
pub(crate) fn add_zeros(digest: &mut Sum, count: u64, stop: &AtomicBool) -> io::Result<()> {
    let mut left = count;
    while left > 0 {
        if stop.load(Ordering::Relaxed) {
            return Err(stopped());
        }
        let some = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
        digest.update(&ZEROS[..some]);
        left -= some as u64;
    }
    Ok(())
}

/// The digest of the first bytes of a file.
pub(crate) fn digest_of(file: &File, size: u64, kind: SumKind, stop: &AtomicBool) -> io::Result<Sum> {
    let mut digest = Sum::new(kind);
    let mut buffer = vec![0; CHUNK];
    let mut left = size;
    while left > 0 {
        if stop.load(Ordering::Relaxed) {
            return Err(stopped());
        }
        let some = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
        let count = read_full(file, &mut buffer[..some], size - left)?;
        if count == 0 {
            return Err(shorter());
        }
        digest.update(&buffer[..count]);
        left -= count as u64;
    }
    Ok(digest)
}
