//! What is done at the end of a copy: hard links, whose files have to be there, and the times of directories, which
//! change with what is written into them.

use super::message::{Change, Entry, Stop, What, joined};
use super::target::Target;
use crate::sys::directory::Stat;
use crate::wire::codec::Blob;

/// The most bytes that are kept of this, so that no source can fill the memory: enough for 700,000 directories with paths
/// of 40 bytes.
const MOST: usize = 64 << 20;
/// Records are kept in pieces of at least this size, so that no record is moved when others come.
const PIECE: usize = 1 << 16;
/// The bytes of mode, time and owner in a record.
const FIXED: usize = 24;

/// Entries that wait for the end.
#[derive(Default)]
pub(crate) struct Deferred {
    links: Records,
    directories: Records,
}

/// Entries as bytes, which are a third of what they take as values.
#[derive(Default)]
struct Records {
    pieces: Vec<Vec<u8>>,
    bytes: usize,
}

impl Records {
    /// Keeps an entry of this directory.
    fn push(&mut self, path: &[u8], entry: &Entry) {
        let (first_directory, first) = match &entry.what {
            What::HardLink(directory, name) => (&directory.0[..], &name.0[..]),
            _ => (&[][..], &[][..]),
        };
        let (seconds, nanoseconds) = entry.modified;
        let mut fixed = seconds.to_le_bytes().to_vec();
        for number in [nanoseconds, entry.mode, entry.user, entry.group] {
            fixed.extend_from_slice(&number.to_le_bytes());
        }
        let mut record = Vec::new();
        for field in [&fixed[..], path, &entry.name.0, first_directory, first] {
            record.extend_from_slice(field);
        }
        // Names and paths are shorter than 4,096 bytes. The lengths come last, as records are read from the end.
        for field in [path, &entry.name.0, first_directory, first] {
            record.extend_from_slice(&(field.len() as u16).to_le_bytes());
        }
        if self.pieces.last().is_none_or(|piece| piece.len() + record.len() > PIECE) {
            self.pieces.push(Vec::with_capacity(PIECE));
        }
        self.bytes += record.len();
        self.pieces.last_mut().into_iter().for_each(|piece| piece.extend_from_slice(&record));
    }

    /// Takes the entry that came last, and its directory.
    fn pop(&mut self) -> Option<(Vec<u8>, Entry)> {
        while self.pieces.last().is_some_and(Vec::is_empty) {
            self.pieces.pop();
        }
        let piece = self.pieces.last_mut()?;
        let lengths: [usize; 4] = {
            let at = piece.len().checked_sub(8)?;
            let end = piece.split_off(at);
            std::array::from_fn(|nth| usize::from(u16::from_le_bytes([end[2 * nth], end[2 * nth + 1]])))
        };
        let mut fields = lengths.map(|_| Blob(Vec::new()));
        for (field, length) in fields.iter_mut().zip(lengths).rev() {
            field.0 = piece.split_off(piece.len().checked_sub(length)?);
        }
        let fixed = piece.split_off(piece.len().checked_sub(FIXED)?);
        let number = |at: usize| fixed[at..at + 4].iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte));
        let seconds = (u64::from(number(4)) << 32 | u64::from(number(0))).cast_signed();
        let [path, name, first_directory, first] = fields;
        let what = match first.0.is_empty() {
            true => What::Directory,
            false => What::HardLink(first_directory, first),
        };
        let (modified, mode) = ((seconds, number(8)), number(12));
        Some((path.0, Entry { name, what, mode, modified, user: number(16), group: number(20) }))
    }
}

impl Deferred {
    /// Keeps an entry of this directory.
    ///
    /// # Errors
    ///
    /// If there are too many.
    pub(crate) fn keep(&mut self, directory: &[u8], entry: Entry) -> Result<(), Stop> {
        if self.links.bytes + self.directories.bytes > MOST {
            return Err(Stop::rule(
                "the other side lists more directories and hard links than fit into 64 MiB; copy parts of the tree",
            ));
        }
        let records = if matches!(entry.what, What::Directory) { &mut self.directories } else { &mut self.links };
        records.push(directory, &entry);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &[u8], what: What) -> Entry {
        Entry { name: Blob(name.to_vec()), what, mode: 0o42755, modified: (-7, 999_999_999), user: u32::MAX, group: 3 }
    }

    #[test]
    fn records_come_back_from_the_last_to_the_first() {
        let mut records = Records::default();
        let long = vec![b'x'; 4095];
        let mut kept = Vec::new();
        for number in 0..200_usize {
            let name = format!("name{number}").into_bytes();
            let what = match number % 2 {
                0 => What::Directory,
                _ => What::HardLink(Blob(long[number..].to_vec()), Blob(b"first".to_vec())),
            };
            let path = if number % 3 == 0 { Vec::new() } else { long[..number].to_vec() };
            records.push(&path, &entry(&name, what.clone()));
            kept.push((path, entry(&name, what)));
        }
        assert!(records.pieces.len() > 2);
        while let Some(record) = records.pop() {
            assert_eq!(Some(record), kept.pop());
        }
        assert!(kept.is_empty());
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
        let taken: usize = deferred.directories.pieces.iter().map(Vec::capacity).sum();
        assert!(stop.text.contains("64 MiB") && number > 16_000, "{number}");
        assert!(taken <= MOST + MOST / 10, "{taken}");
    }
}
