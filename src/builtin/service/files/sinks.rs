//! Where files go: a file beside its place, a file without a name, or what the user writes to.

use std::fs::{File, FileTimes};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::AtomicBool;

use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::metadata::FileMetadata;
use super::receiving::Sink;
use crate::builtin::file::replaced::Replaced;
use crate::builtin::file::tree::content::digest_of;
use crate::builtin::file::tree::draft::{Draft, Drafts};
use crate::builtin::file::tree::message::CHUNK;
use crate::builtin::file::tree::sum::{Sum, SumKind};
use crate::sys::directory::{Directory, OWNER_ONLY, permit, to_disk};

/// What a file gets besides its content.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Keep {
    pub(super) mode: Option<Mode>,
    pub(super) times: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Mode {
    /// The permissions that it has where it comes from.
    Same,
    Given(u32),
}

/// A file that is written beside its place and then renamed. All of it blocks.
pub(super) struct FileSink {
    directory: Directory,
    name: Vec<u8>,
    keep: Keep,
    replaced: Option<Replaced>,
    /// What an interrupted fetch has left: the file, its size and its digest.
    kept: Option<(File, u64, Sum)>,
    draft: Option<Draft>,
}

impl FileSink {
    /// Looks at the place of the file.
    pub(super) fn open(path: &Path, keep: Keep, stop: &AtomicBool) -> io::Result<Self> {
        let (directory, name) = Directory::of_file(path)?;
        let replaced = Replaced::at(&directory, name)?;
        let kept = match Draft::kept(&directory, name, u64::MAX)? {
            Some((file, size)) => {
                let digest = digest_of(&file, size, SumKind::Sha256, stop)?;
                Some((file, size, digest))
            }
            None => None,
        };
        Ok(Self { directory, name: name.to_vec(), keep, replaced, kept, draft: None })
    }

    fn draft(&mut self) -> io::Result<&mut Draft> {
        self.draft.as_mut().ok_or_else(|| io::Error::other("the file has not begun"))
    }
}

impl Sink for FileSink {
    fn has(&self) -> Option<(u64, Sum)> {
        self.kept.as_ref().map(|(_, size, digest)| (*size, digest.clone()))
    }

    fn begin(&mut self, _: &FileMetadata, from: u64) -> io::Result<()> {
        let kept = self.kept.take().filter(|_| from > 0);
        let draft = match kept {
            Some((file, size, _)) => Draft::resume(&Drafts::default(), &self.directory, &self.name, (file, size)),
            None => Draft::new(&Drafts::default(), &self.directory, &self.name),
        };
        self.draft = Some(draft?);
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.draft()?.write(bytes)
    }

    async fn zeros(&mut self, count: u64) -> io::Result<()> {
        self.draft()?.skip(count)
    }

    async fn end(&mut self, metadata: &FileMetadata) -> io::Result<()> {
        let (keep, replaced) = (self.keep, self.replaced);
        let draft = self.draft()?;
        draft.complete()?;
        let file = draft.file();
        permit(
            file,
            match keep.mode {
                // A program that runs as its owner would run as somebody who was not meant.
                Some(Mode::Same) => metadata.mode & 0o777,
                Some(Mode::Given(mode)) => mode,
                None => replaced.map_or(Ok(OWNER_ONLY), |replaced| replaced.hand_over(file))?,
            },
        )?;
        if keep.times {
            let times = FileTimes::new().set_modified(metadata.modified()).set_accessed(metadata.accessed());
            file.set_times(times)?;
        }
        to_disk(&[file])?;
        self.draft.take().map_or(Ok(()), Draft::place)
    }

    fn discard(&mut self) {
        if let Some(draft) = self.draft.take() {
            draft.discard();
        }
    }
}

/// A file without a name. All of it blocks.
pub(super) struct UnnamedSink {
    pub(super) file: File,
    /// Whether the file is shorter than what was written, because it ends with a hole.
    size: u64,
}

impl UnnamedSink {
    pub(super) fn new(file: File) -> Self {
        Self { file, size: 0 }
    }
}

impl Sink for UnnamedSink {
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.size += bytes.len() as u64;
        self.file.write_all(bytes)
    }

    async fn zeros(&mut self, count: u64) -> io::Result<()> {
        self.size += count;
        self.file.seek(SeekFrom::Start(self.size)).map(drop)
    }

    async fn end(&mut self, _: &FileMetadata) -> io::Result<()> {
        self.file.set_len(self.size)
    }
}

/// What the user writes to. It gets holes as zeros.
pub(super) struct WriterSink<'a, W>(pub(super) Pin<&'a mut W>);

impl<W: AsyncWrite> Sink for WriterSink<'_, W> {
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes).await
    }

    async fn zeros(&mut self, count: u64) -> io::Result<()> {
        static ZEROS: [u8; CHUNK] = [0; CHUNK];
        let mut left = count;
        while left > 0 {
            let some = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
            self.0.write_all(&ZEROS[..some]).await?;
            left -= some as u64;
        }
        Ok(())
    }

    async fn end(&mut self, _: &FileMetadata) -> io::Result<()> {
        self.0.flush().await
    }
}
