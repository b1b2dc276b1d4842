//! What is done at the end of a copy: hard links, whose files have to be there, and the times of directories, which
//! change with what is written into them.

use super::message::{Change, Entry, Stop, What, joined};
use super::target::Target;
use crate::sys::directory::Stat;

/// The most bytes that are kept of this, so that no source can fill the memory: enough for a million directories.
const MOST: usize = 256 << 20;
/// What an entry takes besides its names.
const ENTRY: usize = 160;

/// Entries that wait for the end.
#[derive(Default)]
pub(crate) struct Deferred {
    links: Vec<(Vec<u8>, Entry)>,
    directories: Vec<(Vec<u8>, Entry)>,
    bytes: usize,
}

impl Deferred {
    /// Keeps an entry of this directory.
    ///
    /// # Errors
    ///
    /// If there are too many.
    pub(crate) fn keep(&mut self, directory: &[u8], entry: Entry) -> Result<(), Stop> {
        let link = if let What::HardLink(directory, name) = &entry.what { directory.0.len() + name.0.len() } else { 0 };
        self.bytes += directory.len() + entry.name.0.len() + link + ENTRY;
        if self.bytes > MOST {
            return Err(Stop::rule(
                "there are more directories and links than one copy can have; copy parts of the tree",
            ));
        }
        let list = if matches!(entry.what, What::Directory) { &mut self.directories } else { &mut self.links };
        list.push((directory.to_vec(), entry));
        Ok(())
    }

    /// Does all of it.
    pub(crate) fn finish(self, target: &mut Target) -> Result<(), Stop> {
        for (path, entry) in self.links {
            link(target, &path, &entry)?;
        }
        if target.options.dry_run {
            return Ok(());
        }
        // From the deepest to the highest, since to write into one changes the time of that above it.
        for (path, entry) in self.directories.into_iter().rev() {
            let adjusted = target.directory(&path).and_then(|directory| {
                let stat = directory.stat(&entry.name.0)?;
                match stat {
                    Some(stat) if target.differs(&entry, &stat) => {
                        target.adjust(&directory, &entry.name.0, &entry, Some(&stat))
                    }
                    _ => Ok(()),
                }
            });
            target.check(&joined(&path, &entry.name.0), "change mode, owner or time of", adjusted)?;
        }
        let adjusted = target.adjust_root();
        target.check(&[], "change mode, owner or time of", adjusted).map(drop)
    }
}

/// Makes a hard link, unless it is there.
fn link(target: &mut Target, path: &[u8], entry: &Entry) -> Result<(), Stop> {
    let What::HardLink(first_directory, first) = &entry.what else { return Ok(()) };
    let (name, whole) = (&entry.name.0, joined(path, &entry.name.0));
    let found = (|| {
        let from = target.directory(&first_directory.0)?;
        let directory = target.directory(path)?;
        Ok((from.stat(&first.0)?, directory.stat(name)?, from, directory))
    })();
    let (first_stat, there, from, directory) = match found {
        Ok(found) => found,
        Err(error) if target.options.dry_run && is_missing(&error) => {
            target.may(Change::Make, &whole);
            return Ok(());
        }
        Err(error) => return target.check(&whole, "link", Err::<(), _>(error)).map(drop),
    };
    let identity = |stat: Option<Stat>| stat.map(|stat| stat.identity);
    if there.is_some() && identity(there) == identity(first_stat) {
        target.tally.unchanged += 1;
        return Ok(());
    }
    if target.may(Change::Make, &whole) {
        let made = target.drafts.put(&directory, name, |draft| directory.link(draft, &from, &first.0));
        target.check(&whole, "link", made)?;
    }
    Ok(())
}

fn is_missing(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::NotFound
}
