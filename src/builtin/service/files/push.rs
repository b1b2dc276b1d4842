//! Files that are pushed down the tree.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;

use super::message::{Answer, FromHost, Refusal, received, sent};
use super::metadata::FileMetadata;
use super::places::Places;
use super::receiving::{Question, Sink, on_own_thread, receive};
use super::sending::{Opened, open_path, regular, send, unreadable};
use super::sinks::{FileSink, Keep, Mode, UnnamedSink};
use super::store::{Place, Store, Stored};
use super::to_caller;
use crate::api::context::Context;
use crate::api::econtext::Econtext;
use crate::api::router::Router;
use crate::api::sender::Sender;
use crate::builtin::file::tree::content::{Content, digest_of};
use crate::builtin::file::tree::message::{Digest, Piece, Start};
use crate::builtin::file::tree::sum::SumKind;
use crate::builtin::service::registry::Registry;
use crate::builtin::service::{Allow, Invoker, Service};
use crate::routing::policy::is_immediate_child;
use crate::sys::unnamed_file::unnamed_file;
use crate::wire::codec::Blob;
use crate::wire::error::{Error, FileErrorKind};
use crate::wire::message::ContextId;

/// Sends files down the tree.
///
/// Each context on the way stores a file and sends it on, so each link carries a file once, however many contexts
/// below want it, and whatever its paths are: files are told apart by their SHA-256. A child stores a file without a
/// name in its directory for temporary files (`$TMPDIR`), and no part of it in memory, unless that directory is in
/// memory. It has at most 256 files, until it ends or [forgets](PushFileService::forget) them. The context that pushes
/// reads its own file each time.
///
/// Clones are the same service.
///
/// ```
/// use std::io::Read;
/// use std::path::PathBuf;
/// use std::time::Duration;
///
/// use offshoot::service::{Pool, PushFileService};
/// use offshoot::{Econtext, Error, Router, export};
///
/// /// Runs in a child: waits for a file, and returns its content.
/// async fn content(econtext: &Econtext, path: PathBuf) -> Result<String, Error> {
///     let file = PushFileService::get_within(econtext.router(), path, Duration::from_secs(60)).await?;
///     let mut text = String::new();
///     file.open()?.read_to_string(&mut text)?;
///     Ok(text)
/// }
/// export!(content);
///
/// fn main() -> std::process::ExitCode {
///     offshoot::run(app)
/// }
///
/// async fn app(router: Router) -> Result<(), Error> {
/// #   let path = std::env::temp_dir().join(format!("offshoot-doc-push-{}", std::process::id()));
/// #   std::fs::write(&path, "colour = green\n")?;
///     let push = PushFileService::new();
///     Pool::new(&router).add(push.clone())?;
///     let hop = router.local().await?;
///     let children = [router.local().via(&hop).await?, router.local().via(&hop).await?];
///     // The child waits for the file, wherever it comes from.
///     let call = children[0].call(content, (path.clone(),));
///     for result in push.push_to_all(&path, &children).await? {
///         result?;
///     }
///     assert_eq!(call.await?, "colour = green\n");
/// #   std::fs::remove_file(path)?;
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone, Default)]
pub struct PushFileService {
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    store: Store,
    places: Places,
}

impl Service for PushFileService {
    const INVOKER: Invoker = Invoker::Io;

    fn activate(_: &Router) -> Option<Self> {
        Some(Self::new())
    }
}

crate::service!(PushFileService {
    take: Allow::Parents,
    parents: Allow::Parents,
    wait: Allow::Parents,
    forget: Allow::Parents,
    // A context fetches from the one above it, and has the digest from that one, or from one that is above both.
    hand_out: Allow::If(is_immediate_child),
});

impl PushFileService {
    /// A service with no files. The context that pushes adds it to its [`Pool`](crate::service::Pool); the others
    /// begin theirs by themselves. Does not block.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sends a file of this machine to a context below this one, which then has it under the same path. Waits until it
    /// is there. Dropping the future ends what has not begun. Code that is not async uses
    /// [`block_on`](crate::block_on).
    ///
    /// # Errors
    ///
    /// [`Error::File`] if the file cannot be read here, changes while it is sent, or cannot be stored on the way;
    /// [`Error::Misuse`] if the context is not below this one; and the errors of [`Context::call_service`].
    #[doc(alias = "propagate_to")]
    pub async fn push(&self, path: impl AsRef<Path>, target: &Context) -> Result<(), Error> {
        let results = self.push_to_all(path, std::slice::from_ref(target)).await?;
        results.into_iter().collect()
    }

    /// As [`PushFileService::push`], to several contexts at once. Returns how it has ended for each of them, in their
    /// order. Code that is not async uses [`block_on`](crate::block_on).
    ///
    /// # Errors
    ///
    /// [`Error::File`] if the file cannot be read here.
    pub async fn push_to_all(
        &self,
        path: impl AsRef<Path>,
        targets: &[Context],
    ) -> Result<Vec<Result<(), Error>>, Error> {
        self.push_as(&path, &path, targets).await
    }

    /// As [`PushFileService::push_to_all`], but the contexts have the content of the file `source` under `path`. Code that is not async uses
    /// [`block_on`](crate::block_on).
    ///
    /// # Errors
    ///
    /// [`Error::File`] if `source` cannot be read here.
    #[doc(alias = "overridden_source")]
    pub async fn push_as(
        &self,
        source: impl AsRef<Path>,
        path: impl AsRef<Path>,
        targets: &[Context],
    ) -> Result<Vec<Result<(), Error>>, Error> {
        let path = path.as_ref();
        let digest = self.offer(source.as_ref(), path).await?;
        let Some(router) = targets.first().map(Context::shared) else { return Ok(Vec::new()) };
        let asked: Vec<_> = targets.iter().map(|target| target.call_service(Self::parents, ())).collect();
        let mut ways = Vec::new();
        for (target, parents) in targets.iter().zip(asked) {
            ways.push(parents.await.and_then(|parents| way(target, &parents)));
        }
        let mut levels: BTreeMap<usize, HashMap<ContextId, ContextId>> = BTreeMap::new();
        for way in ways.iter().flatten() {
            for (depth, link) in way.windows(2).enumerate() {
                levels.entry(depth).or_default().insert(link[1], link[0]);
            }
        }
        let mut failed: HashMap<ContextId, Error> = HashMap::new();
        for links in levels.into_values() {
            let mut calls = Vec::new();
            for (to, from) in links {
                if let Some(error) = failed.get(&from).cloned() {
                    failed.insert(to, error);
                    continue;
                }
                let hop = Context::known(Arc::clone(router), to);
                calls.push((to, hop.call_service(Self::take, (sent(path), digest, from))));
            }
            for (to, call) in calls {
                let taken = call.await.and_then(|Answer(answer)| answer.map_err(|refusal| refusal.about(path)));
                failed.extend(taken.err().map(|error| (to, error)));
            }
        }
        let result = |way: Result<Vec<ContextId>, Error>| match way?.last().and_then(|target| failed.get(target)) {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        };
        Ok(ways.into_iter().map(result).collect())
    }

    /// Waits until a file with this path has been pushed to this context. The path is the one that it has where it
    /// comes from. If the file is pushed again with another content, this returns what was there at the time of the
    /// call. Cancel safe. Code that is not async uses [`block_on`](crate::block_on).
    ///
    /// # Errors
    ///
    /// [`Error::Channel`] if the context ends.
    pub async fn get(router: &Router, path: impl Into<PathBuf>) -> Result<PushedFile, Error> {
        let path = path.into();
        loop {
            // The call begins the service if it has not begun.
            let Answer(answer) = router.myself().call_service(Self::wait, (sent(&path),)).await?;
            answer.map_err(|refusal| refusal.about(&path))?;
            let instance = Registry::of(router.shared()).instance::<Self>(router);
            let (_, instance) = instance.map_err(|why| Error::Misuse(format!("PushFileService {why}")))?;
            // It may have been forgotten meanwhile.
            if let Some(stored) = instance.service.state.store.find(&path) {
                return Ok(PushedFile { path, stored });
            }
        }
    }

    /// As [`PushFileService::get`], but waits for at most `limit`. Cancel safe. Code that is not async uses
    /// [`block_on`](crate::block_on).
    ///
    /// # Errors
    ///
    /// As [`PushFileService::get`], and [`Error::Timeout`].
    pub async fn get_within(router: &Router, path: impl Into<PathBuf>, limit: Duration) -> Result<PushedFile, Error> {
        let myself = router.myself();
        myself.timeout(limit).within("the wait for a file", Self::get(router, path)).await
    }

    /// Forgets a file here. A context above calls it in others, by [`Context::call_service`]. Who reads the file can
    /// go on. Does not block.
    pub fn forget(&self, path: PathBuf) {
        self.state.store.forget(&path);
    }

    /// The contexts above this one, the parent first.
    fn parents(&self, econtext: &Econtext) -> Vec<ContextId> {
        econtext.parent_ids().to_vec()
    }

    async fn wait(&self, path: Blob) -> Answer {
        Answer(match received(&path) {
            Ok(path) => {
                self.state.store.wait(&path).await;
                Ok(())
            }
            Err(refusal) => Err(refusal),
        })
    }

    /// Makes a file of this machine known as `path`. Returns its digest.
    async fn offer(&self, source: &Path, path: &Path) -> Result<Digest, Error> {
        let place = source.to_owned();
        let (stored, digest) = on_own_thread(move |waited| {
            let read = || {
                let file = open_path(&place).map_err(|error| unreadable(&error))?;
                let metadata = regular(&file)?;
                let digest = digest_of(&file, metadata.size, SumKind::Sha256, &waited.stop)
                    .map_err(|error| unreadable(&error))?;
                Ok((metadata, digest.digest()))
            };
            let (metadata, digest) = read().map_err(|refusal: Refusal| refusal.about(&place))?;
            Ok((Stored { metadata, place: Place::Path(place) }, digest))
        })
        .await?;
        let named = self.state.store.slot(digest).and_then(|slot| {
            // Another file with this content may have changed or gone since.
            let is_kept = slot.get().is_some_and(|stored| !stored.may_change());
            let slot = if is_kept { slot } else { Arc::new(OnceCell::from(Arc::new(stored))) };
            self.state.store.name(path.to_owned(), digest, &slot)
        });
        named.map_err(|refusal| refusal.about(path)).map(|()| digest)
    }

    /// Fetches a file from the context above, unless it is there.
    async fn take(&self, econtext: &Econtext, path: Blob, digest: Digest, from: ContextId) -> Result<Answer, Error> {
        let path = match received(&path) {
            Ok(path) => path,
            Err(refusal) => return Ok(Answer(Err(refusal))),
        };
        let store = &self.state.store;
        let slot = match store.slot(digest) {
            Ok(slot) => slot,
            Err(refusal) => return Ok(Answer(Err(refusal))),
        };
        let fetched = slot.get_or_try_init(async || {
            let _turn = store.arriving.acquire().await;
            pull(econtext.router().context_by_id(from), path.clone(), digest).await.map(Arc::new)
        });
        match fetched.await {
            Ok(_) => Ok(Answer(store.name(path, digest, &slot))),
            Err(Error::File(error)) => Ok(Answer(Err(Refusal::new(error.kind, error.text)))),
            Err(error) => Err(error),
        }
    }

    /// Sends a file to the caller.
    async fn hand_out(&self, econtext: &Econtext, digest: Digest, has: Option<Start>, to: Sender<FromHost>) -> Answer {
        Answer(self.give(econtext, digest, has, &to).await)
    }

    async fn give(
        &self,
        econtext: &Econtext,
        digest: Digest,
        has: Option<Start>,
        to: &Sender<FromHost>,
    ) -> Result<(), Refusal> {
        to_caller(econtext, to)?;
        let forgotten = || Refusal::new(FileErrorKind::NotRegistered, "the context above has no such file any more");
        let stored = self.state.store.with(&digest).ok_or_else(forgotten)?;
        let places = &self.state.places;
        let _place = places.enter(econtext.caller_id()).await;
        send(places, to, move |stop| {
            let file = stored.open().map_err(|error| unreadable(&error))?;
            Opened::new(file, stored.metadata.clone(), has, stored.may_change(), stop)
        })
        .await
    }
}

/// The contexts from this one to `target`, both included.
fn way(target: &Context, parents: &[ContextId]) -> Result<Vec<ContextId>, Error> {
    let me = target.shared().me;
    let above = parents.iter().position(|parent| *parent == me).ok_or_else(|| {
        Error::Misuse(format!("{target} is not below this context; files are pushed down the tree only"))
    })?;
    let hops = parents[..=above].iter().rev().copied();
    Ok(hops.chain([target.id()]).collect())
}

/// Fetches a file from the context above into a file without a name.
async fn pull(above: Context, path: PathBuf, digest: Digest) -> Result<Stored, Error> {
    on_own_thread(move |waited| {
        let unwritable = |error: io::Error| Refusal::new(FileErrorKind::Unwritable, error.to_string()).about(&path);
        let mut sink = UnnamedSink::new(unnamed_file("pushed").map_err(unwritable)?);
        let stop = Arc::clone(&waited.stop);
        let question = Question { host: &above, path: &path, most: u64::MAX, stop: &stop };
        let ask = |has, to| above.call_service(PushFileService::hand_out, (digest, has, to));
        let (metadata, arrived) = waited.run(receive(question, ask, &mut sink))?;
        if arrived != digest {
            let text = "it changed after the push began; push it again";
            return Err(Refusal::new(FileErrorKind::Changed, text).about(&path));
        }
        Ok(Stored { metadata, place: Place::Unnamed(sink.file) })
    })
    .await
}

/// A file that was pushed to this context; [`PushFileService::get`] returns it.
///
/// [`PushFileService`] has an example.
#[derive(Debug, Clone)]
pub struct PushedFile {
    path: PathBuf,
    stored: Arc<Stored>,
}

impl PushedFile {
    /// What is known of the file where it comes from.
    pub fn metadata(&self) -> &FileMetadata {
        &self.stored.metadata
    }

    /// Opens the file for reading, from its begin. Several readers do not disturb each other. Reading blocks.
    ///
    /// # Errors
    ///
    /// If the system refuses. In the context that has pushed the file, also if the file has gone.
    pub fn open(&self) -> io::Result<PushedReader> {
        Ok(PushedReader { file: self.stored.open()?, size: self.stored.metadata.size, at: 0 })
    }

    /// Writes the file to a path of this machine, with the permissions that it has where it comes from. The file is
    /// there whole or not at all, also if the future is dropped, as by [`FileRequest::save`](crate::service::files::FileRequest::save). Code that is
    /// not async uses [`block_on`](crate::block_on).
    ///
    /// # Errors
    ///
    /// [`Error::File`] of the kind [`Unwritable`](FileErrorKind::Unwritable).
    pub async fn save(&self, path: impl Into<PathBuf>) -> Result<(), Error> {
        let (place, file) = (path.into(), self.clone());
        on_own_thread(move |waited| {
            let waits = Arc::clone(&waited.stop);
            let copy = async || {
                let keep = Keep { mode: Some(Mode::Same), times: false };
                let mut sink = FileSink::open(&place, keep, &waits)?;
                sink.begin(file.metadata(), 0)?;
                let mut content =
                    Content::new(file.stored.open()?, file.metadata().size, (None, SumKind::Sha256), &waits)?;
                loop {
                    match content.next(&waits)? {
                        Piece::Bytes(Blob(bytes)) => sink.write(&bytes).await?,
                        Piece::Zeros(count) => sink.zeros(count).await?,
                        _ => return sink.end(file.metadata()).await,
                    }
                }
            };
            let unwritable = |error: io::Error| {
                let text = format!("cannot write {}: {error}", place.display());
                Refusal::new(FileErrorKind::Unwritable, text).about(&file.path)
            };
            waited.run(async { copy().await.map_err(unwritable) })
        })
        .await
    }
}

/// Reads a file that was pushed; [`PushedFile::open`] returns it.
///
/// [`PushFileService`] has an example.
#[derive(Debug)]
pub struct PushedReader {
    file: File,
    size: u64,
    at: u64,
}

impl Read for PushedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for PushedReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (base, offset) = match to {
            SeekFrom::Start(at) => (at, 0),
            SeekFrom::End(offset) => (self.size, offset),
            SeekFrom::Current(offset) => (self.at, offset),
        };
        let before = || io::Error::new(io::ErrorKind::InvalidInput, "a position before the begin of the file");
        self.at = base.checked_add_signed(offset).ok_or_else(before)?;
        Ok(self.at)
    }
}
