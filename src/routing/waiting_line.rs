//! What waits for room in a window, in order. Each entry can be taken out of the middle.

use std::collections::VecDeque;

/// Entries that were taken out of the middle leave an empty place. Once there are more empty places than entries, and
/// more than this, the line is moved together.
const FEW: usize = 32;

/// A line of entries. A number that rises from entry to entry finds an entry again.
#[derive(Debug)]
pub(crate) struct WaitingLine<T> {
    places: VecDeque<(u64, Option<T>)>,
    entries: usize,
}

impl<T> Default for WaitingLine<T> {
    fn default() -> Self {
        Self { places: VecDeque::new(), entries: 0 }
    }
}

impl<T> WaitingLine<T> {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Puts an entry behind all others. `number` must be above those of the entries before it.
    pub(crate) fn push(&mut self, number: u64, entry: T) {
        debug_assert!(self.places.back().is_none_or(|(last, _)| *last < number), "numbers rise");
        self.places.push_back((number, Some(entry)));
        self.entries += 1;
    }

    pub(crate) fn front(&self) -> Option<&T> {
        self.places.front()?.1.as_ref()
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        let (_, entry) = self.places.pop_front()?;
        self.entries -= 1;
        self.tidy();
        entry
    }

    /// The entry of this number, if it waits. Costs a binary search, and now and then a walk over all places.
    pub(crate) fn get(&self, number: u64) -> Option<&T> {
        let at = self.places.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        self.places[at].1.as_ref()
    }

    /// Takes out the entry of this number, if it waits.
    pub(crate) fn remove(&mut self, number: u64) -> Option<T> {
        let at = self.places.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        let entry = self.places[at].1.take()?;
        self.entries -= 1;
        self.tidy();
        Some(entry)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.places.iter().filter_map(|(_, entry)| entry.as_ref())
    }

    pub(crate) fn into_entries(self) -> impl Iterator<Item = T> {
        self.places.into_iter().filter_map(|(_, entry)| entry)
    }

    /// Keeps an entry in front, so that `front` and `pop` find it at once, and the number of empty places small.
    fn tidy(&mut self) {
        while self.places.front().is_some_and(|(_, entry)| entry.is_none()) {
            self.places.pop_front();
        }
        if self.places.len() > 2 * self.entries + FEW {
            self.places.retain(|(_, entry)| entry.is_some());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_line_is_as_a_sorted_map(steps in proptest::collection::vec((0..3u8, any::<prop::sample::Index>()), 0..400)) {
            let (mut line, mut map, mut next) = (WaitingLine::default(), BTreeMap::new(), 0);
            for (step, which) in steps {
                match step {
                    0 => {
                        line.push(next, next);
                        map.insert(next, next);
                        next += 1 + which.index(3) as u64;
                    }
                    1 => prop_assert_eq!(line.pop(), map.pop_first().map(|(_, entry)| entry)),
                    _ => {
                        let number = which.index(next as usize + 1) as u64;
                        prop_assert_eq!(line.get(number), map.get(&number));
                        prop_assert_eq!(line.remove(number), map.remove(&number));
                    }
                }
                prop_assert_eq!(line.front(), map.values().next());
                prop_assert_eq!(line.is_empty(), map.is_empty());
                prop_assert!(line.places.len() <= 2 * map.len() + FEW);
                prop_assert!(line.iter().eq(map.values()));
            }
            prop_assert!(line.into_entries().eq(map.into_values()));
        }
    }
}
