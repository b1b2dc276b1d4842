//! Entries that wait for the end of a copy, as bytes, which are a third of what they take as values.

use crate::builtin::file::tree::message::{Entry, What};
use crate::wire::codec::Blob;

/// The most bytes that are kept of this, so that no source can fill the memory: enough for 700,000 directories with paths
/// of 40 bytes.
pub(super) const MOST: usize = 64 << 20;
/// What is said if there are more.
pub(super) const TOO_MANY: &str =
    "the other side lists more directories and hard links than fit into 64 MiB; copy parts of the tree";
/// Records are kept in pieces of at least this size, so that no record is moved when others come.
const PIECE: usize = 1 << 16;
/// The bytes of mode, time and owner in a record.
const FIXED: usize = 24;

/// Entries, each with its directory.
#[derive(Default)]
pub(super) struct Records {
    pieces: Vec<Vec<u8>>,
    /// How many bytes the records have.
    pub(super) bytes: usize,
}

impl Records {
    /// Keeps an entry of this directory.
    pub(super) fn push(&mut self, path: &[u8], entry: Entry) {
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
    pub(super) fn pop(&mut self) -> Option<(Vec<u8>, Entry)> {
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

    /// The memory that they take.
    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        self.pieces.iter().map(Vec::capacity).sum()
    }
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
            records.push(&path, entry(&name, what.clone()));
            kept.push((path, entry(&name, what)));
        }
        assert!(records.pieces.len() > 2);
        while let Some(record) = records.pop() {
            assert_eq!(Some(record), kept.pop());
        }
        assert!(kept.is_empty());
    }
}
