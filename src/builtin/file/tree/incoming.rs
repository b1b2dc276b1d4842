//! Files whose content arrives.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::rc::Rc;

use super::content::add_zeros;
use super::draft::Draft;
use super::message::{
    BATCH, CHUNK, Change, Digest, Entry, Piece, Start, Stop, UNANSWERED, Want, What, is_fatal, joined,
};
use super::packing::unpack;
use super::sum::Sum;
use super::target::Target;
use crate::sys::directory::{Directory, Stat, own, permit, stamp, to_disk};
use crate::wire::codec::Blob;

/// The most bytes of files that are complete and not at their places yet: about what a disk writes while the next files arrive.
const READY_BYTES: u64 = 16 << 20;

/// A file that was asked for.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) number: u64,
    pub(crate) directory: Rc<[u8]>,
    /// The name that it gets.
    pub(crate) name: Vec<u8>,
    pub(crate) entry: Entry,
    /// What it replaces.
    pub(crate) found: Option<Stat>,
    pub(crate) has: Option<Has>,
}

/// What is there of a wanted file.
#[derive(Debug)]
pub(crate) enum Has {
    /// A file of the same size.
    Whole(Digest, u64),
    /// What an interrupted copy has left, the number of its bytes, and their digest.
    Part((File, u64), Sum),
}

impl Wanted {
    fn path(&self) -> Vec<u8> {
        joined(&self.directory, &self.name)
    }

    fn size(&self) -> u64 {
        if let What::File { size } = self.entry.what { size } else { 0 }
    }

    /// How it is asked for.
    pub(crate) fn want(&self) -> Want {
        let has = self.has.as_ref().map(|has| match has {
            Has::Whole(digest, size) => Start { size: *size, digest: *digest },
            Has::Part((_, size), digest) => Start { size: *size, digest: digest.digest() },
        });
        Want { number: self.number, has }
    }
}

/// The file whose content arrives.
struct Current {
    wanted: Wanted,
    /// `None` if it cannot be written, or nothing is. Its content is then taken and dropped.
    draft: Option<Draft>,
    /// The digest of the file that is there, if it is the same.
    same: Option<Digest>,
    at: u64,
    digest: Sum,
}

/// A complete file that is not at its place yet.
struct Ready {
    draft: Draft,
    path: Vec<u8>,
    device: u64,
}

/// Files that were asked for.
#[derive(Default)]
pub(crate) struct Incoming {
    wanted: VecDeque<Wanted>,
    current: Option<Current>,
    ready: Vec<Ready>,
    ready_bytes: u64,
}

impl Incoming {
    /// Whether all that was asked for has arrived.
    pub(crate) fn is_complete(&self) -> bool {
        self.wanted.is_empty() && self.current.is_none()
    }

    /// The names of files in a directory that were asked for.
    pub(crate) fn names(&self, directory: &[u8]) -> Vec<Vec<u8>> {
        let here = self.wanted.iter().filter(|wanted| *wanted.directory == *directory);
        here.map(|wanted| wanted.name.clone()).collect()
    }

    /// Notes a file that is asked for.
    ///
    /// # Errors
    ///
    /// If the source lists more than it may before it sends anything.
    pub(crate) fn ask(&mut self, wanted: Wanted) -> Result<(), Stop> {
        // While it answers one message, the next ones are under way.
        if self.wanted.len() > (2 * UNANSWERED + 1) * BATCH {
            return Err(Stop::rule("the other side lists files, and sends none"));
        }
        self.wanted.push_back(wanted);
        Ok(())
    }

    /// Takes a piece.
    ///
    /// # Errors
    ///
    /// If it was not asked for, or nothing can be written any more.
    pub(crate) fn take(&mut self, target: &mut Target, piece: Piece) -> Result<(), Stop> {
        let Some(current) = &mut self.current else {
            let Piece::Begin { number, from } = piece else {
                return Err(Stop::rule("the other side sends content without a file"));
            };
            let wanted = self.wanted.pop_front().filter(|wanted| wanted.number == number);
            let wanted = wanted.ok_or_else(|| Stop::rule("the other side sends a file that is not wanted now"))?;
            self.current = Some(Current::begin(target, wanted, from)?);
            return Ok(());
        };
        match piece {
            Piece::Begin { .. } => Err(Stop::rule("the other side begins a file before the end of another one")),
            Piece::Bytes(bytes) => {
                if bytes.0.len() > CHUNK {
                    return Err(Stop::rule("the other side sends larger pieces than it may"));
                }
                current.grow(bytes.0.len() as u64)?;
                current.digest.update(&bytes.0);
                target.tally.bytes += bytes.0.len() as u64;
                current.write(target, |draft| draft.write(&bytes.0))
            }
            Piece::Packed { size, blocks } => {
                let bytes = unpack(size, &blocks);
                let bytes = bytes.ok_or_else(|| Stop::rule("the other side sends content that cannot be unpacked"))?;
                self.take(target, Piece::Bytes(Blob(bytes)))
            }
            Piece::Zeros(count) => {
                current.grow(count)?;
                add_zeros(&mut current.digest, count, &target.stop).map_err(|_| Stop::gone())?;
                current.write(target, |draft| draft.skip(count))
            }
            Piece::Broken(why) => {
                let current = self.current.take();
                let Some(Current { wanted, draft, .. }) = current else { return Ok(()) };
                // What could not be written has been told.
                if draft.is_some() || target.options.dry_run {
                    target.fault(&wanted.path(), why);
                }
                draft.into_iter().for_each(Draft::discard);
                Ok(())
            }
            Piece::End(digest) => {
                let Some(current) = self.current.take() else { return Ok(()) };
                self.end(target, current, digest)
            }
        }
    }

    /// Takes the end of a file.
    fn end(&mut self, target: &mut Target, current: Current, digest: Digest) -> Result<(), Stop> {
        let Current { wanted, draft, same, at, digest: here } = current;
        let path = wanted.path();
        if at != wanted.size() || same.unwrap_or_else(|| here.digest()) != digest {
            draft.into_iter().for_each(Draft::discard);
            target.refuse(&path, "its content was damaged on the way; copy it again");
            return Ok(());
        }
        if same.is_some() {
            return keep(target, &wanted);
        }
        if target.options.dry_run {
            target.may(Change::Write, &path);
        }
        let Some(mut draft) = draft else { return Ok(()) };
        let set = draft.complete().and_then(|()| {
            let owner = target.owners.to_set(&wanted.entry, wanted.found.as_ref());
            let file = draft.file();
            if owner != (None, None) {
                own(file, owner)?;
            }
            permit(file, target.mode(&wanted.entry))?;
            stamp(file, wanted.entry.modified)?;
            Ok(Stat::of(file)?.identity.0)
        });
        let Some(device) = target.check(&path, "write", set)? else { return Ok(()) };
        if self.ready.first().is_some_and(|first| first.device != device) {
            self.place(target)?;
        }
        self.ready_bytes += at;
        self.ready.push(Ready { draft, path, device });
        if self.ready.len() >= target.most_ready || self.ready_bytes >= READY_BYTES {
            self.place(target)?;
        }
        Ok(())
    }

    /// Puts all complete files at their places.
    pub(crate) fn place(&mut self, target: &mut Target) -> Result<(), Stop> {
        let ready = std::mem::take(&mut self.ready);
        self.ready_bytes = 0;
        let files: Vec<&File> = ready.iter().map(|ready| ready.draft.file()).collect();
        to_disk(&files).map_err(|error| {
            let first = ready.first().map_or(&[][..], |ready| &ready.path);
            Stop::at("bring to the disk", first, &error)
        })?;
        for Ready { draft, path, .. } in ready {
            if target.check(&path, "rename to", draft.place())?.is_some() {
                target.may(Change::Write, &path);
            }
        }
        Ok(())
    }
}

impl Current {
    fn begin(target: &mut Target, mut wanted: Wanted, from: u64) -> Result<Self, Stop> {
        let has = wanted.has.take();
        let is_offered = match &has {
            Some(Has::Whole(_, size) | Has::Part((_, size), _)) => from == *size,
            None => false,
        };
        if from != 0 && !is_offered {
            return Err(Stop::rule("the other side begins in the middle of a file"));
        }
        let (at, kind) = (from, target.options.sum());
        let kept = match has {
            Some(Has::Whole(digest, _)) if is_offered => {
                return Ok(Self { wanted, draft: None, same: Some(digest), at, digest: Sum::new(kind) });
            }
            Some(Has::Part(kept, digest)) if is_offered => Some((kept, digest)),
            // What was kept is released, so that it can be replaced.
            other => {
                drop(other);
                None
            }
        };
        if target.options.dry_run {
            // Its content was wanted for the comparison only.
            return Ok(Self { wanted, draft: None, same: None, at, digest: Sum::new(kind) });
        }
        let directory = target.directory(&wanted.directory);
        let begun = directory.and_then(|directory| match kept {
            Some((kept, digest)) => Ok((Draft::resume(&target.drafts, &directory, &wanted.name, kept)?, digest)),
            None => Ok((Draft::new(&target.drafts, &directory, &wanted.name)?, Sum::new(kind))),
        });
        let begun = target.check(&wanted.path(), "write", begun)?;
        let (draft, digest) = begun.map_or_else(|| (None, Sum::new(kind)), |(draft, digest)| (Some(draft), digest));
        Ok(Self { wanted, draft, same: None, at, digest })
    }

    /// Counts bytes that have arrived.
    fn grow(&mut self, count: u64) -> Result<(), Stop> {
        self.at = self.at.checked_add(count).filter(|at| *at <= self.wanted.size()).ok_or_else(|| {
            let path = self.wanted.path();
            Stop::rule(&format!("the other side sends more of {} than there was", String::from_utf8_lossy(&path)))
        })?;
        Ok(())
    }

    fn write(&mut self, target: &mut Target, write: impl FnOnce(&mut Draft) -> io::Result<()>) -> Result<(), Stop> {
        let Some(draft) = &mut self.draft else { return Ok(()) };
        let Err(error) = write(draft) else { return Ok(()) };
        // A full disk gets its room back; what was written is of no use there.
        self.draft.take().filter(|_| is_fatal(&error)).into_iter().for_each(Draft::discard);
        target.check(&self.wanted.path(), "write", Err::<(), _>(error)).map(drop)
    }
}

/// Keeps the content of a file, and adjusts the rest.
fn keep(target: &mut Target, wanted: &Wanted) -> Result<(), Stop> {
    let Some(found) = wanted.found else { return Ok(()) };
    let directory = target.directory(&wanted.directory);
    let path = wanted.path();
    if let Some(directory) = target.check(&path, "open", directory)? {
        adjust(target, &directory, (&path, &wanted.name), &wanted.entry, &found)?;
    }
    Ok(())
}

/// Gives something that has its content already the owner, mode and time of the entry, if it has others.
pub(crate) fn adjust(
    target: &mut Target,
    directory: &Directory,
    (path, name): (&[u8], &[u8]),
    entry: &Entry,
    found: &Stat,
) -> Result<(), Stop> {
    if !target.differs(entry, found) {
        target.tally.unchanged += 1;
        return Ok(());
    }
    if target.may(Change::Adjust, path) {
        let adjusted = target.adjust(directory, name, entry, Some(found));
        if target.check(path, "change mode, owner or time of", adjusted)?.is_none() {
            target.has_content(path);
        }
    }
    Ok(())
}
