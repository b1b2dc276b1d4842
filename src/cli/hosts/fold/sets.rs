//! Sets of numbers by id.

use std::hash::{BuildHasher, Hasher, RandomState};

use crate::cli::hosts::fold::parts::Number;
use crate::cli::hosts::fold::ranges::write_ranges;
use crate::cli::hosts::numbers::MAX_DIGITS;

/// Numbers below this are looked up in lists. There is one list of 4 MiB for each count of digits, and a number
/// has at most 18 digits.
const MAX_DIRECT: u64 = 1 << 20;

/// A slot of a table that is free.
pub(super) const FREE: u32 = u32::MAX;

/// Mixes `value` into the hash. The seed is random, so that an input cannot be made to give equal hashes.
pub(super) fn mix(hash: u64, value: u32) -> u64 {
    let product = u128::from(hash ^ u64::from(value)) * 0x9e37_79b9_7f4a_7c15;
    (product as u64) ^ (product >> 64) as u64
}

/// Sets of numbers by id. Equal sets have the same id, so they are quick to compare.
pub(super) struct Sets {
    numbers: Vec<Number>,
    /// Where the numbers of each set begin and end.
    spans: Vec<(u32, u32)>,
    /// A hash table of the sets by their numbers. Its length is a power of two.
    slots: Vec<u32>,
    /// The ids of the sets in the table.
    hashed: Vec<u32>,
    /// The ids of sets of one small number, by the number of digits and by the value.
    direct: Vec<Vec<u32>>,
    /// The lengths of the texts of the sets; 0 if one is not known yet.
    lens: Vec<u32>,
    pub(super) seed: u64,
}

impl Default for Sets {
    fn default() -> Self {
        let seed = RandomState::new().build_hasher().finish();
        Self {
            numbers: Vec::new(),
            spans: Vec::new(),
            slots: vec![FREE; 64],
            hashed: Vec::new(),
            direct: vec![Vec::new(); MAX_DIGITS + 1],
            lens: Vec::new(),
            seed,
        }
    }
}

impl Sets {
    pub(super) fn numbers(&self, id: u32) -> &[Number] {
        let (begin, end) = self.spans[id as usize];
        &self.numbers[begin as usize..end as usize]
    }

    /// The id of the set of one number. Most numbers in names are small and close to each other, so a list is
    /// faster than a hash table.
    pub(super) fn one(&mut self, number: Number) -> u32 {
        let value = number.value as usize;
        if number.value >= MAX_DIRECT {
            self.numbers.push(number);
            return self.id_of_last(1);
        }
        let known = self.direct[usize::from(number.digits)].get(value).copied().unwrap_or(FREE);
        if known != FREE {
            return known;
        }
        self.numbers.push(number);
        let id = self.add_last(1);
        let list = &mut self.direct[usize::from(number.digits)];
        if list.len() <= value {
            list.resize(value + 1, FREE);
        }
        list[value] = id;
        id
    }

    /// Makes a set of the last `len` numbers.
    fn add_last(&mut self, len: usize) -> u32 {
        let end = self.numbers.len();
        self.spans.push(((end - len) as u32, end as u32));
        self.spans.len() as u32 - 1
    }

    /// The id of the set of the last `len` numbers, which are in order. If the set exists already, these
    /// numbers are removed.
    fn id_of_last(&mut self, len: usize) -> u32 {
        let begin = self.numbers.len() - len;
        let slot = self.slot(&self.numbers[begin..]);
        if self.slots[slot] != FREE {
            self.numbers.truncate(begin);
            return self.slots[slot];
        }
        let id = self.add_last(len);
        self.slots[slot] = id;
        self.hashed.push(id);
        if self.hashed.len() * 2 > self.slots.len() {
            self.slots = vec![FREE; self.slots.len() * 2];
            for nth in 0..self.hashed.len() {
                let id = self.hashed[nth];
                let slot = self.slot(self.numbers(id));
                self.slots[slot] = id;
            }
        }
        id
    }

    /// The slot that has the id of a set, or that is free for it.
    fn slot(&self, numbers: &[Number]) -> usize {
        let hash = numbers.iter().fold(self.seed, |hash, number| {
            mix(mix(hash, number.value as u32), (number.value >> 32) as u32 ^ (u32::from(number.digits) << 27))
        });
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        while self.slots[slot] != FREE && self.numbers(self.slots[slot]) != numbers {
            slot = (slot + 1) & mask;
        }
        slot
    }

    pub(super) fn union(&mut self, parts: &[u32]) -> u32 {
        if let [one] = parts {
            return *one;
        }
        let begin = self.numbers.len();
        for id in parts {
            let (from, end) = self.spans[*id as usize];
            self.numbers.extend_from_within(from as usize..end as usize);
        }
        let all = &mut self.numbers[begin..];
        all.sort();
        let mut len = 0;
        for nth in 0..all.len() {
            if len == 0 || all[len - 1] != all[nth] {
                all[len] = all[nth];
                len += 1;
            }
        }
        self.numbers.truncate(begin + len);
        self.id_of_end(begin)
    }

    /// The set without the numbers of another set, which are not all of it.
    pub(super) fn without(&mut self, id: u32, other: u32) -> u32 {
        let (from, end) = self.spans[id as usize];
        let begin = self.numbers.len();
        for nth in from as usize..end as usize {
            let number = self.numbers[nth];
            if !self.numbers(other).contains(&number) {
                self.numbers.push(number);
            }
        }
        self.id_of_end(begin)
    }

    /// Whether a set has all numbers of another one, and more.
    pub(super) fn has_more_than(&self, id: u32, other: u32) -> bool {
        let (numbers, others) = (self.numbers(id), self.numbers(other));
        others.len() < numbers.len() && others.iter().all(|number| numbers.contains(number))
    }

    /// The id of the set of the numbers from `begin` on.
    fn id_of_end(&mut self, begin: usize) -> u32 {
        match self.numbers[begin..] {
            [number] => {
                self.numbers.truncate(begin);
                self.one(number)
            }
            _ => self.id_of_last(self.numbers.len() - begin),
        }
    }

    /// How long the text of a set is, with its brackets.
    pub(super) fn text_len(&mut self, id: u32) -> usize {
        let nth = id as usize;
        if self.lens.len() <= nth {
            self.lens.resize(self.spans.len(), 0);
        }
        if self.lens[nth] == 0 {
            self.lens[nth] = match self.numbers(id) {
                [number] => number.digits.into(),
                numbers => {
                    let mut text = String::new();
                    write_ranges(numbers, &mut text);
                    text.len() as u32 + 2
                }
            };
        }
        self.lens[nth] as usize
    }
}
