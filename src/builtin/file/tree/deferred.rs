//! What is done at the end of a copy: hard links, whose files have to be there, and the times of directories, which
//! change with what is written into them.
//!
//! - `packed`: how the tool keeps them. What it pulls comes from hosts, which may list without end
//! - `plain`: how all others keep them. What they get comes from the tool, and the code is small

#[cfg(any(feature = "cli", test))]
mod packed;
#[cfg(not(any(feature = "cli", test)))]
mod plain;

#[cfg(any(feature = "cli", test))]
use self::packed::{MOST, Records, TOO_MANY};
#[cfg(not(any(feature = "cli", test)))]
use self::plain::{MOST, Records, TOO_MANY};
use super::message::{Change, Entry, Stop, What, joined};
use super::target::Target;
use crate::sys::directory::{Kind, Stat};

/// Entries that wait for the end.
#[derive(Default)]
pub(crate) struct Deferred {
    links: Records,
    directories: Records,
}

impl Deferred {
    /// Keeps an entry of this directory.
    ///
    /// # Errors
    ///
    /// If there are too many.
    pub(crate) fn keep(&mut self, directory: &[u8], entry: Entry) -> Result<(), Stop> {
        if self.links.bytes + self.directories.bytes > MOST {
            return Err(Stop::rule(TOO_MANY));
        }
        let records = if matches!(entry.what, What::Directory) { &mut self.directories } else { &mut self.links };
        records.push(directory, entry);
        Ok(())
    }

    /// Does all of it.
    pub(crate) fn finish(mut self, target: &mut Target) -> Result<(), Stop> {
        while let Some((path, entry)) = self.links.pop() {
            link(target, &path, &entry)?;
        }
        if target.options.dry_run {
            return Ok(());
        }
        // From the deepest to the highest, since to write into one changes the time of that above it.
        while let Some((path, entry)) = self.directories.pop() {
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
    let first_whole = joined(&first_directory.0, &first.0);
    // What has that name there is something else.
    if target.has_failed(&first_whole) {
        let why = format!("it is {} under another name, which was not copied", String::from_utf8_lossy(&first_whole));
        target.refuse(&whole, why);
        return Ok(());
    }
    let found = (|| {
        let from = target.directory(&first_directory.0)?;
        let directory = target.directory(path)?;
        Ok((from.stat(&first.0)?, directory.stat(name)?, from, directory))
    })();
    let (first_stat, there, from, directory) = match found {
        Ok(found) => found,
        Err(error) if target.would_be(path, &error) => {
            target.may(Change::Make, &whole);
            return Ok(());
        }
        Err(error) => return target.check(&whole, "link", Err::<(), _>(error)).map(drop),
    };
    // In a dry run, what will be replaced is still there.
    if !target.options.dry_run && first_stat.is_some_and(|stat| stat.kind != Kind::File) {
        target.refuse(&whole, format!("{} is no file any more", String::from_utf8_lossy(&first_whole)));
        return Ok(());
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::codec::Blob;

    fn entry(name: &[u8], what: What) -> Entry {
        Entry { name: Blob(name.to_vec()), what, mode: 0o42755, modified: (-7, 999_999_999), user: u32::MAX, group: 3 }
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_limit_is_named() {
        let mut deferred = Deferred::default();
        let mut number = 0;
        let stop = loop {
            match deferred.keep(&[b'd'; 4000], entry(b"name", What::Directory)) {
                Ok(()) => number += 1,
                Err(stop) => break stop,
            }
        };
        let taken = deferred.directories.taken();
        assert!(stop.text.contains("64 MiB") && number > 16_000, "{number}");
        assert!(taken <= MOST + MOST / 10, "{taken}");
    }
}
