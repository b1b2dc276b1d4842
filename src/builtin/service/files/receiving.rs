//! The side that asks for a file.

use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::oneshot;

use super::arrival::{Arrival, Step};
use super::message::{Answer, FromHost, Refusal};
use super::metadata::FileMetadata;
use crate::api::call::Call;
use crate::api::context::Context;
use crate::api::receiver::Receiver;
use crate::api::sender::Sender;
use crate::builtin::file::tree::message::{Digest, Start};
use crate::builtin::file::tree::sum::Sum;
use crate::sys::blocking::block_on;
use crate::wire::error::{Error, FileErrorKind, IoError};

/// Where a file goes.
pub(super) trait Sink {
    /// What is there of it already, and the digest of that.
    fn has(&self) -> Option<(u64, Sum)> {
        None
    }

    /// The file begins, after so many bytes.
    fn begin(&mut self, _metadata: &FileMetadata, _from: u64) -> io::Result<()> {
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// So many zero bytes follow.
    async fn zeros(&mut self, count: u64) -> io::Result<()>;

    /// All is there, and is what was sent.
    async fn end(&mut self, metadata: &FileMetadata) -> io::Result<()>;

    /// What has arrived is of no use.
    fn discard(&mut self) {}
}

/// A request for a file.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    /// The context that has the file.
    pub(super) host: &'a Context,
    /// How the file is called in errors.
    pub(super) path: &'a Path,
    /// The largest size that is accepted.
    pub(super) most: u64,
    /// Whether the wait is over.
    pub(super) stop: &'a AtomicBool,
}

/// Receives a file into a sink. `ask` makes the call. Returns also the digest of the file.
pub(super) async fn receive(
    question: Question<'_>,
    ask: impl FnOnce(Option<Start>, Sender<FromHost>) -> Call<Answer>,
    sink: &mut impl Sink,
) -> Result<(FileMetadata, Digest), Error> {
    let Question { host, path, most, stop } = question;
    let messages: Receiver<FromHost> = Receiver::from_context(host.shared(), host.id(), true);
    let has = sink.has();
    let start = has.clone().map(|(size, digest)| Start { size, digest: digest.digest() });
    let mut call = ask(start, messages.sender());
    let mut is_answered = false;
    let mut arrival: Option<Arrival> = None;
    let unstored = |error: io::Error| Refusal::new(FileErrorKind::Unwritable, error.to_string()).about(path);
    let mut has = Some(has);
    loop {
        let message = tokio::select! {
            biased;
            message = messages.recv() => message?,
            answer = &mut call, if !is_answered => {
                let Answer(answer) = answer?;
                if let Err(refusal) = answer {
                    // What has arrived of a file that has changed is no part of it.
                    if refusal.kind == FileErrorKind::Changed {
                        sink.discard();
                    }
                    return Err(refusal.about(path));
                }
                is_answered = true;
                continue;
            }
        };
        let Some(arrival) = &mut arrival else {
            let (begun, from) =
                Arrival::begin(message, has.take().flatten(), most).map_err(|refusal| refusal.about(path))?;
            sink.begin(&begun.metadata, from).map_err(unstored)?;
            arrival = Some(begun);
            continue;
        };
        let step = arrival.take(message, stop).map_err(|refusal| {
            if refusal.kind == FileErrorKind::Damaged {
                sink.discard();
            }
            refusal.about(path)
        })?;
        match step {
            Step::Write(bytes) => sink.write(&bytes).await.map_err(unstored)?,
            Step::Zeros(count) => sink.zeros(count).await.map_err(unstored)?,
            Step::End(digest) => {
                sink.end(&arrival.metadata).await.map_err(unstored)?;
                return Ok((arrival.metadata.clone(), digest));
            }
        }
    }
}

/// Runs work that blocks on a thread of its own, and waits for it. If the wait ends, the work is told so and ends
/// soon.
pub(super) async fn on_own_thread<T: Send + 'static>(
    work: impl FnOnce(Waited) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let (done, result) = oneshot::channel();
    let (waits, has_gone) = oneshot::channel();
    let stop = Arc::new(AtomicBool::new(false));
    let _waits = Waits { stop: Arc::clone(&stop), _waits: waits };
    let waited = Waited { stop, has_gone };
    std::thread::Builder::new()
        .name("offshoot-file".into())
        .spawn(move || drop(done.send(work(waited))))
        .map_err(|error| Error::Io(IoError::while_doing("no thread for a file", &error)))?;
    result.await.unwrap_or_else(|_| Err(Error::Misuse("a fault of this program: the fetch of a file panicked".into())))
}

/// Tells a thread that nobody waits for it any more, when it is dropped.
struct Waits {
    stop: Arc<AtomicBool>,
    _waits: oneshot::Sender<()>,
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// How a thread sees that nobody waits for it any more.
pub(super) struct Waited {
    pub(super) stop: Arc<AtomicBool>,
    has_gone: oneshot::Receiver<()>,
}

impl Waited {
    /// Runs a future as long as somebody waits.
    pub(super) fn run<T>(mut self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        block_on(async {
            tokio::select! {
                result = work => result,
                _ = &mut self.has_gone => Err(Error::Misuse("nobody waits for the file any more".into())),
            }
        })
    }
}
