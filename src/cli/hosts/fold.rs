//! From a list of hosts back to a short expression: `web[01-40,50]`.
//!
//! Hosts are divided into families: the names in a family differ only in numbers. The numbers of each family
//! are joined to sets, and the sets are written as ranges.
//!
//! - `parts`: a name as words and numbers; `sets`: sets of numbers by id
//! - `ranges`: how a set of numbers is written

mod parts;
mod ranges;
mod sets;

use std::collections::HashMap;

use self::parts::{Parts, natural_cmp};
use self::ranges::ranges;
use self::sets::{FREE, Sets, mix};

/// How many rows of numbers are compared when hosts are joined, over all passes, so that any list is folded
/// within a second. Hosts that are not joined by then are written one by one.
const MAX_WORK: usize = 20_000_000;
/// Most numbers in a name that are compared, so that memory is bounded. A name with more than one number for
/// each hop of the longest path is rare.
const MAX_PLACES: usize = 16;
/// Stands for a number in the pattern of a family. Names of hosts do not contain it. A name that does is not
/// folded.
const PLACE: char = '\0';
/// The shortest readable expression that is found for these hosts, in natural order. The names are those of
/// `HostPath::text`. The expression stands for exactly these hosts.
pub(crate) fn fold<S: AsRef<str>>(names: &[S]) -> String {
    let mut families = Families::default();
    names.iter().for_each(|name| families.add(name.as_ref()));
    let Families { list, mut sets, .. } = families;
    // Each word, and the first host it stands for. The words are sorted by this host.
    let mut words: Vec<(String, String)> = Vec::new();
    let mut work = MAX_WORK;
    for family in list {
        // The order in which numbers are joined changes the result, so both orders are tried.
        let last_first = family.join(&mut sets, Order::LastFirst, &mut work);
        let one = family.written(&last_first, &sets);
        if family.places < 2 || one.len() < 2 {
            words.extend(one);
            continue;
        }
        let first_first = family.join(&mut sets, Order::FirstFirst, &mut work);
        let other = family.written(&first_first, &sets);
        words.extend(if len(&other) < len(&one) { other } else { one });
    }
    words.sort_by(|(a, _), (b, _)| natural_cmp(a, b));
    let mut folded = String::with_capacity(len(&words));
    for (nth, (_, word)) in words.iter().enumerate() {
        if nth > 0 {
            folded.push(',');
        }
        folded.push_str(word);
    }
    folded
}

/// Hosts whose names differ in numbers only.
struct Family {
    /// The name, with [`PLACE`] for each number; or a name that contains [`PLACE`] itself.
    pattern: String,
    places: usize,
    /// For each host, the sets of one number each, one after the other. A host may occur twice.
    rows: Vec<u32>,
}

#[derive(Default)]
struct Families {
    list: Vec<Family>,
    by_pattern: HashMap<String, usize>,
    sets: Sets,
    /// The family of the last name. The next name is likely in the same family.
    last: usize,
    pattern: String,
    row: Vec<u32>,
}

impl Families {
    fn add(&mut self, name: &str) {
        self.pattern.clear();
        self.row.clear();
        if name.contains(PLACE) {
            self.pattern.push_str(name);
        } else {
            let mut parts = Parts::of(name);
            loop {
                let (word, number) = parts.next_part();
                self.pattern.push_str(word);
                let Some(number) = number else { break };
                if self.row.len() == MAX_PLACES {
                    self.pattern.push_str(&name[parts.at - usize::from(number.digits)..]);
                    break;
                }
                self.pattern.push(PLACE);
                self.row.push(self.sets.one(number));
            }
        }
        let is_last = self.list.get(self.last).is_some_and(|family| family.pattern == self.pattern);
        if !is_last {
            self.last = match self.by_pattern.get(&self.pattern) {
                Some(nth) => *nth,
                None => {
                    let (nth, places) = (self.list.len(), self.row.len());
                    self.by_pattern.insert(self.pattern.clone(), nth);
                    self.list.push(Family { pattern: self.pattern.clone(), places, rows: Vec::new() });
                    nth
                }
            };
        }
        if let Some(family) = self.list.get_mut(self.last) {
            family.rows.extend(&self.row);
        }
    }
}

#[derive(Clone, Copy)]
enum Order {
    LastFirst,
    FirstFirst,
}

impl Family {
    /// Covers the hosts with boxes. A box has a set of numbers for each place, and stands for all their
    /// combinations. Boxes do not overlap. `order` is the order in which the places are joined.
    fn join(&self, sets: &mut Sets, order: Order, work: &mut usize) -> Vec<u32> {
        let mut rows = self.rows.clone();
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
                rows = self.join_at(*place, &rows, &places, sets);
            }
            if rows.len() == before || *work == 0 {
                return rows;
            }
        }
    }

    /// Joins boxes that differ at this place only.
    fn join_at(&self, place: usize, rows: &[u32], places: &[usize], sets: &mut Sets) -> Vec<u32> {
        let row = |nth: u32| &rows[nth as usize * self.places..][..self.places];
        let count = (rows.len() / self.places) as u32;
        let mask = (count as usize * 2).next_power_of_two() - 1;
        let mut slots = vec![FREE; mask + 1];
        // The first and the last member of each group so far; `next` has the member after each one.
        let mut groups: Vec<(u32, u32)> = Vec::new();
        let mut next = vec![FREE; count as usize];
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
        let mut joined = Vec::with_capacity(groups.len() * self.places);
        let mut parts = Vec::new();
        for (first, _) in groups {
            parts.clear();
            let mut nth = first;
            while nth != FREE {
                parts.push(row(nth)[place]);
                nth = next[nth as usize];
            }
            let begin = joined.len();
            joined.extend_from_slice(row(first));
            joined[begin + place] = sets.union(&parts);
        }
        joined
    }

    /// The words for boxes, each with the first host it stands for.
    fn written(&self, boxes: &[u32], sets: &Sets) -> Vec<(String, String)> {
        if self.places == 0 {
            return vec![(self.pattern.clone(), self.pattern.clone())];
        }
        let write = |ids: &[u32]| {
            let (mut first, mut word) = (String::new(), String::new());
            let mut texts = self.pattern.split(PLACE);
            for id in ids {
                let text = texts.next().unwrap_or_default();
                first.push_str(text);
                word.push_str(text);
                match sets.numbers(*id) {
                    [number] => {
                        number.write(&mut first);
                        number.write(&mut word);
                    }
                    numbers => {
                        numbers.iter().take(1).for_each(|number| number.write(&mut first));
                        word.push('[');
                        word.push_str(&ranges(numbers));
                        word.push(']');
                    }
                }
            }
            let last = texts.next().unwrap_or_default();
            (first + last, word + last)
        };
        boxes.chunks_exact(self.places).map(write).collect()
    }
}

fn len(words: &[(String, String)]) -> usize {
    words.iter().map(|(_, word)| word.len() + 1).sum()
}

#[cfg(test)]
mod tests;
