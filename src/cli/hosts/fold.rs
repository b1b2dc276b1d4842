//! From a list of hosts back to a short expression: `web[01-40,50]`.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, Hasher, RandomState};

use crate::cli::hosts::numbers::{MAX_DIGITS, write_number};

/// From this many numbers on, equal distances are written as a step.
const MIN_STEPS: usize = 4;
/// How many rows of numbers are looked at when hosts are joined, over all
/// passes, so that any list is folded within a second. What is not joined then
/// is written one by one.
const MAX_WORK: usize = 20_000_000;
/// Most numbers of a name that are looked at, so that memory is bounded; a name
/// with more than one for each hop of the longest path is rare.
const MAX_PLACES: usize = 16;
/// Stands for a number in a family. No name of a host holds it; others that do
/// are not folded.
const PLACE: char = '\0';
/// A slot of a table that is free.
const FREE: u32 = u32::MAX;

/// The shortest readable expression found for these hosts, in natural order.
/// Names are those of `HostPath::text`, and the expression stands for exactly
/// these.
pub(crate) fn fold<S: AsRef<str>>(names: &[S]) -> String {
    let mut families = Families::default();
    names.iter().for_each(|name| families.add(name.as_ref()));
    let Families { list, mut sets, .. } = families;
    // Each word with the first host it stands for, by which it is sorted.
    let mut words: Vec<(String, String)> = Vec::new();
    let mut work = MAX_WORK;
    for family in list {
        // Which numbers are joined first decides what is left over, so both
        // ways are tried.
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

/// Compares as people do: numbers by their value, so that web9 is before web10.
pub(crate) fn natural_cmp(a: &str, b: &str) -> Ordering {
    let (mut parts_a, mut parts_b) = (Parts::of(a), Parts::of(b));
    loop {
        let ((word_a, number_a), (word_b, number_b)) = (parts_a.next_part(), parts_b.next_part());
        let ordering = word_a.cmp(word_b);
        if ordering.is_ne() {
            return ordering;
        }
        match (number_a, number_b) {
            (Some(a), Some(b)) if a == b => {}
            (Some(a), Some(b)) => return a.cmp(&b),
            (Some(_), None) => return Ordering::Greater,
            (None, Some(_)) => return Ordering::Less,
            (None, None) => return a.cmp(b),
        }
    }
}

/// A number as it is written. Ordered by value, then by length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Number {
    value: u64,
    digits: u8,
}

impl Number {
    /// Whether zeros stand in front.
    fn is_padded(self) -> bool {
        self.digits > 1 && self.value < power_of_ten(self.digits - 1)
    }

    fn write(self, text: &mut String) {
        write_number(self.value, self.digits.into(), text);
    }
}

/// No exponent is larger than [`MAX_DIGITS`], so this fits.
fn power_of_ten(exponent: u8) -> u64 {
    10_u64.pow(exponent.into())
}

/// A name as words with numbers between. What stands in braces or brackets is
/// never taken apart.
struct Parts<'a> {
    name: &'a str,
    at: usize,
}

impl<'a> Parts<'a> {
    fn of(name: &'a str) -> Self {
        Self { name, at: 0 }
    }

    /// The next word, and the number behind it; the last word has none.
    fn next_part(&mut self) -> (&'a str, Option<Number>) {
        let bytes = self.name.as_bytes();
        let begin = self.at;
        while let Some(byte) = bytes.get(self.at) {
            let rest = &bytes[self.at..];
            let past = |close: u8| rest.iter().position(|b| *b == close).map_or(rest.len(), |end| end + 1);
            match byte {
                b'{' => self.at += past(b'}'),
                b'[' => self.at += past(b']'),
                b'0'..=b'9' => {
                    let digits = rest.iter().position(|b| !b.is_ascii_digit()).unwrap_or(rest.len());
                    let word = &self.name[begin..self.at];
                    self.at += digits;
                    if digits <= MAX_DIGITS {
                        let value = rest[..digits].iter().fold(0, |value, b| value * 10 + u64::from(b - b'0'));
                        return (word, Some(Number { value, digits: digits as u8 }));
                    }
                }
                _ => self.at += 1,
            }
        }
        (&self.name[begin..], None)
    }
}

/// Hosts whose names differ in numbers only.
struct Family {
    /// The name, with [`PLACE`] for each number; or any name that holds one.
    pattern: String,
    places: usize,
    /// The sets of one number of each host, one after the other. Hosts may come
    /// twice.
    rows: Vec<u32>,
}

#[derive(Default)]
struct Families {
    list: Vec<Family>,
    by_pattern: HashMap<String, usize>,
    sets: Sets,
    /// The family of the last name, which is likely that of the next, too.
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
    /// Covers the hosts with boxes: a set of numbers for each place, which stand
    /// for all their combinations. Boxes do not overlap. `order` says at which
    /// place to join first.
    fn join(&self, sets: &mut Sets, order: Order, work: &mut usize) -> Vec<u32> {
        let mut rows = self.rows.clone();
        // Where all hosts have one number, none can be joined.
        let first = &self.rows[..self.places.min(self.rows.len())];
        let differs = |place: &usize| self.rows.chunks_exact(self.places).any(|row| row[*place] != first[*place]);
        let mut places: Vec<usize> = (0..self.places).filter(differs).collect();
        if let Order::LastFirst = order {
            places.reverse();
        }
        if places.is_empty() {
            // All are one host.
            rows.truncate(self.places);
        }
        loop {
            let before = rows.len();
            for place in &places {
                // The first pass also takes out hosts that come twice.
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

    /// Makes one of boxes that differ at this place only.
    fn join_at(&self, place: usize, rows: &[u32], places: &[usize], sets: &mut Sets) -> Vec<u32> {
        let row = |nth: u32| &rows[nth as usize * self.places..][..self.places];
        let count = (rows.len() / self.places) as u32;
        let mask = (count as usize * 2).next_power_of_two() - 1;
        let mut slots = vec![FREE; mask + 1];
        // The first of each group, its last so far, and which comes behind each.
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

/// Spreads `value` over the hash. The seed is random, so nobody can make all of
/// them alike.
fn mix(hash: u64, value: u32) -> u64 {
    let product = u128::from(hash ^ u64::from(value)) * 0x9e37_79b9_7f4a_7c15;
    (product as u64) ^ (product >> 64) as u64
}

/// Sets of numbers by id, so that they are quick to compare. A set has one id.
struct Sets {
    numbers: Vec<Number>,
    /// Where the numbers of each set begin and end.
    spans: Vec<(u32, u32)>,
    /// The sets by what they hold; as many slots as a power of two.
    slots: Vec<u32>,
    seed: u64,
}

impl Default for Sets {
    fn default() -> Self {
        let seed = RandomState::new().build_hasher().finish();
        Self { numbers: Vec::new(), spans: Vec::new(), slots: vec![FREE; 64], seed }
    }
}

impl Sets {
    fn numbers(&self, id: u32) -> &[Number] {
        let (begin, end) = self.spans[id as usize];
        &self.numbers[begin as usize..end as usize]
    }

    fn one(&mut self, number: Number) -> u32 {
        self.numbers.push(number);
        self.id_of_last(1)
    }

    /// The id of the set that the last `len` numbers make, which are in order;
    /// they go if the set is known.
    fn id_of_last(&mut self, len: usize) -> u32 {
        let begin = self.numbers.len() - len;
        let slot = self.slot(&self.numbers[begin..]);
        if self.slots[slot] != FREE {
            self.numbers.truncate(begin);
            return self.slots[slot];
        }
        let id = self.spans.len() as u32;
        self.spans.push((begin as u32, self.numbers.len() as u32));
        self.slots[slot] = id;
        if self.spans.len() * 2 > self.slots.len() {
            self.slots = vec![FREE; self.slots.len() * 2];
            for id in 0..self.spans.len() as u32 {
                let slot = self.slot(self.numbers(id));
                self.slots[slot] = id;
            }
        }
        id
    }

    /// Where the id of a set is, or where it would be.
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

    fn union(&mut self, parts: &[u32]) -> u32 {
        if let [one] = parts {
            return *one;
        }
        let mut all: Vec<Number> = parts.iter().flat_map(|id| self.numbers(*id).iter().copied()).collect();
        all.sort();
        all.dedup();
        self.numbers.extend_from_slice(&all);
        self.id_of_last(all.len())
    }
}

fn len(words: &[(String, String)]) -> usize {
    words.iter().map(|(_, word)| word.len() + 1).sum()
}

/// Numbers in ascending order as `1-3,5,08-10`, as short as they can be written.
fn ranges(numbers: &[Number]) -> String {
    let padded: BTreeSet<u8> = numbers.iter().filter(|n| n.is_padded()).map(|n| n.digits).collect();
    // A range has one width: `08-10`. Numbers without zeros in front can belong
    // to the padded ones of their length, or to those without.
    let mut taking: HashMap<u8, Taking> = padded.into_iter().map(|digits| (digits, Taking::Next)).collect();
    let mut shortest = ranges_with(numbers, &taking);
    let widths: BTreeSet<u8> = taking.keys().copied().collect();
    for digits in widths {
        for other in [Taking::All, Taking::Nothing] {
            let before = taking.insert(digits, other);
            let text = ranges_with(numbers, &taking);
            if text.len() < shortest.len() {
                shortest = text;
            } else if let Some(before) = before {
                taking.insert(digits, before);
            }
        }
    }
    shortest
}

/// Which numbers without zeros in front are written with the padded ones of
/// their length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taking {
    /// Those that go on where the padded ones end: 10 and 11 behind 09.
    Next,
    All,
    Nothing,
}

fn ranges_with(numbers: &[Number], taking: &HashMap<u8, Taking>) -> String {
    // The numbers of each width; 0 is for those without zeros in front.
    let mut widths: HashMap<u8, Vec<Number>> = HashMap::new();
    for number in numbers {
        let follows = |list: &Vec<Number>| list.last().is_some_and(|last| last.value + 1 == number.value);
        let is_with_padded = number.is_padded()
            || match taking.get(&number.digits) {
                Some(Taking::All) => true,
                Some(Taking::Next) => widths.get(&number.digits).is_some_and(follows),
                Some(Taking::Nothing) | None => false,
            };
        let width = if is_with_padded { number.digits } else { 0 };
        widths.entry(width).or_default().push(*number);
    }
    let mut runs: Vec<Run> = widths.into_values().flat_map(|numbers| divide(&numbers)).collect();
    runs.sort_unstable_by_key(|run| run.first);
    let mut text = String::new();
    for (nth, run) in runs.iter().enumerate() {
        if nth > 0 {
            text.push(',');
        }
        run.write(&mut text);
    }
    text
}

/// Numbers at equal distances.
#[derive(Debug, Clone, Copy)]
struct Run {
    first: Number,
    last: Number,
    step: u64,
}

impl Run {
    fn write(&self, text: &mut String) {
        self.first.write(text);
        if self.first != self.last {
            text.push('-');
            self.last.write(text);
            if self.step != 1 {
                text.push('/');
                write_number(self.step, 0, text);
            }
        }
    }

    fn len(&self) -> usize {
        let digits = |value: u64| 1 + value.checked_ilog10().unwrap_or(0) as usize;
        let first = usize::from(self.first.digits);
        let (last, step) = (usize::from(self.last.digits), self.step);
        match (self.first == self.last, step) {
            (true, _) => first,
            (_, 1) => first + 1 + last,
            _ => first + 1 + last + 1 + digits(step),
        }
    }
}

/// Divides numbers in ascending order into runs that are as short as can be when
/// written; of those that are, into the fewest.
fn divide(numbers: &[Number]) -> Vec<Run> {
    let count = numbers.len();
    let step = |at: usize| numbers[at + 1].value - numbers[at].value;
    // From behind: how many numbers from here on are at equal distances, what
    // the rest takes at best, and how many of it are the first run then.
    let mut equal = 1;
    let mut best: Vec<(u32, u32, u32)> = vec![(0, 0, 0); count + 1];
    for at in (0..count).rev() {
        equal = match count - at {
            1 => 1,
            2 => 2,
            _ if step(at) == step(at + 1) => equal + 1,
            _ => 2,
        };
        let by = if equal > 1 { step(at) } else { 1 };
        let shortest = if by == 1 { 2 } else { MIN_STEPS };
        // The last can also be the first of the next run.
        let lengths = [equal, equal - 1, 1];
        let choices = lengths.into_iter().filter(|len| *len == 1 || *len >= shortest).map(|len| {
            let run = Run { first: numbers[at], last: numbers[at + len - 1], step: by };
            let (chars, runs, _) = best[at + len];
            (chars + run.len() as u32 + 1, runs + 1, len as u32)
        });
        best[at] = choices.min_by_key(|(chars, runs, _)| (*chars, *runs)).unwrap_or_default();
    }
    let mut runs = Vec::new();
    let mut at = 0;
    while at < count {
        let len = (best[at].2 as usize).max(1);
        let by = if len > 1 { step(at) } else { 1 };
        runs.push(Run { first: numbers[at], last: numbers[at + len - 1], step: by });
        at += len;
    }
    runs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cli::hosts::expression::{Sources, expand, list};
    use crate::cli::hosts::numbers::Numbers;

    struct Nothing;

    impl Sources for Nothing {
        fn group(&mut self, _: &str) -> Result<Option<String>, String> {
            Ok(None)
        }
        fn file(&mut self, _: &str) -> Result<String, String> {
            Err("no".into())
        }
        fn stdin(&mut self) -> Result<String, String> {
            Err("no".into())
        }
    }

    fn expanded(expression: &str) -> BTreeSet<String> {
        let hosts = expand(&[expression], &mut Nothing).unwrap_or_else(|e| panic!("{e}")).hosts;
        hosts.into_iter().map(|host| host.text).collect()
    }

    fn refolded(expression: &str) -> String {
        let names: Vec<String> = expanded(expression).into_iter().collect();
        let folded = fold(&names);
        assert_eq!(expanded(&folded), names.into_iter().collect());
        folded
    }

    #[test]
    fn expressions_come_back() {
        for expression in [
            "web1",
            "web[1-3]",
            "web[01-40,50]",
            "db1,web[01-40,50]-ib",
            "rack[1-4]n[1-20]",
            "rack[1-4]n[1-20]p[1-2]",
            "web[8-12]",
            "web[08-12]",
            "web[098-102]",
            "web[1-9/2]",
            "web[0-90/10]",
            "web[1,3,6]",
            "web[1-2,01-02]",
            "web[9,09-10,100]",
            "10.0.[0-3].[1-254]",
            "bastion/web[1-3]/sudo:root",
            "b[1-2]/web[1-3]:[2201-2203]/docker:app[1-2]",
            "local[1-3]",
            "docker:{registry/app:1},docker:{registry/app:2}",
            "docker:{a1}[1-2]",
            "[fe80::1]:[22-23],[fe80::2]",
            "a,b,c",
            "web,web[1-2]",
            "[1-3]",
            "u[1-2]@web[1-2]",
        ] {
            assert_eq!(refolded(expression), expression);
        }
    }

    #[test]
    fn a_range_goes_on_where_numbers_get_longer() {
        for (hosts, folded) in [
            ("h[01-02],h[99-100]", "h[01-02,99-100]"),
            ("web[01-50],web[60-120]", "web[01-50,60-120]"),
            ("web[01-99],web[100-120]", "web[01-09,10-120]"),
            ("web[08-09],web[10-101]", "web[08-09,10-101]"),
            ("web[008-009],web[10-12],web[098-101]", "web[008-009,10-12,098-101]"),
            ("web[05,10,15,20,25]", "web[05-25/5]"),
            ("web[1-2],web[4-10/2]", "web[1,2-10/2]"),
            ("web[1-7/2],web[8-10]", "web[1-7/2,8-10]"),
            ("h[8-12],h[08-09]", "h[8-9,08-12]"),
        ] {
            assert_eq!(refolded(hosts), folded);
        }
    }

    #[test]
    fn what_is_no_whole_box_is_split() {
        assert_eq!(refolded("r1n1,r1n2,r2n1"), "r1n[1-2],r2n1");
        assert_eq!(refolded("r1n[1-4],r2n[1-4],r3n[1-2]"), "r[1-2]n[1-4],r3n[1-2]");
        assert_eq!(refolded("r[2-9]n1,r1n[1-2]"), "r[1-9]n1,r1n2");
    }

    #[test]
    fn the_order_is_natural() {
        assert_eq!(refolded("web10,db2,web9,db10,a"), "a,db[2,10],web[9-10]");
        assert_eq!(refolded("n100,n20x,n3y"), "n3y,n20x,n100");
        let mut names = ["web10", "web9", "web", "db1", "web09", "web1/sudo", "web1"];
        names.sort_by(|a, b| natural_cmp(a, b));
        assert_eq!(names, ["db1", "web", "web1", "web1/sudo", "web9", "web09", "web10"]);
    }

    #[test]
    fn doubles_are_folded_away() {
        assert_eq!(fold(&["a1", "a1", "a2"]), "a[1-2]");
        assert_eq!(fold::<&str>(&[]), "");
    }

    #[test]
    fn numbers_that_are_too_long_are_words() {
        let names = ["a1234567890123456789", "a1234567890123456790"];
        assert_eq!(fold(&names), names.join(","));
    }

    #[test]
    fn a_million_hosts_are_folded() {
        let begin = std::time::Instant::now();
        let names: Vec<String> =
            (0..1_000_000).map(|n| format!("r{}s{}n{}.dc{}", n / 10_000, n / 100 % 100, n % 100, n % 7)).collect();
        let folded = fold(&names);
        let hosts = list(&[&folded], &mut Nothing).unwrap().hosts;
        let mut hosts: Vec<&str> = hosts.iter().collect();
        hosts.sort_unstable();
        let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
        names.sort_unstable();
        assert!(hosts == names);
        assert_eq!(
            fold(&list(&["h[1-1000000]"], &mut Nothing).unwrap().hosts.iter().collect::<Vec<_>>()),
            "h[1-1000000]"
        );
        assert!(begin.elapsed().as_secs() < 30);
    }

    #[test]
    fn names_that_have_little_in_common_are_folded_in_time() {
        let begin = std::time::Instant::now();
        let mut state = 1_u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let scattered: Vec<String> =
            (0..100_000).map(|_| format!("n{}-{}-{}", random() % 900, random() % 900, random() % 900)).collect();
        let hex: Vec<String> = (0..100_000).map(|_| format!("{:x}", random())).collect();
        let deep: Vec<String> = (0..10_000).map(|n| format!("{}{}", "1.".repeat(100), n * n)).collect();
        for names in [scattered, hex, deep] {
            let folded = fold(&names);
            let wanted: BTreeSet<String> = names.into_iter().collect();
            let hosts = list(&[&folded], &mut Nothing).unwrap().hosts;
            assert_eq!(hosts.len(), wanted.len());
            assert!(hosts.iter().all(|host| wanted.contains(host)));
        }
        assert!(begin.elapsed().as_secs() < 30);
    }

    fn name() -> impl Strategy<Value = String> {
        let word = prop::sample::select(vec!["web", "db", "n", "-", ".", "x{a1,b/2}", "{1}", ""]);
        let number = prop_oneof![
            (0..12_u32).prop_map(|n| n.to_string()),
            (0..12_u32).prop_map(|n| format!("{n:02}")),
            (8..102_u32).prop_map(|n| format!("{n:03}")),
            Just(String::new()),
        ];
        let tail = prop::sample::select(vec![
            "",
            "/sudo",
            "/docker:app1",
            "/docker:app2",
            ":22",
            ":23",
            "/[::1]:22",
            "/[::2]:23",
            "/local3",
            "/local04",
            "/setns:lxc:c1",
        ]);
        let start = prop::sample::select(vec!["h", "u1@w", "local", "docker:c", "7", "ssh:", "b1/b"]);
        let middle = prop::collection::vec((word, number), 0..3);
        (start, middle, tail).prop_map(|(start, middle, tail)| {
            let middle: String = middle.into_iter().map(|(word, n)| format!("{word}{n}")).collect();
            format!("{start}{middle}{tail}")
        })
    }

    /// How long the shortest list of ranges without steps is, found by trying
    /// all of them.
    fn shortest(numbers: &[String]) -> usize {
        let mut ranges: Vec<(usize, usize)> = Vec::new();
        for first in numbers {
            for last in numbers {
                let item = if first == last { first.clone() } else { format!("{first}-{last}") };
                let Ok(range) = Numbers::parse(&item, 0) else { continue };
                let places: Option<Vec<usize>> = range.iter().map(|n| numbers.iter().position(|m| *m == n)).collect();
                let bits = places.map(|places| places.into_iter().fold(0, |bits, place| bits | 1 << place));
                ranges.extend(bits.map(|bits| (bits, item.len() + 1)));
            }
        }
        let mut best = vec![usize::MAX / 2; 1 << numbers.len()];
        best[0] = 0;
        for covered in 0..best.len() {
            for (bits, len) in &ranges {
                best[covered | bits] = best[covered | bits].min(best[covered] + len);
            }
        }
        best[best.len() - 1] - 1
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn folding_and_expanding_gives_the_same_set(names in prop::collection::vec(name(), 1..40)) {
            let names: Vec<String> = names
                .into_iter()
                .filter_map(|name| Some(expand(&[name], &mut Nothing).ok()?.hosts.remove(0).text))
                .collect();
            // Two spellings of one host are one host.
            let hosts = match expand(&names, &mut Nothing) {
                Ok(expansion) => expansion.hosts,
                Err(_) => return Ok(()),
            };
            let texts: Vec<&str> = hosts.iter().map(|host| host.text.as_str()).collect();
            let folded = fold(&texts);
            let again = expand(&[&folded], &mut Nothing);
            let again: BTreeSet<String> = match again {
                Ok(expansion) => expansion.hosts.into_iter().map(|host| host.text).collect(),
                Err(error) => return Err(TestCaseError::fail(format!("{folded}: {error}"))),
            };
            prop_assert_eq!(again, texts.iter().map(|t| (*t).to_owned()).collect(), "{}", folded);
        }

        #[test]
        fn sets_of_numbers_come_back(numbers in prop::collection::btree_set(0..60_u64, 1..40)) {
            let names: Vec<String> = numbers.iter().map(|n| format!("web{n}")).collect();
            let folded = fold(&names);
            prop_assert_eq!(expanded(&folded), names.iter().cloned().collect());
            prop_assert!(folded.len() <= names.join(",").len() + 2);
        }

        #[test]
        fn a_fold_is_no_longer_than_the_list(names in prop::collection::vec(name(), 1..40)) {
            if let Ok(expansion) = expand(&names, &mut Nothing) {
                let texts: Vec<String> = expansion.hosts.into_iter().map(|host| host.text).collect();
                let folded = fold(&texts);
                // a1,a2 is shorter than a[1-2], but says less.
                prop_assert!(folded.len() <= texts.join(",").len() + 2 * folded.matches('[').count());
            }
        }

        #[test]
        fn numbers_of_all_lengths_are_as_short_as_they_can_be(
            numbers in prop::collection::btree_set(
                (prop::sample::select(vec![0_u64, 1, 7, 8, 9, 10, 11, 12, 97, 98, 99, 100, 101, 102]), 1..4_usize),
                2..10,
            ),
        ) {
            let numbers: BTreeSet<String> = numbers.iter().map(|(n, width)| format!("{n:0width$}")).collect();
            let names: Vec<String> = numbers.iter().map(|n| format!("h{n}")).collect();
            let folded = fold(&names);
            prop_assert_eq!(expanded(&folded), names.into_iter().collect());
            if let Some(inner) = folded.strip_prefix("h[").and_then(|rest| rest.strip_suffix(']')) {
                let numbers: Vec<String> = numbers.into_iter().collect();
                prop_assert!(inner.len() <= shortest(&numbers), "{}", folded);
            }
        }

        #[test]
        fn natural_order_is_an_order(a in name(), b in name(), c in name()) {
            prop_assert_eq!(natural_cmp(&a, &b), natural_cmp(&b, &a).reverse());
            if natural_cmp(&a, &b).is_le() && natural_cmp(&b, &c).is_le() {
                prop_assert!(natural_cmp(&a, &c).is_le());
            }
            prop_assert_eq!(natural_cmp(&a, &b).is_eq(), a == b);
        }

        #[test]
        fn any_text_can_be_folded(names in prop::collection::vec(any::<String>(), 0..5)) {
            let _ = fold(&names);
        }
    }
}
