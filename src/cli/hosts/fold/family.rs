//! How the hosts of a family are joined.

use crate::cli::hosts::fold::MAX_PLACES;
use crate::cli::hosts::fold::parts::{Number, Pieces};
use crate::cli::hosts::fold::ranges::write_ranges;
use crate::cli::hosts::fold::sets::{FREE, Sets, mix};
use crate::cli::hosts::fold::words::Words;

/// Hosts whose names differ in numbers only.
pub(super) struct Family<'a> {
    /// The first name. The others have other numbers.
    pub(super) first: &'a str,
    /// How many numbers a name has.
    pub(super) places: usize,
    /// For each host, the sets of one number each and the index of its name, one after the other. A host may
    /// occur twice.
    pub(super) rows: &'a [u32],
}

/// The members of a group, from the first on.
fn chain(next: &[u32], first: u32) -> impl Iterator<Item = u32> + '_ {
    std::iter::successors(Some(first), |nth| Some(next[*nth as usize]).filter(|next| *next != FREE))
}

/// Memory for joining, which is used again, because there may be very many small families.
#[derive(Default)]
pub(super) struct Tables {
    /// A hash table of groups of rows that differ at one place only, each by its first row.
    slots: Vec<u32>,
    /// The first member of each group.
    groups: Vec<u32>,
    /// The member after each one.
    next: Vec<u32>,
    parts: Vec<u32>,
    joined: Vec<u32>,
}

impl Tables {
    /// The number of members of the largest group.
    fn largest(&self) -> usize {
        self.groups.iter().map(|first| chain(&self.next, *first).count()).max().unwrap_or(0)
    }
}

#[derive(Clone, Copy)]
pub(super) enum Order {
    LastFirst,
    FirstFirst,
}

/// Whether two of these hosts differ at one place or none, so that they can be joined. `numbers` has the numbers of
/// each host, one after the other.
pub(super) fn can_be_joined(numbers: &[Number], places: usize) -> bool {
    let mut hosts = numbers.chunks_exact(places);
    while let Some(host) = hosts.next() {
        for other in hosts.clone() {
            if host.iter().zip(other).filter(|(a, b)| a != b).nth(1).is_none() {
                return true;
            }
        }
    }
    false
}

impl Family<'_> {
    /// The length of a row: a set for each place, and the index of the name. A row of several hosts has no name; its
    /// index is [`FREE`].
    pub(super) fn width(&self) -> usize {
        self.places + 1
    }

    pub(super) fn row<'a>(&self, rows: &'a [u32], nth: usize) -> &'a [u32] {
        &rows[nth * self.width()..][..self.places]
    }

    /// Covers the hosts with boxes. A box has a set of numbers for each place, and stands for all their
    /// combinations. Boxes do not overlap. `order` is the order in which the places are joined.
    pub(super) fn join(&self, sets: &mut Sets, order: Order, (work, tables): (&mut usize, &mut Tables)) -> Vec<u32> {
        let mut rows = self.rows.to_vec();
        // If all hosts have the same number at a place, nothing can be joined there.
        let first = &self.rows[..self.places];
        let differs = |place: &usize| self.rows.chunks_exact(self.width()).any(|row| row[*place] != first[*place]);
        let mut places: Vec<usize> = (0..self.places).filter(differs).collect();
        if let Order::LastFirst = order {
            places.reverse();
        }
        if places.is_empty() {
            // All rows are the same host.
            rows.truncate(self.width());
            return rows;
        }
        // At how many places in a row nothing can be joined. The first pass over the places is always complete,
        // because it also removes duplicate hosts.
        let (mut done, mut passed) = (0, 0);
        for place in places.iter().cycle() {
            if *work == 0 && passed >= places.len() {
                break;
            }
            let before = rows.len();
            *work = work.saturating_sub(before / self.width());
            self.group_at((*place, &places), &rows, sets, tables);
            self.merge((*place, 0), &mut rows, sets, tables);
            passed += 1;
            done = if rows.len() < before { 1 } else { done + 1 };
            if done >= places.len() {
                break;
            }
        }
        rows
    }

    /// Covers the hosts with boxes as [`Family::join`] does, but of all groups of boxes that could be joined next, it
    /// joins the largest. That takes longer, so it is for small families.
    /// Of equally large groups, those of the first place in `order` come first.
    pub(super) fn join_largest(
        &self,
        sets: &mut Sets,
        order: Order,
        (work, tables): (&mut usize, &mut Tables),
    ) -> Vec<u32> {
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

    /// Covers the hosts with boxes as [`Family::join`] does, but joins each box, in the order of the numbers, with the
    /// next one that differs at one place. The numbers are compared in this order of `places`. `work` is how many pairs
    /// may still be compared.
    pub(super) fn join_pairs(&self, places: &[usize], sets: &mut Sets, work: &mut usize) -> Vec<u32> {
        let mut rows: Vec<&[u32]> = self.rows.chunks_exact(self.width()).collect();
        let numbers = |row: &[u32]| places.iter().map(|place| sets.numbers(row[*place])[0]).collect::<Vec<_>>();
        rows.sort_by_cached_key(|row| numbers(row));
        self.join_next(rows.into_iter().map(<[u32]>::to_vec).collect(), sets, work)
    }

    /// Joins each of these boxes with the next one that differs at one place, until none can be joined.
    pub(super) fn join_next(&self, mut rows: Vec<Vec<u32>>, sets: &mut Sets, work: &mut usize) -> Vec<u32> {
        loop {
            let (mut is_done, mut nth) = (true, 0);
            while nth < rows.len() {
                let mut other = nth + 1;
                while other < rows.len() && *work > 0 {
                    *work -= 1;
                    let mut differs = (0..self.places).filter(|place| rows[nth][*place] != rows[other][*place]);
                    match (differs.next(), differs.next()) {
                        (_, Some(_)) => other += 1,
                        (place, None) => {
                            if let Some(place) = place {
                                rows[nth][place] = sets.union(&[rows[nth][place], rows[other][place]]);
                                rows[nth][self.places] = FREE;
                            }
                            rows.remove(other);
                            is_done = false;
                        }
                    }
                }
                nth += 1;
            }
            if is_done || *work == 0 {
                return rows.concat();
            }
        }
    }

    /// Groups boxes that differ at this place only.
    fn group_at(&self, (place, places): (usize, &[usize]), rows: &[u32], sets: &Sets, tables: &mut Tables) {
        let count = rows.len() / self.width();
        let Tables { slots, groups, next, .. } = tables;
        let mask = (count * 2).next_power_of_two() - 1;
        slots.clear();
        slots.resize(mask + 1, FREE);
        groups.clear();
        next.clear();
        next.resize(count, FREE);
        for (nth, key) in rows.chunks_exact(self.width()).enumerate() {
            let hash =
                places.iter().filter(|other| **other != place).fold(sets.seed, |hash, other| mix(hash, key[*other]));
            let mut slot = hash as usize & mask;
            loop {
                let first = slots[slot];
                if first == FREE {
                    slots[slot] = nth as u32;
                    groups.push(nth as u32);
                    break;
                }
                let other = self.row(rows, first as usize);
                if places.iter().all(|at| *at == place || key[*at] == other[*at]) {
                    // The order of the members behind the first makes no difference.
                    next[nth] = std::mem::replace(&mut next[first as usize], nth as u32);
                    break;
                }
                slot = (slot + 1) & mask;
            }
        }
    }

    /// Makes one box of each group that has at least `members`.
    fn merge(&self, (place, members): (usize, usize), rows: &mut Vec<u32>, sets: &mut Sets, tables: &mut Tables) {
        if tables.groups.len() * self.width() == rows.len() {
            return;
        }
        let Tables { groups, next, parts, joined, .. } = tables;
        let row = |nth: u32| &rows[nth as usize * self.width()..][..self.width()];
        joined.clear();
        for first in groups.iter() {
            parts.clear();
            parts.extend(chain(next, *first).map(|nth| row(nth)[place]));
            if parts.len() < members {
                chain(next, *first).for_each(|nth| joined.extend_from_slice(row(nth)));
                continue;
            }
            let begin = joined.len();
            joined.extend_from_slice(row(*first));
            let union = sets.union(parts);
            // If all members are the same host, it keeps its name.
            if std::mem::replace(&mut joined[begin + place], union) != union {
                joined[begin + self.places] = FREE;
            }
        }
        std::mem::swap(rows, joined);
    }

    /// Replaces the words by those for boxes, each with the first host it stands for.
    pub(super) fn write(&self, boxes: &[u32], sets: &Sets, words: &mut Words, names: &[&str]) {
        words.clear();
        let texts: Vec<&str> = Pieces::of(self.first, MAX_PLACES).map(|(word, _)| word).collect();
        for ids in boxes.chunks_exact(self.width()) {
            let (ids, name) = ids.split_at(self.places);
            if name[0] != FREE {
                words.push_name(names, name[0]);
                continue;
            }
            let write = |out: &mut String, is_first: bool| {
                for (nth, text) in texts.iter().enumerate() {
                    out.push_str(text);
                    match ids.get(nth).map_or(&[][..], |id| sets.numbers(*id)) {
                        [number, rest @ ..] if is_first || rest.is_empty() => number.write(out),
                        [] => {}
                        numbers => {
                            out.push('[');
                            write_ranges(numbers, out);
                            out.push(']');
                        }
                    }
                }
            };
            words.push(|out| write(out, false), |out| write(out, true));
        }
    }
}
