//! The place where a sink writes, and what it has done there.

use std::ffi::OsStr;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::decision::{is_same_time, mode};
use super::draft::Drafts;
use super::glob::Globs;
use super::message::{Change, Destination, Entry, Fault, Note, Options, Place, Reason, Stop, Tally, What, is_fatal};
use super::owners::Owners;
use super::system::System;
use crate::sys::directory::{Directory, Stat};
use crate::sys::hash::HashSet;
use crate::wire::codec::Blob;
use crate::wire::error::IoError;

/// Why nothing is deleted in a directory.
pub(crate) const ROOT: &str = "is the root of a system that runs; name a directory in it";

/// The most paths that are remembered because they were not copied.
const MOST_FAILED: usize = 1 << 20;

/// Takes what a sink has to tell.
pub(crate) type Notes = Box<dyn FnMut(Note) + Send>;

/// The place, and what is known of it.
pub(crate) struct Target {
    /// `None` if it is missing and nothing is changed.
    root: Option<Directory>,
    /// The name of the only file, if it is not the one that it has at the source.
    pub(crate) name: Option<Vec<u8>>,
    /// What the root becomes a copy of.
    pub(crate) copy: Option<Entry>,
    /// The directory that was used last, and its path.
    last: Option<(Vec<u8>, Directory)>,
    pub(crate) options: Options,
    pub(crate) globs: Globs,
    pub(crate) owners: Owners,
    pub(crate) drafts: Drafts,
    pub(crate) system: System,
    pub(crate) tally: Tally,
    /// The digests of the paths that were not copied.
    failed: HashSet<u64>,
    hasher: RandomState,
    pub(crate) stop: Arc<AtomicBool>,
    /// The most files that are complete and not at their places yet. Together they cost one wait for the disk. Each
    /// has a descriptor open.
    pub(crate) most_ready: usize,
    notes: Notes,
}

impl Target {
    /// Opens the place. Makes its last directory if it is missing.
    pub(crate) fn open(
        destination: Destination,
        options: Options,
        (drafts, most_ready): (Drafts, usize),
        (notes, stop): (Notes, Arc<AtomicBool>),
    ) -> Result<Self, Stop> {
        let Destination { path: Blob(bytes), place } = destination;
        let path = Path::new(OsStr::from_bytes(&bytes));
        let is_directory = path.is_dir();
        let (mut name, mut tally) = (None, Tally::default());
        let root = match &place {
            Place::Named if !is_directory => {
                name = path.file_name().map(|name| name.as_bytes().to_vec());
                path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
            }
            _ => path,
        };
        if !matches!(place, Place::Named) && !is_directory && !path.exists() {
            tally.made += 1;
            if !options.dry_run {
                std::fs::create_dir(path).map_err(|error| Stop::at("make the directory", &bytes, &error))?;
            }
        }
        let opened = match Directory::open(root) {
            Ok(directory) => Some(directory),
            Err(error) if error.kind() == ErrorKind::NotFound && options.dry_run => None,
            Err(error) => return Err(Stop::at("open the directory", root.as_os_str().as_bytes(), &error)),
        };
        #[cfg(any(feature = "cli", test))]
        let opened = match (opened, &place) {
            (Some(outer), Place::Below(Blob(name))) => below(&outer, name, (&bytes, &options), &mut tally)?,
            (opened, _) => opened,
        };
        let system = System::at(Path::new("/"));
        // Only the system knows which paths lead there. The name of a file means that nothing beside it is deleted.
        if options.delete && name.is_none() && opened.as_ref().is_some_and(|opened| system.is_root(opened)) {
            let path = String::from_utf8_lossy(&bytes);
            let text = format!("with --delete, {path} would lose all that the source does not have, and it {ROOT}");
            return Err(Stop::new(Reason::Permission, text));
        }
        // What becomes a copy gets its mode at the end. What the user has made for copies keeps the mode that it has.
        if let (Place::Copy(_), Some(opened), false) = (&place, &opened, options.dry_run) {
            opened.open_up(b".");
        }
        Ok(Self {
            root: opened,
            name,
            copy: if let Place::Copy(entry) = place { Some(entry) } else { None },
            last: None,
            globs: Globs::new(&options.exclude),
            owners: Owners::new(options.owners),
            options,
            drafts,
            system,
            tally,
            failed: HashSet::default(),
            hasher: RandomState::new(),
            stop,
            most_ready,
            notes,
        })
    }

    /// The directory at this path below the root.
    pub(crate) fn directory(&mut self, path: &[u8]) -> io::Result<Directory> {
        if let Some((last, directory)) = &self.last
            && last == path
        {
            return Ok(directory.clone());
        }
        let root = self.root.as_ref().ok_or(ErrorKind::NotFound)?;
        let directory = root.below(path)?;
        self.last = Some((path.to_vec(), directory.clone()));
        Ok(directory)
    }

    /// Notes that something was not copied.
    #[cold]
    pub(crate) fn fault(&mut self, path: &[u8], why: IoError) {
        self.tally.failed += 1;
        if self.failed.len() < MOST_FAILED {
            self.failed.insert(self.hasher.hash_one(path));
        }
        (self.notes)(Note::Fault(Fault { path: Blob(path.to_vec()), why }));
    }

    /// Notes that a rule forbids to copy something.
    #[cold]
    pub(crate) fn refuse(&mut self, path: &[u8], why: impl Into<String>) {
        self.fault(path, IoError::new(ErrorKind::Other, why));
    }

    /// Notes that what failed about a path was not its content.
    pub(crate) fn has_content(&mut self, path: &[u8]) {
        self.failed.remove(&self.hasher.hash_one(path));
    }

    /// Whether something with this path was not copied. If that is not known, it counts as such.
    pub(crate) fn has_failed(&self, path: &[u8]) -> bool {
        self.failed.len() == MOST_FAILED || self.failed.contains(&self.hasher.hash_one(path))
    }

    /// Whether nothing is changed, and there would otherwise be a directory at this path, which gives this error.
    pub(crate) fn would_be(&self, path: &[u8], error: &io::Error) -> bool {
        let would_be = match error.kind() {
            ErrorKind::NotFound => true,
            ErrorKind::NotADirectory => self.options.delete,
            _ => false,
        };
        let ends = || path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at).chain([path.len()]);
        self.options.dry_run && would_be && !ends().any(|end| end > 0 && self.has_failed(&path[..end]))
    }

    /// Notes an error about a path. Fails if nothing else can be written, either.
    pub(crate) fn check<T>(&mut self, path: &[u8], what: &str, result: io::Result<T>) -> Result<Option<T>, Stop> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) => self.failed(path, what, &error).map(|()| None),
        }
    }

    // Not inlined, since it would be once for each type.
    #[cold]
    #[inline(never)]
    fn failed(&mut self, path: &[u8], what: &str, error: &io::Error) -> Result<(), Stop> {
        if is_fatal(error) {
            return Err(Stop::at(what, path, error));
        }
        self.fault(path, IoError::while_doing(&format!("cannot {what} it"), error));
        Ok(())
    }

    /// Notes something that is changed. Returns whether to change it.
    pub(crate) fn may(&mut self, change: Change, path: &[u8]) -> bool {
        let count = match change {
            Change::Write => &mut self.tally.written,
            Change::Make => &mut self.tally.made,
            Change::Adjust => &mut self.tally.adjusted,
            Change::Delete => &mut self.tally.deleted,
        };
        *count += 1;
        if self.options.dry_run {
            (self.notes)(Note::Would(change, Blob(path.to_vec())));
        }
        !self.options.dry_run
    }

    /// The mode of a copy.
    pub(crate) fn mode(&self, entry: &Entry) -> u32 {
        mode(entry, self.owners.own(entry))
    }

    /// Whether mode, time or owner of a file or directory are not those of the entry.
    pub(crate) fn differs(&self, entry: &Entry, stat: &Stat) -> bool {
        let (user, group) = self.owners.to_set(entry, Some(stat));
        let has_owner = user.is_none_or(|user| user == stat.user) && group.is_none_or(|group| group == stat.group);
        // The mode of a symbolic link means nothing.
        let has_mode = matches!(entry.what, What::Symlink(_)) || stat.mode == self.mode(entry);
        !has_owner || !has_mode || !is_same_time(entry.modified, stat.modified)
    }

    /// Gives a name the owner, mode and time of the entry.
    pub(crate) fn adjust(
        &self,
        directory: &Directory,
        name: &[u8],
        entry: &Entry,
        stat: Option<&Stat>,
    ) -> io::Result<()> {
        let owner = self.owners.to_set(entry, stat);
        if owner != (None, None) && stat.is_none_or(|stat| owner != (Some(stat.user), Some(stat.group))) {
            directory.own(name, owner)?;
        }
        if !matches!(entry.what, What::Symlink(_)) {
            directory.permit(name, self.mode(entry))?;
        }
        directory.stamp(name, entry.modified)
    }

    /// Gives the root the owner, mode and time of what it is a copy of.
    pub(crate) fn adjust_root(&self) -> io::Result<()> {
        let (Some(root), Some(entry)) = (&self.root, &self.copy) else { return Ok(()) };
        self.adjust(root, b".", entry, Some(&Stat::of(root)?))
    }
}

/// The directory of this name in another one, whose path is `path`. It is made if it is missing; `None` if it is missing and
/// nothing is changed.
#[cfg(any(feature = "cli", test))]
fn below(
    outer: &Directory,
    name: &[u8],
    (path, options): (&[u8], &Options),
    tally: &mut Tally,
) -> Result<Option<Directory>, Stop> {
    let failed = |what, error: &io::Error| Stop::at(what, &super::message::joined(path, name), error);
    if outer.stat(name).map_err(|error| failed("look at", &error))?.is_none() {
        tally.made += 1;
        if options.dry_run {
            return Ok(None);
        }
        outer.make_for_all(name).map_err(|error| failed("make the directory", &error))?;
    }
    outer.below(name).map(Some).map_err(|error| failed("open the directory", &error))
}
