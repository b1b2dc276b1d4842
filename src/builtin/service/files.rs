//! Services that give files out.
//!
//! [`FileService`] lives in the context that has files. Its program registers paths and directories, and every context
//! of the tree can fetch them. [`PushFileService`] sends files down the tree: each link carries a file once, however
//! many contexts below want it.
//!
//! ```
//! use offshoot::error::FileErrorKind;
//! use offshoot::service::{FileService, Pool};
//! use offshoot::{Context, Error, Router, export};
//!
//! /// Runs in a child: fetches a file from `host`, and returns the name of its owner there.
//! async fn install(host: Context, from: String, to: String) -> Result<Option<String>, Error> {
//!     let metadata = FileService::get(&host, from).keep_mode().keep_times().save(to).await?;
//!     Ok(metadata.owner)
//! }
//! export!(install);
//!
//! fn main() -> std::process::ExitCode {
//!     offshoot::run(app)
//! }
//!
//! async fn app(router: Router) -> Result<(), Error> {
//! #   let place = std::env::temp_dir().join(format!("offshoot-doc-files-{}", std::process::id()));
//! #   std::fs::create_dir(&place)?;
//! #   std::fs::write(place.join("app.conf"), "colour = green\n")?;
//!     let files = FileService::new();
//!     files.register_prefix(place.clone())?; // a directory: all that is beneath it
//!     Pool::new(&router).add(files)?;
//!     let child = router.local().await?;
//!     let path = |name| place.join(name).to_string_lossy().into_owned();
//!     child.call(install, (router.myself(), path("app.conf"), path("copy"))).await?;
//!     assert_eq!(std::fs::read(place.join("copy"))?, b"colour = green\n");
//!     // Every context can ask. Here the controller itself does, and gets anything.
//!     let host = router.myself();
//!     match FileService::get(&host, "/does/not/exist").read().await {
//!         Err(Error::File(error)) => assert_eq!(error.kind, FileErrorKind::Unreadable),
//!         other => panic!("{other:?}"),
//!     }
//! #   std::fs::remove_dir_all(place)?;
//!     Ok(())
//! }
//! ```
//!
//! # Who gets a file
//!
//! The context itself and those above it get every file. Other contexts get a file if its path is registered, or if it
//! is beneath a registered directory. Such a path is resolved beneath the directory: neither `..` nor a symbolic link
//! leads out of it, and an absolute link always leads out. Only regular files are given out.
//!
//! # How a file travels
//!
//! What is known of the file comes first, then its content, and then its SHA-256. A file that grows, shrinks or is
//! written to while it is sent is an error of the kind [`Changed`](crate::error::FileErrorKind::Changed), never a
//! wrong file. Each asker has 32 files at once, and all together have 256. Further requests wait, up to 1,024 of one
//! asker. An asker that ends, or drops the future, frees its places. A sender packs by zstd what becomes smaller by it,
//! as long as the other side takes less than 8 MiB in a second.

// - `access`: which files are given to whom; `places`: how many at once
// - `sending`: the side of the service; `receiving`, `arrival`, `sinks`, `request`: that of the asker
// - `push`, `store`: files that are pushed down the tree

mod access;
mod arrival;
mod message;
mod metadata;
mod places;
mod push;
mod receiving;
mod request;
mod sending;
mod sinks;
mod store;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::access::{Registered, clean};
pub(crate) use self::message::{Answer, FromHost};
use self::message::{Refusal, received};
use self::places::Places;
use self::sending::{Opened, send};
use crate::api::context::Context;
use crate::api::econtext::Econtext;
use crate::api::router::Router;
use crate::api::sender::Sender;
use crate::builtin::file::tree::message::Start;
use crate::builtin::service::{Allow, Invoker, Service};
use crate::wire::codec::Blob;
use crate::wire::error::{Error, FileErrorKind};

pub use self::metadata::FileMetadata;
pub use self::push::{PushFileService, PushedFile, PushedReader};
pub use self::request::FileRequest;

/// Gives files of its context to other contexts.
///
/// Clones are the same service: keep one to register further files, and add the other one to a
/// [`Pool`](crate::service::Pool). In a context where nobody has added it, it begins when a context above asks for the
/// first file. The methods can also be called from above, by [`Context::call_service`]. None of them blocks.
///
/// The [module](crate::service::files) has an example.
#[derive(Debug, Clone, Default)]
pub struct FileService {
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    registered: Mutex<Registered>,
    places: Places,
}

impl Service for FileService {
    const INVOKER: Invoker = Invoker::Io;

    fn activate(_: &Router) -> Option<Self> {
        Some(Self::new())
    }
}

crate::service!(FileService {
    register: Allow::Parents,
    register_prefix: Allow::Parents,
    unregister: Allow::Parents,
    fetch: Allow::Any,
});

impl FileService {
    /// A service with no files. Does not block.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets every context fetch the file at this path. The file need not exist yet. A symbolic link there is followed.
    /// Does not block.
    ///
    /// # Errors
    ///
    /// [`Error::Misuse`] if the path is not absolute, and [`Error::File`] of the kind
    /// [`TooMany`](FileErrorKind::TooMany) if 65,536 paths are registered.
    pub fn register(&self, path: PathBuf) -> Result<(), Error> {
        let path = absolute(&path)?;
        added(self.registered().add(path.clone()), &path)
    }

    /// Lets every context fetch the files beneath this directory, however deep, and those that come into it later. `/`
    /// stands for all files. Does not block.
    ///
    /// # Errors
    ///
    /// As [`FileService::register`].
    pub fn register_prefix(&self, directory: PathBuf) -> Result<(), Error> {
        let directory = absolute(&directory)?;
        added(self.registered().add_directory(directory.clone()), &directory)
    }

    /// Takes back what was registered under this path. Files that are being sent arrive. Does not block.
    ///
    /// # Errors
    ///
    /// [`Error::Misuse`] if the path is not absolute.
    pub fn unregister(&self, path: PathBuf) -> Result<(), Error> {
        self.registered().remove(&absolute(&path)?);
        Ok(())
    }

    /// Asks the service in the context `host` for a file. [`FileRequest`] says where it goes. Does not block.
    pub fn get(host: &Context, path: impl Into<PathBuf>) -> FileRequest {
        FileRequest::new(host, path.into())
    }

    /// Sends a file to the caller.
    async fn fetch(&self, econtext: &Econtext, path: Blob, has: Option<Start>, to: Sender<FromHost>) -> Answer {
        Answer(self.give(econtext, &path, has, &to).await)
    }

    async fn give(
        &self,
        econtext: &Econtext,
        path: &Blob,
        has: Option<Start>,
        to: &Sender<FromHost>,
    ) -> Result<(), Refusal> {
        to_caller(econtext, to)?;
        let path = received(path)?;
        let unregistered = || {
            let text = "it is not registered with FileService there; register its path, or a directory above it";
            Refusal::new(FileErrorKind::NotRegistered, text)
        };
        let path = clean(&path).ok_or_else(unregistered)?;
        let shared = econtext.shared();
        let authority = econtext.authority();
        let has_authority = authority == shared.me || shared.parent_ids().contains(&authority);
        let access = self.registered().decide(&path, has_authority).ok_or_else(unregistered)?;
        let places = &self.state.places;
        let _place = places.enter(econtext.caller_id()).await;
        send(places, to, move |stop| Opened::registered(&access, has, stop)).await
    }

    fn registered(&self) -> MutexGuard<'_, Registered> {
        self.state.registered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Checks that a sender leads to the caller. Otherwise a context could have files sent to a third one.
fn to_caller(econtext: &Econtext, to: &Sender<FromHost>) -> Result<(), Refusal> {
    if to.context() == econtext.caller_id() {
        return Ok(());
    }
    let text = format!("the sender leads to context {}, not to context {}", to.context(), econtext.caller_id());
    Err(Refusal::new(FileErrorKind::ForeignSender, text))
}

fn absolute(path: &Path) -> Result<PathBuf, Error> {
    clean(path).ok_or_else(|| Error::Misuse(format!("{}: a path that is registered must be absolute", path.display())))
}

fn added(is_added: bool, path: &Path) -> Result<(), Error> {
    if is_added {
        return Ok(());
    }
    let text = "too many paths are registered; register a directory above them";
    Err(Refusal::new(FileErrorKind::TooMany, text).about(path))
}

#[cfg(test)]
mod tests {
    use super::message::sent;
    use super::*;
    use crate::builtin::service::Pool;
    use crate::sys::blocking::block_on;
    use crate::wire::message::{ContextId, Handle};

    #[test]
    fn a_sender_that_leads_to_a_third_context_is_refused() {
        let router = Router::new().unwrap();
        Pool::new(&router).add(FileService::new()).unwrap();
        let myself = router.myself();
        let foreign = Sender::new(&router.context_by_id(ContextId(77)), Handle(5000));
        let call = myself.call_service(FileService::fetch, (sent(Path::new("/etc/passwd")), None, foreign));
        let Answer(answer) = block_on(call).unwrap();
        assert_eq!(answer.unwrap_err().kind, FileErrorKind::ForeignSender);
        router.blocking_shutdown();
    }

    #[test]
    fn clones_are_one_service_and_a_relative_path_is_misuse() {
        let files = FileService::new();
        files.clone().register_prefix("/srv".into()).unwrap();
        assert!(files.registered().decide(Path::new("/srv/a"), false).is_some());
        for result in [files.register("a".into()), files.register_prefix(".".into()), files.unregister("".into())] {
            assert!(matches!(result, Err(Error::Misuse(_))), "{result:?}");
        }
    }
}
