//! Entries that wait for the end of a copy, as they are.

use crate::builtin::file::tree::message::{Entry, What};

/// The most bytes that are kept of this: enough for a million directories.
pub(super) const MOST: usize = 256 << 20;
/// What is said if there are more.
pub(super) const TOO_MANY: &str = "there are more directories and links than one copy can have; copy parts of the tree";
/// What an entry takes besides its names.
const ENTRY: usize = 160;

/// Entries, each with its directory.
#[derive(Default)]
pub(super) struct Records {
    list: Vec<(Vec<u8>, Entry)>,
    /// How many bytes they take.
    pub(super) bytes: usize,
}

impl Records {
    /// Keeps an entry of this directory.
    pub(super) fn push(&mut self, path: &[u8], entry: Entry) {
        let link = if let What::HardLink(directory, name) = &entry.what { directory.0.len() + name.0.len() } else { 0 };
        self.bytes += path.len() + entry.name.0.len() + link + ENTRY;
        self.list.push((path.to_vec(), entry));
    }

    /// Takes the entry that came last, and its directory.
    pub(super) fn pop(&mut self) -> Option<(Vec<u8>, Entry)> {
        self.list.pop()
    }
}
