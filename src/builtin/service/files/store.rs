//! The files that a context has for itself and for the contexts below.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OnceCell, Semaphore};

use super::message::Refusal;
use super::metadata::FileMetadata;
use super::sending::open_path;
use crate::builtin::file::tree::message::Digest;
use crate::wire::error::FileErrorKind;

/// The most files that are kept. Each has a descriptor open, and most systems allow 1,024.
const MAX_FILES: usize = 256;
/// The most paths by which they are known.
const MAX_PATHS: usize = 4096;
/// The most files that arrive at once. Each has a thread.
const MAX_ARRIVING: usize = 8;

/// A file that is there.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) metadata: FileMetadata,
    pub(super) place: Place,
}

#[derive(Debug)]
pub(super) enum Place {
    /// A file without a name. Nobody else writes to it.
    Unnamed(File),
    /// A file that was there before.
    Path(PathBuf),
}

impl Stored {
    /// Opens it for reading at positions. Others may read the same open file. Blocks.
    pub(super) fn open(&self) -> io::Result<File> {
        match &self.place {
            Place::Unnamed(file) => file.try_clone(),
            Place::Path(path) => open_path(path),
        }
    }

    /// Whether somebody else may change it.
    pub(super) fn may_change(&self) -> bool {
        matches!(self.place, Place::Path(_))
    }
}

/// The place of a file, which may not be there yet. Those that want it wait for the first of them, who fetches it.
pub(super) type Slot = Arc<OnceCell<Arc<Stored>>>;

/// The files of one context.
#[derive(Debug)]
pub(super) struct Store {
    files: Mutex<Files>,
    /// Told when a file is there.
    arrived: Notify,
    pub(super) arriving: Semaphore,
}

#[derive(Debug, Default)]
struct Files {
    paths: HashMap<PathBuf, Digest>,
    slots: HashMap<Digest, Slot>,
}

impl Default for Store {
    fn default() -> Self {
        Self { files: Mutex::default(), arrived: Notify::new(), arriving: Semaphore::new(MAX_ARRIVING) }
    }
}

impl Store {
    /// The place of the file with this digest.
    pub(super) fn slot(&self, digest: Digest) -> Result<Slot, Refusal> {
        let mut files = self.lock();
        files.tidy();
        if files.slots.len() >= MAX_FILES && !files.slots.contains_key(&digest) {
            let text = format!("{MAX_FILES} files are kept there; forget some of them, or push an archive");
            return Err(Refusal::new(FileErrorKind::TooMany, text));
        }
        Ok(Arc::clone(files.slots.entry(digest).or_default()))
    }

    /// Gives a file that is there a path. What had the path before is forgotten, unless it has another one.
    pub(super) fn name(&self, path: PathBuf, digest: Digest, slot: &Slot) -> Result<(), Refusal> {
        let mut files = self.lock();
        if files.paths.len() >= MAX_PATHS && !files.paths.contains_key(&path) {
            let text = format!("files are known by {MAX_PATHS} paths there; forget some of them");
            return Err(Refusal::new(FileErrorKind::TooMany, text));
        }
        files.paths.insert(path, digest);
        files.slots.insert(digest, Arc::clone(slot));
        files.tidy();
        drop(files);
        self.arrived.notify_waiters();
        Ok(())
    }

    /// The file with this digest.
    pub(super) fn with(&self, digest: &Digest) -> Option<Arc<Stored>> {
        self.lock().slots.get(digest)?.get().cloned()
    }

    /// The file with this path.
    pub(super) fn find(&self, path: &Path) -> Option<Arc<Stored>> {
        let files = self.lock();
        files.slots.get(files.paths.get(path)?)?.get().cloned()
    }

    /// Waits until there is a file with this path.
    pub(super) async fn wait(&self, path: &Path) {
        loop {
            let arrived = self.arrived.notified();
            if self.find(path).is_some() {
                return;
            }
            arrived.await;
        }
    }

    pub(super) fn forget(&self, path: &Path) {
        let mut files = self.lock();
        files.paths.remove(path);
        files.tidy();
    }

    fn lock(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Files {
    /// Drops what has no path and is not being fetched.
    fn tidy(&mut self) {
        let named: HashSet<&Digest> = self.paths.values().collect();
        self.slots.retain(|digest, slot| named.contains(digest) || Arc::strong_count(slot) > 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored() -> Arc<Stored> {
        let file = tempfile::tempfile().unwrap();
        Arc::new(Stored { metadata: FileMetadata::of(&file).unwrap(), place: Place::Unnamed(file) })
    }

    fn put(store: &Store, path: &str, digest: u8) -> Result<(), Refusal> {
        let slot = store.slot([digest; 32])?;
        let _ = slot.set(stored());
        store.name(path.into(), [digest; 32], &slot)
    }

    #[test]
    fn a_file_without_a_path_is_forgotten() {
        let store = Store::default();
        put(&store, "a", 1).unwrap();
        put(&store, "b", 1).unwrap();
        assert!(Arc::ptr_eq(&store.find(Path::new("a")).unwrap(), &store.with(&[1; 32]).unwrap()));
        put(&store, "a", 2).unwrap();
        assert!(store.with(&[1; 32]).is_some() && store.find(Path::new("b")).is_some(), "it has another path");
        store.forget(Path::new("b"));
        assert!(store.with(&[1; 32]).is_none() && store.with(&[2; 32]).is_some());
    }

    #[test]
    fn a_file_that_could_not_be_fetched_leaves_nothing() {
        let store = Store::default();
        for digest in 0..=u8::MAX {
            drop(store.slot([digest; 32]).unwrap());
        }
        let held: Vec<_> = (0..=u8::MAX).map(|digest| store.slot([digest; 32]).unwrap()).collect();
        assert_eq!(held.len(), MAX_FILES);
        let mut other = [0; 32];
        other[0] = 1;
        assert_eq!(store.slot(other).unwrap_err().kind, FileErrorKind::TooMany);
        drop(held);
        assert!(store.slot(other).is_ok());
    }
}
