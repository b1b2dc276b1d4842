//! Asking a `FileService` for a file.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::io::AsyncWrite;

use super::FileService;
use super::message::{Refusal, sent};
use super::metadata::FileMetadata;
use super::receiving::{Question, Sink, Waited, on_own_thread, receive};
use super::sinks::{FileSink, Keep, Mode, WriterSink};
use crate::api::context::Context;
use crate::wire::error::{Error, FileErrorKind};

/// A request for a file; [`FileService::get`] makes it.
///
/// The [module](crate::service::files) has an example.
#[derive(Debug, Clone)]
#[must_use = "nothing is fetched before `save`, `read` or `copy_to`"]
pub struct FileRequest {
    host: Context,
    path: PathBuf,
    most: u64,
    limit: Option<Duration>,
    keep: Keep,
}

impl FileRequest {
    pub(super) fn new(host: &Context, path: PathBuf) -> Self {
        Self { host: host.clone(), path, most: u64::MAX, limit: None, keep: Keep::default() }
    }

    /// The time that the fetch may take, with the wait for a place. Default: no limit.
    pub fn timeout(self, limit: Duration) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// The largest file that is accepted, in bytes. Default: no limit.
    pub fn at_most(self, bytes: u64) -> Self {
        Self { most: bytes, ..self }
    }

    /// The mode that [`FileRequest::save`] gives the file, such as `0o644`. Default: that of the file that is
    /// replaced, and 0600 for a new file.
    pub fn mode(mut self, mode: u32) -> Self {
        self.keep.mode = Some(Mode::Given(mode & 0o7777));
        self
    }

    /// Lets [`FileRequest::save`] give the file the permissions that it has at the host, without the bits that set the
    /// user and the group.
    pub fn keep_mode(mut self) -> Self {
        self.keep.mode = Some(Mode::Same);
        self
    }

    /// Lets [`FileRequest::save`] give the file the times of modification and access that it has at the host.
    pub fn keep_times(mut self) -> Self {
        self.keep.times = true;
        self
    }

    /// Fetches the file to a path of this machine. The file is there whole or not at all: it is written beside its
    /// place, as `.NAME.offshoot-part`, compared with the SHA-256 that the host has computed, brought to the disk and
    /// renamed. Holes of the file stay holes. The owner is the user of this process; but a file that keeps the
    /// mode of the one that it replaces also keeps its owner and its group, if this process may set them.
    ///
    /// If the fetch is interrupted or the future is dropped, a part of at least 4 MiB stays. The next fetch to the
    /// same path sends only the rest, if the file at the host still begins with that part.
    ///
    /// A thread of its own does the work, so any executor can poll the future. Code that is not async uses
    /// [`block_on`](crate::block_on).
    ///
    /// # Errors
    ///
    /// - [`Error::File`] if the service refuses the file, the file changes while it is sent, or it cannot be written
    /// - [`Error::Timeout`] if there is a [limit](FileRequest::timeout)
    /// - the errors of [`Context::call_service`]
    pub async fn save(self, path: impl Into<PathBuf>) -> Result<FileMetadata, Error> {
        let (place, request, limit) = (path.into(), self.clone(), self.limit);
        let work = on_own_thread(move |waited: Waited| {
            let Self { host, path, most, keep, .. } = request;
            let stop = std::sync::Arc::clone(&waited.stop);
            let unwritable = |error| unwritable(&place, &error).about(&path);
            let mut sink = FileSink::open(&place, keep, &stop).map_err(unwritable)?;
            let question = Question { host: &host, path: &path, most, stop: &stop };
            waited.run(fetch(question, &mut sink))
        });
        self.within(limit, work).await
    }

    /// Fetches the file into memory. Dropping the future ends it. Code that is not async uses
    /// [`block_on`](crate::block_on).
    ///
    /// # Errors
    ///
    /// As [`FileRequest::save`].
    pub async fn read(self) -> Result<(Vec<u8>, FileMetadata), Error> {
        let mut content = Vec::new();
        let metadata = self.copy_to(&mut content).await?;
        Ok((content, metadata))
    }

    /// Fetches the file into what can be written to. After an error, a part of the file was written there. Keeps at
    /// most one window of it in memory (1 MiB). Dropping the future ends it. Code that is not async uses
    /// [`block_on`](crate::block_on).
    ///
    /// # Errors
    ///
    /// As [`FileRequest::save`].
    pub async fn copy_to(self, sink: impl AsyncWrite) -> Result<FileMetadata, Error> {
        let sink = pin!(sink);
        let (stop, limit) = (AtomicBool::new(false), self.limit);
        let question = Question { host: &self.host, path: &self.path, most: self.most, stop: &stop };
        let mut sink = WriterSink(sink);
        self.within(limit, fetch(question, &mut sink)).await
    }

    async fn within<T>(
        &self,
        limit: Option<Duration>,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        match limit {
            Some(limit) => self.host.timeout(limit).within("the fetch of a file", work).await,
            None => work.await,
        }
    }
}

async fn fetch(question: Question<'_>, sink: &mut impl Sink) -> Result<FileMetadata, Error> {
    let Question { host, path, .. } = question;
    let (metadata, _) =
        receive(question, |has, to| host.call_service(FileService::fetch, (sent(path), has, to)), sink).await?;
    Ok(metadata)
}

#[cold]
fn unwritable(place: &Path, error: &io::Error) -> Refusal {
    Refusal::new(FileErrorKind::Unwritable, format!("cannot write {}: {error}", place.display()))
}
