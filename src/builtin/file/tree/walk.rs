//! Lists what a source has, directory by directory, without keeping it in memory.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use super::draft::is_draft;
use super::glob::Globs;
use super::message::{BATCH, Entry, Fault, Group, MAX_PATH, Options, Owner, What, joined};
use super::owners::name_of;
use crate::sys::directory::{Directory, Kind, Names, Stat};
use crate::wire::codec::Blob;
use crate::wire::error::IoError;

/// The most files with several names that are remembered. Further ones are copied as separate files.
const MAX_LINKED: usize = 1 << 20;

/// A directory of the source.
#[derive(Debug)]
pub(crate) struct Location {
    base: Directory,
    /// Its path below the root of the sink. The first bytes of it are the name of the base there.
    path: Vec<u8>,
    prefix: usize,
}

impl Location {
    pub(crate) fn open(&self) -> io::Result<Directory> {
        let below = &self.path[self.prefix..];
        self.base.below(below.strip_prefix(b"/").unwrap_or(below))
    }
}

/// A file that was listed.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    pub(crate) location: Rc<Location>,
    /// Its name at the source.
    pub(crate) name: Vec<u8>,
    pub(crate) size: u64,
    /// Whether the user has named it, so that a symbolic link is followed.
    pub(crate) is_named: bool,
}

/// One batch.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) owners: Vec<Owner>,
    pub(crate) groups: Vec<Group>,
    /// For each entry, the file if it is one.
    pub(crate) files: Vec<Option<Listed>>,
    pub(crate) faults: Vec<Fault>,
}

/// A directory that is being listed.
struct Reading {
    location: Rc<Location>,
    directory: Directory,
    names: Names,
    is_first: bool,
    is_complete: bool,
}

/// Lists trees and files.
pub(crate) struct Walk {
    globs: Globs,
    owners: bool,
    /// What the user has named, for the first batch.
    first: Option<Batch>,
    pending: Vec<Rc<Location>>,
    reading: Option<Reading>,
    /// The first name of files with several names.
    linked: HashMap<(u64, u64), (Rc<Location>, Vec<u8>)>,
    known: HashSet<(bool, u32)>,
}

/// Whether the content of a directory is meant, and not the directory.
pub(crate) fn means_content(path: &[u8]) -> bool {
    let last = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    matches!(last, b"" | b"." | b"..")
}

impl Walk {
    /// `sources` are the paths that the user has named. They may be symbolic links.
    pub(crate) fn new(sources: &[Blob], options: &Options) -> Self {
        let mut walk = Self {
            globs: Globs::new(&options.exclude),
            owners: options.owners,
            first: None,
            pending: Vec::new(),
            reading: None,
            linked: HashMap::new(),
            known: HashSet::new(),
        };
        let mut batch = Batch::default();
        let mut named = Vec::new();
        for Blob(path) in sources {
            if let Err(error) = walk.name(path, &mut named, &mut batch) {
                let why = IoError::while_doing("cannot read it", &error);
                batch.faults.push(Fault { path: Blob(path.clone()), why });
            }
        }
        if !named.is_empty() {
            let directory = Blob(Vec::new());
            batch.groups.push(Group { directory, entries: named, is_first: false, is_complete: false });
        }
        walk.first = Some(batch);
        walk
    }

    /// Adds something that the user has named.
    fn name(&mut self, bytes: &[u8], named: &mut Vec<Entry>, batch: &mut Batch) -> io::Result<()> {
        let path = Path::new(std::ffi::OsStr::from_bytes(bytes));
        if std::fs::metadata(path)?.is_dir() {
            let base = Directory::open(path)?;
            let name = if means_content(bytes) { &[][..] } else { path.file_name().unwrap_or_default().as_bytes() };
            if !name.is_empty() {
                named.push(self.entry(name, What::Directory, &Stat::of(&base)?, &mut batch.owners));
                batch.files.push(None);
            }
            self.pending.push(Rc::new(Location { base, path: name.to_vec(), prefix: name.len() }));
            return Ok(());
        }
        let name = path.file_name().unwrap_or_default().as_bytes();
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        let base = Directory::open(parent)?;
        let stat = Stat::of(base.read(name, true)?)?;
        if stat.kind != Kind::File {
            return Err(io::Error::other("it is a device, a socket or a pipe"));
        }
        named.push(self.entry(name, What::File { size: stat.size }, &stat, &mut batch.owners));
        let location = Rc::new(Location { base, path: Vec::new(), prefix: 0 });
        batch.files.push(Some(Listed { location, name: name.to_vec(), size: stat.size, is_named: true }));
        Ok(())
    }

    /// The next batch; `None` at the end.
    pub(crate) fn next(&mut self) -> Option<Batch> {
        if let Some(first) = self.first.take().filter(|first| !first.groups.is_empty() || !first.faults.is_empty()) {
            return Some(first);
        }
        let mut batch = Batch::default();
        while batch.files.len() + batch.groups.len() < BATCH && batch.faults.is_empty() {
            let Some(reading) = self.reading.take() else {
                let Some(location) = self.pending.pop() else { break };
                self.begin(location, &mut batch);
                continue;
            };
            self.read(reading, &mut batch);
        }
        (!batch.groups.is_empty() || !batch.faults.is_empty()).then_some(batch)
    }

    /// Begins to list a directory.
    fn begin(&mut self, location: Rc<Location>, batch: &mut Batch) {
        let opened = location.open().and_then(|directory| Ok((directory.names()?, directory)));
        match opened {
            Ok((names, directory)) => {
                self.reading = Some(Reading { location, directory, names, is_first: true, is_complete: true });
            }
            // It has gone since its name was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let why = IoError::while_doing("cannot read the directory", &error);
                batch.faults.push(Fault { path: Blob(location.path.clone()), why });
            }
        }
    }

    /// Adds a group with the next entries of a directory.
    fn read(&mut self, mut reading: Reading, batch: &mut Batch) {
        let mut entries = Vec::new();
        let mut is_over = true;
        while let Some(name) = reading.names.next() {
            // The system may repeat the error of a directory for ever.
            let is_broken = name.is_err();
            if let Err(error) = name.and_then(|name| self.add(&reading, &name, &mut entries, batch)) {
                let why = IoError::while_doing("cannot read what is in it", &error);
                batch.faults.push(Fault { path: Blob(reading.location.path.clone()), why });
                reading.is_complete = false;
                if is_broken {
                    break;
                }
            }
            if batch.files.len() >= BATCH || !batch.faults.is_empty() {
                is_over = false;
                break;
            }
        }
        let Reading { is_first, is_complete, .. } = reading;
        let directory = Blob(reading.location.path.clone());
        batch.groups.push(Group { directory, entries, is_first, is_complete: is_complete && is_over });
        if !is_over {
            self.reading = Some(Reading { is_first: false, ..reading });
        }
    }

    fn add(&mut self, reading: &Reading, name: &[u8], entries: &mut Vec<Entry>, batch: &mut Batch) -> io::Result<()> {
        if is_draft(name) {
            return Ok(());
        }
        // What has gone since the directory was read is not there.
        let Some(stat) = reading.directory.stat(name)? else { return Ok(()) };
        let location = &reading.location;
        if self.globs.match_entry(&joined(&location.path, name), name, stat.kind == Kind::Directory) {
            return Ok(());
        }
        let mut file = None;
        let what = match stat.kind {
            Kind::Directory if location.path.len() + 1 + name.len() > MAX_PATH => {
                return Err(io::Error::other(format!("the path of a directory has more than {MAX_PATH} bytes")));
            }
            Kind::Directory => {
                let (base, path, prefix) = (location.base.clone(), joined(&location.path, name), location.prefix);
                self.pending.push(Rc::new(Location { base, path, prefix }));
                What::Directory
            }
            Kind::Link => What::Symlink(Blob(reading.directory.symlink(name)?)),
            Kind::File => match self.other_name(location, name, &stat) {
                Some((directory, name)) => What::HardLink(Blob(directory), Blob(name)),
                None => {
                    let (location, name) = (Rc::clone(location), name.to_vec());
                    file = Some(Listed { location, name, size: stat.size, is_named: false });
                    What::File { size: stat.size }
                }
            },
            Kind::Other => What::Other,
        };
        entries.push(self.entry(name, what, &stat, &mut batch.owners));
        batch.files.push(file);
        Ok(())
    }

    /// The first name of a file that was listed under another name.
    fn other_name(&mut self, location: &Rc<Location>, name: &[u8], stat: &Stat) -> Option<(Vec<u8>, Vec<u8>)> {
        if stat.links < 2 {
            return None;
        }
        if let Some((location, name)) = self.linked.get(&stat.identity) {
            return Some((location.path.clone(), name.clone()));
        }
        if self.linked.len() < MAX_LINKED {
            self.linked.insert(stat.identity, (Rc::clone(location), name.to_vec()));
        }
        None
    }

    fn entry(&mut self, name: &[u8], what: What, stat: &Stat, owners: &mut Vec<Owner>) -> Entry {
        if self.owners {
            for (is_group, id) in [(false, stat.user), (true, stat.group)] {
                if self.known.insert((is_group, id))
                    && let Some(name) = name_of(is_group, id)
                {
                    owners.push(Owner { is_group, id, name });
                }
            }
        }
        let (mode, modified, user, group) = (stat.mode, stat.modified, stat.user, stat.group);
        Entry { name: Blob(name.to_vec()), what, mode, modified, user, group }
    }
}
