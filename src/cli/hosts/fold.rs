//! From a list of hosts back to a short expression: `web[01-40,50]`.
//!
//! Hosts are divided into families: the names in a family differ only in numbers. The numbers of each family
//! are joined to sets, and the sets are written as ranges.
//!
//! - `parts`: a name as words and numbers; `sets`: sets of numbers by id
//! - `ranges`: how a set of numbers is written; `words`: how the words are sorted

mod parts;
mod ranges;
mod sets;
mod words;

use std::hash::{BuildHasher, Hasher};

use self::parts::Pieces;
use self::ranges::ranges;
use self::sets::{FREE, Sets, mix};
use self::words::Words;

/// How many rows of numbers are compared when hosts are joined, over all passes, so that any list is folded
/// within a second. Hosts that are not joined by then are written one by one.
const MAX_WORK: usize = 20_000_000;
/// Families with at most this many hosts are also joined in a third way, which takes longer.
const SMALL: usize = 500;
/// How many numbers are compared in this way.
const MAX_SMALL_WORK: usize = 1_000_000;
/// Most numbers in a name that are compared, so that memory is bounded. A name with more than one number for
/// each hop of the longest path is rare.
const MAX_PLACES: usize = 16;

/// The shortest readable expression that is found for these hosts, in natural order. The names are those of
/// `HostPath::text`. The expression stands for exactly these hosts.
pub(crate) fn fold<S: AsRef<str>>(names: &[S]) -> String {
    fold_all(&names.iter().map(AsRef::as_ref).collect::<Vec<_>>())
}

fn fold_all(names: &[&str]) -> String {
    let mut families = Families::default();
    (0..names.len()).for_each(|nth| families.add(names, nth));
    let Families { list, mut sets, rows, slots, .. } = families;
    drop(slots);
    let mut words = Words::default();
    let (mut work, mut small_work, mut tables) = (MAX_WORK, MAX_SMALL_WORK, Tables::default());
    let (mut best, mut other) = (Words::default(), Words::default());
    for known in list {
        let Some(rows) = rows.get(known.rows as usize) else {
            words.push_name(names, known.first);
            continue;
        };
        let family = Family { first: names[known.first as usize], places: known.places.into(), rows };
        // The order in which numbers are joined changes the result, so both orders are tried.
        let last_first = family.join(&mut sets, Order::LastFirst, (&mut work, &mut tables));
        family.write(&last_first, &sets, &mut best);
        let is_joined = last_first.len() < rows.len();
        if family.places > 1 && is_joined && last_first.len() > family.places {
            let first_first = family.join(&mut sets, Order::FirstFirst, (&mut work, &mut tables));
            family.write(&first_first, &sets, &mut other);
            if other.length() < best.length() {
                std::mem::swap(&mut best, &mut other);
            }
            if rows.len() / family.places <= SMALL && small_work > 0 {
                for order in [Order::LastFirst, Order::FirstFirst] {
                    let largest = family.join_largest(&mut sets, order, (&mut small_work, &mut tables));
                    family.write(&largest, &sets, &mut other);
                    if other.length() < best.length() {
                        std::mem::swap(&mut best, &mut other);
                    }
                }
            }
        }
        words.append(&best);
    }
    words.joined(names)
}

/// Hosts whose names differ in numbers only.
struct Family<'a> {
    /// The first name. The others have other numbers.
    first: &'a str,
    places: usize,
    /// For each host, the sets of one number each, one after the other. A host may occur twice.
    rows: &'a [u32],
}

/// What is known of a family while names are added.
struct Known {
    /// The index of its first name.
    first: u32,
    hash: u32,
    places: u8,
    /// The index of its rows; [`FREE`] while it has one host.
    rows: u32,
}

struct Families {
    list: Vec<Known>,
    rows: Vec<Vec<u32>>,
    /// A hash table of the families by what their names have in common. Its length is a power of two.
    slots: Vec<u32>,
    /// The hash state. It is random, because names may come from files of other users.
    state: foldhash::fast::RandomState,
    sets: Sets,
}

impl Default for Families {
    fn default() -> Self {
        let state = foldhash::fast::RandomState::default();
        Self { list: Vec::new(), rows: Vec::new(), slots: vec![FREE; 64], state, sets: Sets::default() }
    }
}

impl Families {
    /// Adds the name with this index.
    fn add(&mut self, names: &[&str], nth: usize) {
        let name = names[nth];
        let mut hasher = self.state.build_hasher();
        let mut places = 0;
        for (word, number) in Pieces::of(name, MAX_PLACES) {
            hasher.write(word.as_bytes());
            hasher.write_u8(u8::from(number.is_some()));
            places += u8::from(number.is_some());
        }
        let hash = hasher.finish() as u32;
        let slot = self.slot(names, name, hash);
        let known = self.slots[slot] as usize;
        let Some(Known { first, rows, .. }) = self.list.get_mut(known) else {
            self.slots[slot] = self.list.len() as u32;
            self.list.push(Known { first: nth as u32, hash, places, rows: FREE });
            if self.list.len() * 2 > self.slots.len() {
                self.grow();
            }
            return;
        };
        // Without numbers, it is the same host.
        if places == 0 {
            return;
        }
        if *rows == FREE {
            *rows = self.rows.len() as u32;
            self.rows.push(Vec::new());
            let first = names[*first as usize];
            self.add_row(first);
        }
        let rows = self.list[known].rows as usize;
        push_row(&mut self.rows[rows], &mut self.sets, name);
    }

    /// Begins the last rows with a name.
    fn add_row(&mut self, name: &str) {
        if let Some(rows) = self.rows.last_mut() {
            push_row(rows, &mut self.sets, name);
        }
    }

    /// The slot that has the family of a name, or that is free for it.
    fn slot(&self, names: &[&str], name: &str, hash: u32) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        while let Some(known) = self.list.get(self.slots[slot] as usize) {
            if known.hash == hash && are_alike(names[known.first as usize], name) {
                break;
            }
            slot = (slot + 1) & mask;
        }
        slot
    }

    fn grow(&mut self) {
        self.slots = vec![FREE; self.slots.len() * 2];
        let mask = self.slots.len() - 1;
        for (nth, known) in self.list.iter().enumerate() {
            let mut slot = known.hash as usize & mask;
            while self.slots[slot] != FREE {
                slot = (slot + 1) & mask;
            }
            self.slots[slot] = nth as u32;
        }
    }
}

/// Adds the numbers of a name.
fn push_row(rows: &mut Vec<u32>, sets: &mut Sets, name: &str) {
    rows.extend(Pieces::of(name, MAX_PLACES).filter_map(|(_, number)| Some(sets.one(number?))));
}

/// Whether two names differ in numbers only.
fn are_alike(a: &str, b: &str) -> bool {
    let mut others = Pieces::of(b, MAX_PLACES);
    let alike = |(word, number): (&str, Option<_>)| {
        others.next().is_some_and(|(other, other_number)| word == other && number.is_some() == other_number.is_some())
    };
    Pieces::of(a, MAX_PLACES).all(alike)
}

/// Memory for joining, which is used again, because there may be very many small families.
#[derive(Default)]
struct Tables {
    /// A hash table of groups of rows that differ at one place only.
    slots: Vec<u32>,
    /// The first and the last member of each group so far.
    groups: Vec<(u32, u32)>,
    /// The member after each one.
    next: Vec<u32>,
    parts: Vec<u32>,
    joined: Vec<u32>,
}

impl Tables {
    /// The number of members of the largest group.
    fn largest(&self) -> usize {
        self.groups.iter().map(|(first, _)| chain(&self.next, *first).count()).max().unwrap_or(0)
    }
}

/// The members of a group, from the first on.
fn chain(next: &[u32], first: u32) -> impl Iterator<Item = u32> + '_ {
    std::iter::successors(Some(first), |nth| Some(next[*nth as usize]).filter(|next| *next != FREE))
}

#[derive(Clone, Copy)]
enum Order {
    LastFirst,
    FirstFirst,
}

impl Family<'_> {
    /// Covers the hosts with boxes. A box has a set of numbers for each place, and stands for all their
    /// combinations. Boxes do not overlap. `order` is the order in which the places are joined.
    fn join(&self, sets: &mut Sets, order: Order, (work, tables): (&mut usize, &mut Tables)) -> Vec<u32> {
        let mut rows = self.rows.to_vec();
        // If all hosts have the same number at a place, nothing can be joined there.
        let first = &self.rows[..self.places.min(self.rows.len())];
        let differs = |place: &usize| self.rows.chunks_exact(self.places).any(|row| row[*place] != first[*place]);
        let mut places: Vec<usize> = (0..self.places).filter(differs).collect();
        if let Order::LastFirst = order {
            places.reverse();
        }
        if places.is_empty() {
            // All rows are the same host.
            rows.truncate(self.places);
        }
        loop {
            let before = rows.len();
            for place in &places {
                // The first pass also removes duplicate hosts.
                if *work == 0 && before < self.rows.len() {
                    return rows;
                }
                *work = work.saturating_sub(rows.len() / self.places);
                self.join_at((*place, &places), &mut rows, sets, tables);
            }
            if rows.len() == before || *work == 0 {
                return rows;
            }
        }
    }

    /// Joins boxes that differ at this place only.
    fn join_at(&self, (place, places): (usize, &[usize]), rows: &mut Vec<u32>, sets: &mut Sets, tables: &mut Tables) {
        self.group_at((place, places), rows, sets, tables);
        self.merge((place, 0), rows, sets, tables);
    }

    /// Covers the hosts with boxes as [`Family::join`] does, but of all groups of boxes that could be joined next, it
    /// joins the largest. That takes longer, so it is for small families.
    /// Of equally large groups, those of the first place in `order` come first.
    fn join_largest(&self, sets: &mut Sets, order: Order, (work, tables): (&mut usize, &mut Tables)) -> Vec<u32> {
        let mut rows = self.rows.to_vec();
        let mut places: Vec<usize> = (0..self.places).collect();
        if let Order::LastFirst = order {
            places.reverse();
        }
        loop {
            *work = work.saturating_sub(rows.len());
            let mut largest = (1, 0);
            for place in &places {
                self.group_at((*place, &places), &rows, sets, tables);
                if tables.largest() > largest.0 {
                    largest = (tables.largest(), *place);
                }
            }
            let (members, place) = largest;
            if members < 2 || *work == 0 {
                return rows;
            }
            self.group_at((place, &places), &rows, sets, tables);
            self.merge((place, members), &mut rows, sets, tables);
        }
    }

    /// Groups boxes that differ at this place only.
    fn group_at(&self, (place, places): (usize, &[usize]), rows: &[u32], sets: &Sets, tables: &mut Tables) {
        let count = (rows.len() / self.places) as u32;
        let Tables { slots, groups, next, .. } = tables;
        let mask = (count as usize * 2).next_power_of_two() - 1;
        slots.clear();
        slots.resize(mask + 1, FREE);
        groups.clear();
        next.clear();
        next.resize(count as usize, FREE);
        let row = |nth: u32| &rows[nth as usize * self.places..][..self.places];
        for nth in 0..count {
            let key = row(nth);
            let hash =
                places.iter().filter(|other| **other != place).fold(sets.seed, |hash, other| mix(hash, key[*other]));
            let mut slot = hash as usize & mask;
            loop {
                let Some((first, last)) = groups.get_mut(slots[slot] as usize) else {
                    slots[slot] = groups.len() as u32;
                    groups.push((nth, nth));
                    break;
                };
                let other = row(*first);
                if places.iter().all(|at| *at == place || key[*at] == other[*at]) {
                    next[*last as usize] = nth;
                    *last = nth;
                    break;
                }
                slot = (slot + 1) & mask;
            }
        }
    }

    /// Makes one box of each group that has at least `members`.
    fn merge(&self, (place, members): (usize, usize), rows: &mut Vec<u32>, sets: &mut Sets, tables: &mut Tables) {
        let row = |nth: u32| &rows[nth as usize * self.places..][..self.places];
        if tables.groups.len() * self.places == rows.len() {
            return;
        }
        let Tables { groups, next, parts, joined, .. } = tables;
        joined.clear();
        for (first, _) in groups {
            parts.clear();
            parts.extend(chain(next, *first).map(|nth| row(nth)[place]));
            if parts.len() < members {
                chain(next, *first).for_each(|nth| joined.extend_from_slice(row(nth)));
                continue;
            }
            let begin = joined.len();
            joined.extend_from_slice(row(*first));
            joined[begin + place] = sets.union(parts);
        }
        std::mem::swap(rows, joined);
    }

    /// Replaces the words by those for boxes, each with the first host it stands for.
    fn write(&self, boxes: &[u32], sets: &Sets, words: &mut Words) {
        words.clear();
        let texts: Vec<&str> = Pieces::of(self.first, MAX_PLACES).map(|(word, _)| word).collect();
        for ids in boxes.chunks_exact(self.places) {
            let write = |out: &mut String, is_first: bool| {
                for (nth, text) in texts.iter().enumerate() {
                    out.push_str(text);
                    match ids.get(nth).map_or(&[][..], |id| sets.numbers(*id)) {
                        [number, rest @ ..] if is_first || rest.is_empty() => number.write(out),
                        [] => {}
                        numbers => {
                            out.push('[');
                            out.push_str(&ranges(numbers));
                            out.push(']');
                        }
                    }
                }
            };
            words.push(|word| write(word, false), |first| write(first, true));
        }
    }
}

#[cfg(test)]
mod tests;
