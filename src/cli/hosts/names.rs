//! Many names of hosts in little memory, and sets of them.
//!
//! All names are in one buffer. Each name has a key, which is the same for all spellings of a host. Most names
//! are their own keys; then no key is stored.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;

/// Most bytes of all names, and of keys that differ from them, for one command line. With the tables for
/// [`MAX_NAMED`] names this stays below 256 MiB.
///
/// [`MAX_NAMED`]: crate::cli::hosts::expression::MAX_NAMED
pub(crate) const MAX_BYTES: usize = 64 << 20;

/// A slot of an [`Index`] that is free.
const FREE: u32 = u32::MAX;

/// Names in order. A name can occur twice.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    buffer: String,
    list: Vec<Name>,
    /// Whether it is known that each host occurs once.
    is_once_each: bool,
    /// The hash state. It is the same for all names that are compared with each other. It is random, because
    /// names may come from files of other users.
    state: RandomState,
}

/// The position of a name in the buffer. Its key, if stored, follows it.
#[derive(Debug, Clone, Copy)]
struct Name {
    at: u32,
    text: u32,
    key: u32,
    hash: u32,
}

impl Names {
    pub(crate) fn new(state: RandomState) -> Self {
        Self { buffer: String::new(), list: Vec::new(), is_once_each: true, state }
    }

    /// An empty list whose names can be compared with these.
    pub(crate) fn empty(&self) -> Self {
        Self::new(self.state.clone())
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many bytes the names and keys have.
    pub(crate) fn bytes(&self) -> usize {
        self.buffer.len()
    }

    pub(crate) fn text(&self, nth: usize) -> &str {
        self.part(nth, |name| (name.at, name.text))
    }

    pub(crate) fn key(&self, nth: usize) -> &str {
        self.part(nth, |name| if name.key == 0 { (name.at, name.text) } else { (name.at + name.text, name.key) })
    }

    fn part(&self, nth: usize, of: impl Fn(&Name) -> (u32, u32)) -> &str {
        let (at, len) = self.list.get(nth).map_or((0, 0), of);
        &self.buffer[at as usize..(at + len) as usize]
    }

    /// The names, in the users' spelling.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.len()).map(|nth| self.text(nth))
    }

    /// Adds a name. The caller makes sure that the buffer never has more than [`MAX_BYTES`] and one more name,
    /// so that positions fit in 32 bits.
    pub(crate) fn push(&mut self, text: &str, key: &str) {
        let at = self.buffer.len() as u32;
        self.buffer.push_str(text);
        let key_len = if text == key { 0 } else { key.len() as u32 };
        if key_len > 0 {
            self.buffer.push_str(key);
        }
        let mut hasher = self.state.build_hasher();
        hasher.write(key.as_bytes());
        let hash = hasher.finish() as u32;
        self.list.push(Name { at, text: text.len() as u32, key: key_len, hash });
        self.is_once_each = false;
    }

    /// The names with these indexes.
    pub(crate) fn only(&self, indexes: &[usize]) -> Self {
        let mut names = self.empty();
        indexes.iter().for_each(|nth| names.copy(self, *nth));
        names.is_once_each = self.is_once_each;
        names
    }

    /// Adds the `nth` name of `other`.
    pub(crate) fn copy(&mut self, other: &Self, nth: usize) {
        let name = other.list[nth];
        let (from, len) = (name.at as usize, (name.text + name.key) as usize);
        self.list.push(Name { at: self.buffer.len() as u32, ..name });
        self.buffer.push_str(&other.buffer[from..from + len]);
        self.is_once_each = false;
    }

    /// Adds all names of `other`.
    pub(crate) fn extend(&mut self, other: &Self) {
        let base = self.buffer.len() as u32;
        self.is_once_each = other.is_once_each && self.is_empty();
        self.buffer.push_str(&other.buffer);
        self.list.extend(other.list.iter().map(|name| Name { at: base + name.at, ..*name }));
    }

    /// Removes the names from the `nth` on, and returns them.
    pub(crate) fn split_off(&mut self, nth: usize) -> Self {
        if nth == 0 {
            let empty = self.empty();
            return std::mem::replace(self, empty);
        }
        let base = self.list.get(nth).map_or(self.buffer.len(), |name| name.at as usize);
        let buffer = self.buffer.split_off(base);
        let mut list = self.list.split_off(nth);
        list.iter_mut().for_each(|name| name.at -= base as u32);
        Self { buffer, list, is_once_each: self.is_once_each, state: self.state.clone() }
    }

    /// Keeps the first occurrence of each host. Needs no additional memory for the names that are removed.
    pub(crate) fn once_each(&mut self) {
        if self.is_once_each {
            return;
        }
        let mut index = Index::new(self.len());
        let list = std::mem::take(&mut self.list);
        let mut kept = Vec::with_capacity(list.len());
        std::mem::swap(&mut self.list, &mut kept);
        for name in list {
            // Compares the name with the names that were kept so far.
            self.list.push(name);
            let nth = self.list.len() - 1;
            if index.insert(self, nth).is_some() {
                self.list.pop();
            }
        }
        self.is_once_each = true;
    }
}

/// A hash table that finds names by their keys.
#[derive(Debug)]
struct Index {
    /// Indexes of names. The length is a power of two, and at least twice the number of names.
    slots: Vec<u32>,
    used: usize,
}

impl Index {
    fn new(names: usize) -> Self {
        Self { slots: vec![FREE; (names.max(4) * 2).next_power_of_two()], used: 0 }
    }

    /// The slot that has a key, or that is free for it.
    fn slot(&self, names: &Names, key: &str, hash: u32) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            let nth = self.slots[slot];
            if nth == FREE || (names.list[nth as usize].hash == hash && names.key(nth as usize) == key) {
                return slot;
            }
            slot = (slot + 1) & mask;
        }
    }

    fn find(&self, names: &Names, other: &Names, nth: usize) -> Option<usize> {
        let found = self.slots[self.slot(names, other.key(nth), other.list[nth].hash)];
        (found != FREE).then_some(found as usize)
    }

    /// Inserts the `nth` of `names`. If its host is in the table already, returns the index of that name
    /// instead.
    fn insert(&mut self, names: &Names, nth: usize) -> Option<usize> {
        let slot = self.slot(names, names.key(nth), names.list[nth].hash);
        if self.slots[slot] != FREE {
            return Some(self.slots[slot] as usize);
        }
        self.slots[slot] = nth as u32;
        self.used += 1;
        if self.used * 2 > self.slots.len() {
            let mut larger = Self::new(self.used * 2);
            for nth in self.slots.iter().copied().filter(|nth| *nth != FREE) {
                larger.insert(names, nth as usize);
            }
            *self = larger;
        }
        None
    }
}

/// A set of hosts. Removing or adding other hosts takes time in proportion to the others, not to the size of
/// the set.
#[derive(Debug)]
pub(crate) struct Set {
    names: Names,
    is_in: Vec<bool>,
    len: usize,
    index: Index,
}

impl Set {
    pub(crate) fn new(mut names: Names) -> Self {
        names.once_each();
        let mut index = Index::new(names.len());
        for nth in 0..names.len() {
            index.insert(&names, nth);
        }
        Self { is_in: vec![true; names.len()], len: names.len(), names, index }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn find(&self, other: &Names, nth: usize) -> Option<usize> {
        self.index.find(&self.names, other, nth).filter(|found| self.is_in[*found])
    }

    /// Whether the `nth` name of `other` is one of these hosts.
    pub(crate) fn contains(&self, other: &Names, nth: usize) -> bool {
        self.find(other, nth).is_some()
    }

    fn remove(&mut self, nth: usize) {
        self.is_in[nth] = false;
        self.len -= 1;
    }

    /// Operator `!`: removes the others.
    pub(crate) fn subtract(&mut self, others: &Names) {
        for nth in 0..others.len() {
            if let Some(found) = self.find(others, nth) {
                self.remove(found);
            }
        }
    }

    /// Operator `&`: keeps the hosts that are among the others. Their order does not change.
    pub(crate) fn intersect(&mut self, others: &Names) {
        let mut both: Vec<usize> = (0..others.len()).filter_map(|nth| self.find(others, nth)).collect();
        both.sort_unstable();
        both.dedup();
        let mut names = self.names.empty();
        both.iter().for_each(|nth| names.copy(&self.names, *nth));
        *self = Self::new(names);
    }

    /// Operator `^`: keeps the hosts that are in one of the two only, those of this set first.
    pub(crate) fn differ(&mut self, mut others: Names) {
        others.once_each();
        let found: Vec<Option<usize>> = (0..others.len()).map(|nth| self.find(&others, nth)).collect();
        for (nth, found) in found.into_iter().enumerate() {
            match found {
                Some(found) => self.remove(found),
                None => self.add(&others, nth),
            }
        }
    }

    fn add(&mut self, others: &Names, nth: usize) {
        let new = self.names.len();
        self.names.copy(others, nth);
        self.is_in.push(true);
        self.len += 1;
        if let Some(old) = self.index.insert(&self.names, new) {
            // The host was removed before. Its new position counts.
            let slot = self.index.slot(&self.names, self.names.key(old), self.names.list[old].hash);
            self.index.slots[slot] = new as u32;
        }
    }

    /// Adds the hosts of the set to `names`.
    pub(crate) fn append_to(self, names: &mut Names) {
        if self.len == self.names.len() {
            names.extend(&self.names);
            return;
        }
        for nth in (0..self.names.len()).filter(|nth| self.is_in[*nth]) {
            names.copy(&self.names, nth);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn names(state: &RandomState, list: &[u8]) -> Names {
        let mut names = Names::new(state.clone());
        list.iter().for_each(|n| names.push(&format!("h{n}"), &format!("{}", n % 16)));
        names
    }

    fn keys(names: &Names) -> Vec<u8> {
        (0..names.len()).map(|nth| names.key(nth).parse().unwrap()).collect()
    }

    #[test]
    fn names_with_one_key_are_one_host_and_the_first_stays() {
        let mut all = names(&RandomState::default(), &[17, 2, 1, 18, 3, 33]);
        all.once_each();
        assert_eq!(all.iter().collect::<Vec<_>>(), ["h17", "h2", "h3"]);
    }

    #[test]
    fn names_are_divided_and_put_together() {
        let mut all = names(&RandomState::default(), &[1, 2, 3, 20]);
        let tail = all.split_off(2);
        assert_eq!((keys(&all), keys(&tail)), (vec![1, 2], vec![3, 4]));
        all.extend(&tail);
        assert_eq!(keys(&all), [1, 2, 3, 4]);
        assert!(all.split_off(4).is_empty());
        assert_eq!(all.split_off(0).iter().last(), Some("h20"));
    }

    proptest! {
        #[test]
        fn sets_do_what_sets_do(
            start in prop::collection::vec(any::<u8>(), 0..40),
            steps in prop::collection::vec((0..3_u8, prop::collection::vec(any::<u8>(), 0..40)), 0..8),
        ) {
            let state = RandomState::default();
            let mut set = Set::new(names(&state, &start));
            let key = |list: &[u8]| list.iter().map(|n| n % 16).collect::<BTreeSet<u8>>();
            let mut wanted = key(&start);
            for (step, list) in steps {
                let (others, other) = (names(&state, &list), key(&list));
                match step {
                    0 => {
                        set.subtract(&others);
                        wanted = &wanted - &other;
                    }
                    1 => {
                        set.intersect(&others);
                        wanted = &wanted & &other;
                    }
                    _ => {
                        set.differ(others);
                        wanted = &wanted ^ &other;
                    }
                }
                prop_assert_eq!(set.len(), wanted.len());
            }
            let mut left = Names::new(state);
            set.append_to(&mut left);
            prop_assert_eq!(left.len(), wanted.len());
            prop_assert_eq!(keys(&left).into_iter().collect::<BTreeSet<u8>>(), wanted);
        }
    }
}
