//! How a set of numbers is written: its division into ranges.

use std::collections::{BTreeSet, HashMap};

use crate::cli::hosts::fold::parts::Number;
use crate::cli::hosts::numbers::write_number;

/// Equal distances are written with a step if there are at least this many numbers.
const MIN_STEPS: usize = 4;

/// Writes numbers in ascending order as `1-3,5,08-10`, as short as they can be written.
pub(super) fn write_ranges(numbers: &[Number], out: &mut String) {
    // Most sets are small, and most numbers have no leading zeros.
    if numbers.iter().any(|number| number.is_padded()) {
        out.push_str(&with_padded(numbers));
        return;
    }
    if let [a, b] = numbers {
        a.write(out);
        out.push(if a.value + 1 == b.value { '-' } else { ',' });
        b.write(out);
        return;
    }
    write_runs(&divide(numbers), out);
}

/// The text of numbers of which some have leading zeros.
fn with_padded(numbers: &[Number]) -> String {
    let padded: BTreeSet<u8> = numbers.iter().filter(|n| n.is_padded()).map(|n| n.digits).collect();
    // All numbers of a range have one width: `08-10`. Numbers without leading zeros can be written with the
    // padded numbers of the same length, or with the numbers that are not padded.
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

/// Which numbers without leading zeros are written with the padded numbers of the same length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taking {
    /// The numbers that follow the padded ones directly: 10 and 11 after 09.
    Next,
    All,
    Nothing,
}

fn ranges_with(numbers: &[Number], taking: &HashMap<u8, Taking>) -> String {
    // The numbers of each width; 0 is for numbers without leading zeros.
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
    write_runs(&runs, &mut text);
    text
}

fn write_runs(runs: &[Run], text: &mut String) {
    for (nth, run) in runs.iter().enumerate() {
        if nth > 0 {
            text.push(',');
        }
        run.write(text);
    }
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

/// Divides numbers in ascending order into runs whose text is as short as possible. Among several such
/// divisions it chooses one with the fewest runs.
fn divide(numbers: &[Number]) -> Vec<Run> {
    let count = numbers.len();
    let step = |at: usize| numbers[at + 1].value - numbers[at].value;
    // From the last number to the first: `equal` is how many numbers from here on are at equal distances.
    // `best` has the shortest text for the rest, its number of runs, and the length of its first run.
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
        // The last number of a run can also be the first of the next run.
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
