//! Files that are written beside their place and then renamed.
//!
//! A draft of the file `a` has the name `.a.offshoot-part`. Its writer holds a lock on it, so that another one sees
//! whether a draft is in use or was left by a process that was killed.

use std::fs::File;
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::unistd::geteuid;
use sha2::{Digest as _, Sha256};

use super::message::MAX_NAME;
use crate::sys::directory::{Directory, Kind, OWNER_ONLY, Stat, begin_to_disk, lock};

/// The end of the name of a draft.
const ENDING: &[u8] = b".offshoot-part";
/// The beginning of a file's name that the name of its draft has at most. Beside it there is room for two numbers.
const MAX_STEM: usize = MAX_NAME - ENDING.len() - 40;
/// A draft with at least as many bytes is kept if the copy is interrupted, so that the next one goes on. To send less
/// again takes little time.
pub(crate) const KEPT_FROM: u64 = 4 << 20;
/// So many bytes go to the disk together while the next ones are written. Otherwise the disk begins when all are there.
const BEGUN: u64 = 8 << 20;

/// Whether this is the name of a draft.
pub(crate) fn is_draft(name: &[u8]) -> bool {
    name.starts_with(b".") && name.ends_with(ENDING)
}

/// The name of a draft. `number` is for a further one, if others write the same file.
pub(crate) fn name_of(target: &[u8], number: Option<u32>) -> Vec<u8> {
    let stem = &target[..target.len().min(MAX_STEM)];
    let mut name = [b".", stem].concat();
    if stem.len() < target.len() {
        // Names with the same beginning are told apart.
        let digest = Sha256::digest(target);
        name.extend(digest.iter().take(8).flat_map(|byte| format!("{byte:02x}").into_bytes()));
    }
    if let Some(number) = number {
        name.extend_from_slice(format!(".{}-{number}", std::process::id()).as_bytes());
    }
    name.extend_from_slice(ENDING);
    name
}

/// A number for a name that nobody has.
fn further() -> u32 {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    COUNT.fetch_add(1, Ordering::Relaxed)
}

/// The drafts of one copy, so that they are removed when it ends, also from outside of its thread.
#[derive(Debug, Clone, Default)]
pub(crate) struct Drafts(Arc<Mutex<Names>>);

#[derive(Debug, Default)]
struct Names {
    /// Each with a number.
    open: Vec<(u64, Directory, Vec<u8>)>,
    next: u64,
    has_ended: bool,
}

impl Names {
    fn end(&mut self) {
        self.has_ended = true;
        for (_, directory, name) in std::mem::take(&mut self.open) {
            let _ = directory.remove(&name);
        }
    }
}

impl Drafts {
    fn lock(&self) -> MutexGuard<'_, Names> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes all drafts. No others can be made from now on.
    pub(crate) fn end(&self) {
        self.lock().end();
    }

    /// Does the same, unless a draft is being made.
    pub(crate) fn try_end(&self) -> bool {
        self.0.try_lock().is_ok_and(|mut names| {
            names.end();
            true
        })
    }

    /// Does something that makes a draft of this name, and notes the draft. Returns its number.
    fn note<T>(
        &self,
        directory: &Directory,
        name: &[u8],
        make: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<(T, u64)> {
        let mut names = self.lock();
        if names.has_ended {
            return Err(io::Error::other("the copy has ended"));
        }
        let made = make()?;
        let number = names.next;
        names.next += 1;
        names.open.push((number, directory.clone(), name.to_vec()));
        Ok((made, number))
    }

    /// Forgets a draft, which is then not removed. Returns whether it was still known.
    fn forget(&self, number: u64) -> bool {
        let mut names = self.lock();
        let at = names.open.iter().rposition(|(open, ..)| *open == number);
        at.map(|at| names.open.swap_remove(at)).is_some()
    }

    /// Makes something of another kind than a file under the name of a draft, and renames it.
    pub(crate) fn put(
        &self,
        directory: &Directory,
        target: &[u8],
        make: impl FnOnce(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let name = name_of(target, Some(further()));
        let ((), number) = self.note(directory, &name, || make(&name))?;
        let renamed = directory.rename(&name, target);
        // Two names of one file are not renamed over each other: both stay.
        if renamed.is_err() || directory.stat(&name)?.is_some() {
            let _ = directory.remove(&name);
        }
        self.forget(number);
        renamed
    }
}

/// A file that is not at its place yet.
#[derive(Debug)]
pub(crate) struct Draft {
    drafts: Drafts,
    directory: Directory,
    name: Vec<u8>,
    target: Vec<u8>,
    file: File,
    at: u64,
    /// What comes before goes to the disk already.
    begun: u64,
    /// Whether the file is shorter than what was written, because it ends with a hole.
    ends_with_hole: bool,
    /// Its number among the drafts that are removed. `None` if it stays when the copy is interrupted.
    number: Option<u64>,
}

impl Draft {
    /// Makes a draft, whatever a process that was killed has left. Only its owner can read it.
    pub(crate) fn new(drafts: &Drafts, directory: &Directory, target: &[u8]) -> io::Result<Self> {
        Self::named(drafts, directory, target, name_of(target, None), OWNER_ONLY)
    }

    /// Makes a draft with this mode that never stays, because nothing goes on with it.
    pub(crate) fn brief(drafts: &Drafts, directory: &Directory, target: &[u8], mode: u32) -> io::Result<Self> {
        Self::named(drafts, directory, target, name_of(target, Some(further())), mode)
    }

    fn named(drafts: &Drafts, directory: &Directory, target: &[u8], mut name: Vec<u8>, mode: u32) -> io::Result<Self> {
        loop {
            let made = drafts.note(directory, &name, || {
                let file = directory.create(&name, mode)?;
                // Another writer may have taken it for one that was left.
                if lock(&file)? && Stat::of(&file)?.links > 0 { Ok(Some(file)) } else { Ok(None) }
            });
            match made {
                Ok((Some(file), number)) => {
                    return Ok(Self::of(drafts, directory, (name, target), file, 0, Some(number)));
                }
                Ok((None, number)) => drop(drafts.forget(number)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    if left(directory, &name)?.is_some() {
                        directory.remove(&name)?;
                        continue;
                    }
                }
                Err(error) => return Err(error),
            }
            name = name_of(target, Some(further()));
        }
    }

    /// What was kept of a draft, if it is not in use and has at most as many bytes.
    pub(crate) fn kept(directory: &Directory, target: &[u8], most: u64) -> io::Result<Option<(File, u64)>> {
        let file = left(directory, &name_of(target, None))?;
        let sized = file.map(|file| Stat::of(&file).map(|stat| (file, stat.size))).transpose()?;
        Ok(sized.filter(|(_, size)| (KEPT_FROM..=most).contains(size)))
    }

    /// Goes on with a draft that was kept.
    pub(crate) fn resume(
        drafts: &Drafts,
        directory: &Directory,
        target: &[u8],
        (mut file, size): (File, u64),
    ) -> io::Result<Self> {
        let name = name_of(target, None);
        file.seek(SeekFrom::Start(size))?;
        Ok(Self::of(drafts, directory, (name, target), file, size, None))
    }

    fn of(
        drafts: &Drafts,
        directory: &Directory,
        (name, target): (Vec<u8>, &[u8]),
        file: File,
        at: u64,
        number: Option<u64>,
    ) -> Self {
        let (drafts, directory, target) = (drafts.clone(), directory.clone(), target.to_vec());
        Self { drafts, directory, name, target, file, at, begun: at, ends_with_hole: false, number }
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.at += bytes.len() as u64;
        self.ends_with_hole = false;
        if self.at - self.begun >= BEGUN {
            begin_to_disk(&self.file, self.begun, self.at);
            self.begun = self.at;
        }
        // Only under this name would it be found.
        if self.at >= KEPT_FROM
            && let Some(number) = self.number
            && self.name == name_of(&self.target, None)
        {
            self.drafts.forget(number);
            self.number = None;
        }
        Ok(())
    }

    /// Leaves a hole of this size.
    pub(crate) fn skip(&mut self, count: u64) -> io::Result<()> {
        self.at += count;
        self.file.seek(SeekFrom::Start(self.at))?;
        self.ends_with_hole = true;
        Ok(())
    }

    /// Ends the content.
    pub(crate) fn complete(&mut self) -> io::Result<()> {
        if self.ends_with_hole { self.file.set_len(self.at) } else { Ok(()) }
    }

    /// Removes the draft, also if it would be kept.
    pub(crate) fn discard(self) {
        let _ = self.directory.remove(&self.name);
    }

    /// Puts the file at its place. If that fails, the draft is removed: it would fail again.
    pub(crate) fn place(mut self) -> io::Result<()> {
        let placed = self.directory.rename(&self.name, &self.target);
        let was_removed = self.number.take().is_some_and(|number| !self.drafts.forget(number));
        if placed.is_err() && !was_removed {
            let _ = self.directory.remove(&self.name);
        }
        placed
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.number.is_some_and(|number| self.drafts.forget(number)) {
            let _ = self.directory.remove(&self.name);
        }
    }
}

/// Whether a file is a draft that another copy writes.
pub(crate) fn is_in_use(directory: &Directory, name: &[u8]) -> bool {
    directory.write(name).is_ok_and(|file| matches!(lock(&file), Ok(false)))
}

/// Opens and locks a draft that nobody uses. `None` if it is in use, or is none of ours.
fn left(directory: &Directory, name: &[u8]) -> io::Result<Option<File>> {
    // What cannot be opened is another user's, or something else under this name.
    let Ok(file) = directory.write(name) else { return Ok(None) };
    let stat = Stat::of(&file)?;
    let is_ours = stat.kind == Kind::File && stat.user == geteuid().as_raw() && stat.links == 1;
    if !is_ours || !lock(&file)? {
        return Ok(None);
    }
    // Its writer may have put it at its place meanwhile. Then the name belongs to nobody, or to another one.
    let is_there = directory.stat(name)?.is_some_and(|there| there.identity == stat.identity);
    Ok(is_there.then_some(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(place: &std::path::Path) -> Vec<String> {
        let name = |entry: io::Result<std::fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<_> = std::fs::read_dir(place).unwrap().map(name).collect();
        names.sort();
        names
    }

    #[test]
    fn a_draft_becomes_the_file_or_nothing() {
        let place = tempfile::tempdir().unwrap();
        let (directory, drafts) = (Directory::open(place.path()).unwrap(), Drafts::default());
        let mut draft = Draft::new(&drafts, &directory, b"a").unwrap();
        draft.write(b"new").unwrap();
        assert_eq!(names(place.path()), [".a.offshoot-part"]);
        assert!(is_in_use(&directory, b".a.offshoot-part"));
        draft.place().unwrap();
        assert!(!is_in_use(&directory, b"a"));
        let draft = Draft::new(&drafts, &directory, b"a").unwrap();
        drop(draft);
        assert_eq!(std::fs::read(place.path().join("a")).unwrap(), b"new");
        assert_eq!(names(place.path()), ["a"]);
        let _draft = Draft::new(&drafts, &directory, b"a").unwrap();
        drafts.end();
        assert_eq!(names(place.path()), ["a"]);
        assert!(Draft::new(&drafts, &directory, b"a").is_err(), "the copy has ended");
    }

    #[test]
    fn a_draft_in_use_is_left_alone_and_one_that_was_left_is_replaced() {
        let place = tempfile::tempdir().unwrap();
        let (directory, drafts) = (Directory::open(place.path()).unwrap(), Drafts::default());
        let first = Draft::new(&drafts, &directory, b"a").unwrap();
        let second = Draft::new(&drafts, &directory, b"a").unwrap();
        assert_eq!(names(place.path()).len(), 2);
        second.place().unwrap();
        first.place().unwrap();
        std::fs::write(place.path().join(".a.offshoot-part"), "left").unwrap();
        let third = Draft::new(&drafts, &directory, b"a").unwrap();
        assert_eq!(third.name, b".a.offshoot-part");
        third.place().unwrap();
        assert_eq!((names(place.path()), std::fs::read(place.path().join("a")).unwrap()), (vec!["a".into()], vec![]));
    }

    #[test]
    fn a_link_in_the_place_of_a_draft_is_not_followed() {
        let place = tempfile::tempdir().unwrap();
        let (directory, drafts) = (Directory::open(place.path()).unwrap(), Drafts::default());
        std::fs::write(place.path().join("precious"), "precious").unwrap();
        std::os::unix::fs::symlink("precious", place.path().join(".a.offshoot-part")).unwrap();
        std::fs::hard_link(place.path().join("precious"), place.path().join(".b.offshoot-part")).unwrap();
        for target in [b"a", b"b"] {
            let mut draft = Draft::new(&drafts, &directory, target).unwrap();
            draft.write(b"x").unwrap();
            draft.place().unwrap();
            assert!(Draft::kept(&directory, target, u64::MAX).unwrap().is_none());
        }
        assert_eq!(std::fs::read(place.path().join("precious")).unwrap(), b"precious");
    }

    #[test]
    fn a_large_draft_is_kept_and_gone_on_with() {
        let place = tempfile::tempdir().unwrap();
        let (directory, drafts) = (Directory::open(place.path()).unwrap(), Drafts::default());
        let mut draft = Draft::new(&drafts, &directory, b"a").unwrap();
        draft.write(&vec![1; KEPT_FROM as usize]).unwrap();
        assert!(Draft::kept(&directory, b"a", u64::MAX).unwrap().is_none(), "it is in use");
        drafts.end();
        drop(draft);
        assert!(Draft::kept(&directory, b"a", KEPT_FROM - 1).unwrap().is_none(), "it is too large");
        let kept = Draft::kept(&directory, b"a", KEPT_FROM).unwrap().unwrap();
        let mut draft = Draft::resume(&Drafts::default(), &directory, b"a", kept).unwrap();
        draft.write(b"end").unwrap();
        draft.skip(5).unwrap();
        draft.complete().unwrap();
        draft.place().unwrap();
        assert_eq!(std::fs::metadata(place.path().join("a")).unwrap().len(), KEPT_FROM + 8);
        assert_eq!(names(place.path()), ["a"]);
    }

    #[test]
    fn long_names_have_drafts_of_their_own() {
        let [one, two] = ["1", "2"].map(|end| name_of(("x".repeat(254) + end).as_bytes(), Some(u32::MAX)));
        assert!(one != two && one.len() <= MAX_NAME && is_draft(&one) && is_draft(&name_of(b"a", None)));
        assert!(!is_draft(b"a.offshoot-part") && !is_draft(b".a"));
    }
}
