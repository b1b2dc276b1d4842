//! From a list of hosts back to a short expression: `web[01-40,50]`.
//!
//! Hosts are divided into families: the names in a family differ only in numbers. The numbers of each family
//! are joined to sets, and the sets are written as ranges.
//!
//! - `parts`: a name as words and numbers; `families`: names put together; `sets`: sets of numbers by id
//! - `family`: how hosts are joined; `moves`: how the result is made shorter
//! - `ranges`: how a set of numbers is written; `words`: how the words are sorted

mod families;
mod family;
mod moves;
mod parts;
mod ranges;
mod sets;
mod words;

use fastrand::Rng;

use self::families::{Member, families, members};
use self::family::{Family, Order, Tables, can_be_joined};
use self::parts::{Number, Pieces};
use self::sets::Sets;
use self::words::Words;

/// How many rows of numbers are compared when hosts are joined, over all passes, so that a million hosts are folded
/// within a second. Hosts that are not joined by then are written one by one.
const MAX_WORK: usize = 3_000_000;
/// Families with at most this many hosts are also joined in two ways that take longer.
const SMALL: usize = 500;
/// How many numbers are compared in these ways.
const MAX_SMALL_WORK: usize = 10_000_000;
/// With at most this many places, the hosts are joined in other orders of places, too.
const MOST_TURNED: usize = 4;
/// How many times some of their boxes are divided and joined in other ways.
const SCATTERED: usize = 200;
/// How many boxes and numbers are compared when hosts are moved from one box to another.
const MAX_MOVES: usize = 10_000_000;
/// Of families with at most this many hosts, each pair of hosts is compared. It is faster than a table.
const FEW: usize = 8;
/// How many families or names are read ahead. Their first bytes fit into the smallest cache of a processor.
const AHEAD: usize = 64;
/// Most numbers in a name that are compared, so that memory is bounded. A name with more than one number for
/// each hop of the longest path is rare.
const MAX_PLACES: usize = 16;

/// The shortest readable expression that is found for these hosts, in natural order. The names are those of
/// `HostPath::text`. The expression stands for exactly these hosts.
pub(crate) fn fold<S: AsRef<str>>(names: &[S]) -> String {
    fold_all(&names.iter().map(AsRef::as_ref).collect::<Vec<_>>())
}

fn fold_all(names: &[&str]) -> String {
    let members = members(names);
    let mut words = Words::default();
    let mut folder = Folder::new(names);
    let mut larger = Vec::new();
    for family in families(&members) {
        match family {
            [one] => words.push_name(names, one.nth),
            _ => larger.push(family),
        }
    }
    // The hashes are random, but the result is not: what may be compared is spent in the order of the names.
    larger.sort_unstable_by_key(|family| family[0].nth);
    for families in larger.chunks(AHEAD) {
        read_ahead(names, families.iter().flat_map(|family| family.iter().take(FEW)).map(|member| member.nth));
        families.iter().for_each(|family| folder.fold_family(family, &mut words));
    }
    drop((members, folder));
    words.joined(names)
}

/// Reads the first byte of each of these names. A million names are in no cache, and are not used in the order in
/// which they are stored. Reads that do not wait for each other take a fraction of the time.
fn read_ahead(names: &[&str], indices: impl Iterator<Item = u32>) {
    let bytes = indices.filter_map(|nth| names[nth as usize].as_bytes().first());
    // The result is of no use. Without this, the compiler would leave out the reads.
    std::hint::black_box(bytes.fold(0, |all, byte| all ^ byte));
}

/// What is used for one family after the other.
struct Folder<'a> {
    names: &'a [&'a str],
    sets: Sets,
    numbers: Vec<Number>,
    rows: Vec<u32>,
    tables: Tables,
    /// The shortest words so far, and others.
    best: Words,
    other: Words,
    /// How much may still be compared: of [`MAX_WORK`], [`MAX_SMALL_WORK`] and [`MAX_MOVES`].
    work: usize,
    small_work: usize,
    moves: usize,
}

impl<'a> Folder<'a> {
    fn new(names: &'a [&'a str]) -> Self {
        Self {
            names,
            sets: Sets::default(),
            numbers: Vec::new(),
            rows: Vec::new(),
            tables: Tables::default(),
            best: Words::default(),
            other: Words::default(),
            work: MAX_WORK,
            small_work: MAX_SMALL_WORK,
            moves: MAX_MOVES,
        }
    }

    /// Adds the words for a family to `words`.
    fn fold_family(&mut self, members: &[Member], words: &mut Words) {
        let names = self.names;
        let name = |member: &Member| names[member.nth as usize];
        let first = name(&members[0]);
        // The words, and whether a number follows.
        let pieces = |name: &'a str| Pieces::of(name, MAX_PLACES);
        let common: Vec<(&str, bool)> = pieces(first).map(|(word, number)| (word, number.is_some())).collect();
        let places = common.len() - 1;
        if members.len() <= FEW && places > 0 {
            self.numbers.clear();
            members.iter().for_each(|one| self.numbers.extend(pieces(name(one)).filter_map(|(_, number)| number)));
            // If the names are not alike, which is very rare, the rows below show it.
            if self.numbers.len() == places * members.len() && !can_be_joined(&self.numbers, places) {
                members.iter().for_each(|member| words.push_name(names, member.nth));
                return;
            }
        }
        let mut rows = std::mem::take(&mut self.rows);
        rows.clear();
        rows.reserve_exact(members.len() * (places + 1));
        for (at, member) in members.iter().enumerate() {
            if at % AHEAD == 0 && members.len() > FEW {
                read_ahead(names, members[at..].iter().take(AHEAD).map(|member| member.nth));
            }
            let mut nth = 0;
            for (word, number) in pieces(name(member)) {
                nth += usize::from(common.get(nth) == Some(&(word, number.is_some())));
                rows.extend(number.map(|number| self.sets.one(number)));
            }
            rows.push(member.nth);
            // Names with one hash that are not alike are so rare that they are not joined.
            if nth != common.len() {
                members.iter().for_each(|member| words.push_name(names, member.nth));
                return;
            }
        }
        if places == 0 {
            // Without numbers, all are the same host.
            words.push_name(names, members[0].nth);
            return;
        }
        self.join(&Family { first, places, rows: &rows });
        words.append(&mut self.best);
        self.rows = rows;
    }

    /// Makes `best` the words for a family.
    fn join(&mut self, family: &Family<'_>) {
        let Self { names, sets, tables, work, small_work, .. } = self;
        // The order in which numbers are joined changes the result, so both orders are tried.
        let best = family.join(sets, Order::LastFirst, (work, tables));
        family.write(&best, sets, &mut self.best, names);
        let is_joined = best.len() < family.rows.len();
        if family.places == 1 || !is_joined || best.len() == family.width() {
            return;
        }
        let mut tries = vec![];
        if *work > 0 {
            tries.push(family.join(sets, Order::FirstFirst, (work, tables)));
        }
        let is_small = family.rows.len() / family.width() <= SMALL;
        if is_small && *small_work > 0 {
            for order in [Order::LastFirst, Order::FirstFirst] {
                tries.push(family.join_largest(sets, order, (small_work, tables)));
            }
            for order in orders(family.places) {
                tries.push(family.join_pairs(&order, sets, small_work));
            }
        }
        tries.insert(0, best);
        let mut shortest = Vec::new();
        for mut boxes in tries {
            let mut is_as_short = self.is_as_short(family, &boxes);
            if is_small {
                is_as_short |= self.shift(family, &mut boxes);
            }
            if is_as_short || shortest.is_empty() {
                shortest = boxes;
            }
        }
        // The seed is always the same, so the result is.
        let mut chance = Rng::with_seed(1);
        for _ in 0..SCATTERED {
            if !is_small || self.small_work == 0 || self.moves == 0 {
                return;
            }
            let mut boxes = family.scatter(&shortest, &mut self.sets, &mut chance, &mut self.small_work);
            if self.is_as_short(family, &boxes) | self.shift(family, &mut boxes) {
                shortest = boxes;
            }
        }
    }

    /// Moves hosts between these boxes, and joins the boxes again, as long as that makes the words shorter. Returns
    /// whether they are no longer than the best so far.
    fn shift(&mut self, family: &Family<'_>, boxes: &mut Vec<u32>) -> bool {
        let mut is_as_short = false;
        while self.moves > 0 && family.shift(boxes, &mut self.sets, &mut self.moves) {
            let family = Family { rows: boxes, ..*family };
            let joined = family.join(&mut self.sets, Order::LastFirst, (&mut self.work, &mut self.tables));
            is_as_short = self.is_as_short(&family, &joined);
            *boxes = joined;
        }
        is_as_short
    }

    /// Whether the words for these boxes are no longer than the best so far. If they are shorter, they become the best.
    fn is_as_short(&mut self, family: &Family<'_>, boxes: &[u32]) -> bool {
        family.write(boxes, &self.sets, &mut self.other, self.names);
        let order = self.other.length().cmp(&self.best.length());
        if order.is_lt() {
            std::mem::swap(&mut self.best, &mut self.other);
        }
        order.is_le()
    }
}

/// Orders of places: from each place on to the one before it, forwards and backwards. With many places, only the first.
fn orders(places: usize) -> Vec<Vec<usize>> {
    let mut orders: Vec<Vec<usize>> = Vec::new();
    for first in 0..if places <= MOST_TURNED { places } else { 1 } {
        let forwards: Vec<usize> = (first..places).chain(0..first).collect();
        let backwards = forwards.iter().rev().copied().collect();
        orders.extend([forwards, backwards].into_iter().filter(|order| !orders.contains(order)).collect::<Vec<_>>());
    }
    orders
}

#[cfg(test)]
mod tests;
