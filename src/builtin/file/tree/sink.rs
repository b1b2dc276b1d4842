//! The side that gets files: compares what the source has with what is there, and writes what differs.
//!
//! It takes messages and gives answers. `drive` connects it to the other side.

use std::collections::HashSet;
use std::io;
use std::rc::Rc;

use super::content::digest_of;
use super::decision::{Found, Step, check, check_path, decide};
use super::deferred::Deferred;
use super::draft::{Draft, KEPT_FROM, is_draft, is_in_use, name_of};
use super::incoming::{Has, Incoming, Wanted, adjust};
use super::message::{
    BATCH, CHUNK, Change, Entry, Fault, Group, Outcome, Piece, Reason, Stop, Tally, ToSink, ToSource, Watch, What,
    joined,
};
use super::target::{ROOT, Target};
use crate::api::receiver::Receiver;
use crate::api::sender::Sender;
use crate::sys::directory::{Directory, Kind, Stat};
use crate::wire::error::IoError;

/// The most entries of one copy. Without a limit, a source that lists without end would never be done.
pub(crate) const MOST_ENTRIES: u64 = 10_000_000;
/// The deepest tree that is removed: each directory on the way down needs a descriptor.
const DEEPEST: u32 = 200;

/// The state of a sink.
pub(crate) struct Sink {
    target: Target,
    incoming: Incoming,
    deferred: Deferred,
    /// What is in the directory that is being listed and was not listed yet, if that is to be deleted.
    rest: Option<(Vec<u8>, HashSet<Vec<u8>>)>,
    /// The number of the next entry.
    number: u64,
    most: u64,
}

impl Sink {
    /// `most` is the number of entries that the source may list.
    pub(crate) fn new(target: Target, most: u64) -> Self {
        let (incoming, deferred) = (Incoming::default(), Deferred::default());
        Self { target, incoming, deferred, rest: None, number: 0, most }
    }

    pub(crate) fn tally(&self) -> Tally {
        self.target.tally
    }

    /// Takes a message, and returns the answer to it. `is_over` of the pair: whether all is done.
    ///
    /// # Errors
    ///
    /// If the source does not keep to the rules, or nothing can be written any more.
    pub(crate) fn take(&mut self, message: ToSink) -> Result<(Option<ToSource>, bool), Stop> {
        let taken = self.handle(message);
        // What has arrived whole has its room on the disk.
        if matches!(&taken, Err(Stop { reason: Reason::NoSpace, .. })) {
            let _ = self.incoming.place(&mut self.target);
        }
        taken
    }

    fn handle(&mut self, message: ToSink) -> Result<(Option<ToSource>, bool), Stop> {
        match message {
            ToSink::Owner(owner) => self.target.owners.learn(&owner),
            ToSink::Fault(Fault { path, why }) => self.target.fault(&path.0, why),
            ToSink::Entries(groups) => return self.compare(groups).map(|answer| (Some(answer), false)),
            ToSink::Pieces(pieces) => {
                // Packed pieces hardly fill a message, and have to be written all the same.
                if pieces.iter().map(Piece::content).fold(0, usize::saturating_add) > 2 * CHUNK {
                    return Err(Stop::rule("the other side sends more at once than it may"));
                }
                for piece in pieces {
                    self.incoming.take(&mut self.target, piece)?;
                }
            }
            ToSink::End => {
                if !self.incoming.is_complete() {
                    return Err(Stop::rule("the other side has not sent all that was wanted"));
                }
                self.incoming.place(&mut self.target)?;
                std::mem::take(&mut self.deferred).finish(&mut self.target)?;
                return Ok((None, true));
            }
        }
        Ok((None, false))
    }

    /// Compares entries with what is there.
    fn compare(&mut self, groups: Vec<Group>) -> Result<ToSource, Stop> {
        let count: usize = groups.iter().map(|group| group.entries.len()).sum();
        if groups.len() > BATCH || count > BATCH {
            return Err(Stop::rule("the other side lists more at once than it may"));
        }
        let mut wants = Vec::new();
        for group in groups {
            let path = &group.directory.0;
            check_path(path).map_err(|why| Stop::rule(&why))?;
            let directory = match self.target.directory(path) {
                Ok(directory) => Some(directory),
                Err(error) if self.target.would_be(path, &error) => None,
                Err(error) => {
                    // Why it could not be made was told already, mostly.
                    if group.is_first {
                        self.target.fault(path, IoError::while_doing("cannot open the directory", &error));
                    }
                    self.number += group.entries.len() as u64;
                    continue;
                }
            };
            self.list_rest(&group, directory.as_ref());
            let path: Rc<[u8]> = path.as_slice().into();
            for entry in group.entries {
                check(&path, &entry).map_err(|why| Stop::rule(&why))?;
                if self.number >= self.most {
                    let text = format!("the other side lists more than {} names; copy parts of the tree", self.most);
                    return Err(Stop::rule(&text));
                }
                if let Some((_, rest)) = &mut self.rest {
                    rest.remove(&entry.name.0);
                }
                let number = self.number;
                self.number += 1;
                if matches!(entry.what, What::Other) {
                    self.target.tally.left_out += 1;
                    continue;
                }
                if let Some(wanted) = self.entry(number, &path, directory.as_ref(), entry)? {
                    wants.push(wanted.want());
                    self.incoming.ask(wanted)?;
                }
            }
            if group.is_complete
                && let (Some(directory), Some((_, rest))) = (directory, self.rest.take())
            {
                self.delete(&path, &directory, rest)?;
            }
        }
        Ok(ToSource(wants))
    }

    /// Notes what is in a directory whose list begins.
    fn list_rest(&mut self, group: &Group, directory: Option<&Directory>) {
        if group.is_first
            && self.target.options.delete
            && directory.is_some_and(|directory| self.target.system.is_root(directory))
        {
            self.target.refuse(&group.directory.0, format!("nothing is deleted in it: it {ROOT}"));
            self.rest = None;
        } else if group.is_first && self.target.options.delete {
            // What cannot be listed is not deleted.
            let names = directory.and_then(|directory| directory.names().ok()?.collect::<io::Result<_>>().ok());
            self.rest = names.map(|names| (group.directory.0.clone(), names));
        }
        if self.rest.as_ref().is_some_and(|(path, _)| *path != group.directory.0) {
            self.rest = None;
        }
    }

    /// Does what is to be done with an entry. Returns the file that has to be asked for.
    fn entry(
        &mut self,
        number: u64,
        path: &Rc<[u8]>,
        directory: Option<&Directory>,
        mut entry: Entry,
    ) -> Result<Option<Wanted>, Stop> {
        if let Some(name) = &self.target.name {
            entry.name.0.clone_from(name);
        }
        let (name, whole) = (entry.name.0.clone(), joined(path, &entry.name.0));
        let looked = directory.map_or(Ok(None), |directory| look(directory, &name));
        let Some(found) = self.target.check(&whole, "look at", looked)? else { return Ok(None) };
        let (mut stat, there) = found.map_or((None, None), |(stat, there)| (Some(stat), there));
        let found = stat.as_ref().map(|stat| Found { stat, target: there.as_deref() });
        let mut step = decide(&entry, found, self.target.options.checksum);
        if let (Step::Replace(_), Some(directory)) = (step, directory)
            && self.rest.as_ref().is_some_and(|(deleted, _)| **deleted == **path)
            && !self.is_excluded(directory, &whole, &name)
            && self.holds_excluded(directory, &whole, &name, DEEPEST).is_none()
        {
            self.delete_one(directory, &whole, &name, DEEPEST)?;
            // It may be mounted, so that it stays.
            if self.target.options.dry_run || matches!(directory.stat(&name), Ok(None)) {
                (step, stat) = (decide(&entry, None, false), None);
            }
        }
        match (step, directory) {
            (Step::Refuse(why) | Step::Replace(why), _) => self.target.refuse(&whole, why),
            (Step::Keep, Some(directory)) => self.keep(directory, (path, &whole), entry, stat)?,
            (Step::Make, _) if matches!(entry.what, What::HardLink(..)) => self.deferred.keep(path, entry)?,
            (Step::Make, directory) => {
                if self.target.may(Change::Make, &whole)
                    && let Some(directory) = directory
                {
                    self.make(directory, (path, &whole), entry)?;
                }
            }
            (Step::Fetch, _) if self.target.options.dry_run => drop(self.target.may(Change::Write, &whole)),
            (Step::Fetch | Step::Compare, Some(directory)) => {
                let has = match step {
                    Step::Compare => self.whole(directory, &name, &stat),
                    _ => self.part(directory, &entry),
                };
                let directory = Rc::clone(path);
                let Some(has) = self.target.check(&whole, "read", has)? else { return Ok(None) };
                return Ok(Some(Wanted { number, directory, name, entry, found: stat, has }));
            }
            (Step::Keep | Step::Fetch | Step::Compare, None) => {}
        }
        Ok(None)
    }

    /// Keeps what is there, with the owner, mode and time of the entry.
    fn keep(
        &mut self,
        directory: &Directory,
        (path, whole): (&[u8], &[u8]),
        entry: Entry,
        stat: Option<Stat>,
    ) -> Result<(), Stop> {
        let Some(stat) = stat else { return Ok(()) };
        if !matches!(entry.what, What::Directory) {
            return adjust(&mut self.target, directory, (whole, &entry.name.0), &entry, &stat);
        }
        if self.target.differs(&entry, &stat) {
            self.target.may(Change::Adjust, whole);
        }
        // It gets the mode of the entry at the end.
        if !self.target.options.dry_run {
            directory.open_up(&entry.name.0);
        }
        self.deferred.keep(path, entry)
    }

    /// Makes a directory or a symbolic link.
    fn make(&mut self, directory: &Directory, (path, whole): (&[u8], &[u8]), entry: Entry) -> Result<(), Stop> {
        let name = &entry.name.0;
        let made = match &entry.what {
            What::Symlink(leads) => {
                let made = self.target.drafts.put(directory, name, |draft| directory.make_symlink(draft, &leads.0));
                made.and_then(|()| self.target.adjust(directory, name, &entry, None))
            }
            _ => directory.make(name),
        };
        let is_made = self.target.check(whole, "make", made)?.is_some();
        if is_made && matches!(entry.what, What::Directory) {
            self.deferred.keep(path, entry)?;
        }
        Ok(())
    }

    /// The digest of a file that has the right size.
    fn whole(&self, directory: &Directory, name: &[u8], stat: &Option<Stat>) -> io::Result<Option<Has>> {
        let size = stat.map_or(0, |stat| stat.size);
        let file = directory.read(name, false)?;
        let digest = digest_of(&file, size, self.target.options.sum(), &self.target.stop)?;
        Ok(Some(Has::Whole(digest.digest(), size)))
    }

    /// What an interrupted copy has left of a file.
    fn part(&self, directory: &Directory, entry: &Entry) -> io::Result<Option<Has>> {
        let What::File { size } = entry.what else { return Ok(None) };
        // Of a small file nothing is kept, so no time is spent on looking for it.
        if size < KEPT_FROM {
            return Ok(None);
        }
        let Some((file, bytes)) = Draft::kept(directory, &entry.name.0, size)? else { return Ok(None) };
        let digest = digest_of(&file, bytes, self.target.options.sum(), &self.target.stop)?;
        Ok(Some(Has::Part((file, bytes), digest)))
    }

    /// Deletes what the source does not have.
    fn delete(&mut self, path: &[u8], directory: &Directory, rest: HashSet<Vec<u8>>) -> Result<(), Stop> {
        let wanted = self.incoming.names(path);
        for name in rest {
            let whole = joined(path, &name);
            let is_wanted = || wanted.iter().any(|wanted| name_of(wanted, None) == name);
            // Another copy may write there at the same time.
            if !is_draft(&name) || !is_wanted() && !is_in_use(directory, &name) {
                self.delete_one(directory, &whole, &name, DEEPEST)?;
            }
        }
        Ok(())
    }

    /// Deletes what has this name, but nothing that the source leaves out. A directory in which something is left out
    /// stays.
    fn delete_one(&mut self, directory: &Directory, whole: &[u8], name: &[u8], deepest: u32) -> Result<(), Stop> {
        if self.is_excluded(directory, whole, name) {
            return Ok(());
        }
        if let Some(inside) = self.holds_excluded(directory, whole, name, deepest)
            && let Some(names) = self.target.check(whole, "list", inside.names())?
        {
            if self.target.system.is_root(&inside) {
                self.target.refuse(whole, format!("nothing is deleted in it: it {ROOT}"));
                return Ok(());
            }
            if self.target.check(whole, "delete what is in it", directory.enter(name))?.is_none() {
                return Ok(());
            }
            for name in names {
                let Some(name) = self.target.check(whole, "list", name)? else { break };
                self.delete_one(&inside, &joined(whole, &name), &name, deepest - 1)?;
            }
            return Ok(());
        }
        if self.target.may(Change::Delete, whole) {
            let deleted = directory.remove_all(name, deepest, &|inside| self.target.system.is_root(inside));
            self.target.check(whole, "delete", deleted)?;
        }
        Ok(())
    }

    /// The directory of this name, if something in it, at any depth, is left out.
    fn holds_excluded(&self, directory: &Directory, whole: &[u8], name: &[u8], deepest: u32) -> Option<Directory> {
        let deeper = deepest.checked_sub(1).filter(|_| !self.target.options.exclude.is_empty())?;
        let inside = directory.below(name).ok()?;
        let mut names = inside.names().ok()?.filter_map(Result::ok);
        let holds = names.any(|name| {
            let whole = joined(whole, &name);
            self.is_excluded(&inside, &whole, &name) || self.holds_excluded(&inside, &whole, &name, deeper).is_some()
        });
        holds.then_some(inside)
    }

    fn is_excluded(&self, directory: &Directory, path: &[u8], name: &[u8]) -> bool {
        let is_directory = || matches!(directory.stat(name), Ok(Some(stat)) if stat.kind == Kind::Directory);
        self.target.globs.match_entry(path, name, is_directory())
    }
}

/// What has a name, and where it leads if it is a symbolic link.
fn look(directory: &Directory, name: &[u8]) -> io::Result<Option<(Stat, Option<Vec<u8>>)>> {
    let Some(stat) = directory.stat(name)? else { return Ok(None) };
    let target = if stat.kind == Kind::Link { Some(directory.symlink(name)?) } else { None };
    Ok(Some((stat, target)))
}

/// Runs a sink on this thread, which may block, until all is written.
pub(crate) fn drive(
    target: Result<Target, Stop>,
    messages: &Receiver<ToSink>,
    answers: &Sender<ToSource>,
    watch: Option<&dyn Watch>,
) -> Outcome {
    let mut sink = match target {
        Ok(target) => Sink::new(target, MOST_ENTRIES),
        Err(stop) => return Outcome { tally: Tally::default(), stopped: Some(stop) },
    };
    let mut run = || -> Result<(), Stop> {
        loop {
            let message = messages.blocking_recv().map_err(|error| Stop::unread(&error))?;
            watch.inspect(|watch| watch.message(&message));
            let (answer, is_over) = sink.take(message)?;
            if let Some(answer) = answer {
                watch.inspect(|watch| watch.answer(&answer));
                answers.blocking_send(answer).map_err(|_| Stop::gone())?;
            }
            if is_over {
                return Ok(());
            }
        }
    };
    let stopped = run().err();
    Outcome { tally: sink.tally(), stopped }
}
