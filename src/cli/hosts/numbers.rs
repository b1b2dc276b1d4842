//! The numbers between brackets: `[01-40,50]`, `[1-9/2]`.

use crate::cli::hosts::expression_error::{Fault, Span};
use crate::connect::host_path::word::Set;

/// Most digits of a number: more would not fit into the integer.
pub(crate) const MAX_DIGITS: usize = 18;

/// A list of ranges of numbers. It is small even if it names many numbers, so they can be counted before they
/// are written out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Numbers {
    runs: Vec<Run>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    first: u64,
    last: u64,
    step: u64,
    /// The number of digits; shorter numbers get leading zeros.
    width: usize,
}

impl Numbers {
    /// Reads the text between the brackets. `at` is where the text begins.
    pub(crate) fn parse(text: &str, at: usize) -> Result<Self, Fault> {
        let whole = Span::new(at, text.len());
        if text.trim().is_empty() {
            // The caret marks the brackets, because there is nothing in them.
            let span = Span::new(at.saturating_sub(1), text.len() + 2);
            return Err(Fault::syntax(span, "empty brackets; write numbers, such as [1-9] or [01,05]"));
        }
        if text.contains(['[', '{']) {
            return Err(Fault::syntax(whole, "brackets cannot stand inside brackets; close the first"));
        }
        let mut runs = Vec::new();
        let mut begin = at;
        for item in text.split(',') {
            runs.push(Run::parse(item, begin)?);
            begin += item.len() + 1;
        }
        Ok(Self { runs })
    }

    /// How many numbers there are, duplicates included.
    pub(crate) fn count(&self) -> u64 {
        self.runs.iter().map(Run::count).fold(0, u64::saturating_add)
    }

    /// A cursor at the first number. There is always one.
    pub(crate) fn cursor(&self) -> Cursor<'_> {
        Cursor { runs: &self.runs, run: 0, nth: 0 }
    }

    /// The numbers as written, with leading zeros.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = String> + '_ {
        let mut cursor = Some(self.cursor());
        std::iter::from_fn(move || {
            let at = cursor.as_mut()?;
            let mut text = String::new();
            at.write(&mut text);
            if !at.advance() {
                cursor = None;
            }
            Some(text)
        })
    }
}

impl Set for Numbers {
    fn parse(text: &str, at: usize) -> Result<Self, Fault> {
        Self::parse(text, at)
    }

    fn write_first(&self, out: &mut String) {
        self.cursor().write(out);
    }
}

/// A position in a list of numbers.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    runs: &'a [Run],
    run: usize,
    nth: u64,
}

impl Cursor<'_> {
    /// Advances to the next number. From the last number it goes to the first and returns false.
    pub(crate) fn advance(&mut self) -> bool {
        self.nth += 1;
        if self.runs.get(self.run).is_some_and(|run| self.nth < run.count()) {
            return true;
        }
        self.nth = 0;
        self.run += 1;
        if self.run < self.runs.len() {
            return true;
        }
        self.run = 0;
        false
    }

    /// Appends the number as it is written, with leading zeros.
    pub(crate) fn write(&self, text: &mut String) {
        if let Some(run) = self.runs.get(self.run) {
            write_number(run.first + self.nth * run.step, run.width, text);
        }
    }
}

/// Appends a number, with leading zeros if it is shorter than `width`.
pub(crate) fn write_number(mut value: u64, width: usize, text: &mut String) {
    // Large enough for any u64, and for any width.
    let mut digits = [b'0'; 20];
    let mut begin = digits.len();
    while begin == digits.len() || value > 0 {
        begin -= 1;
        digits[begin] = b'0' + (value % 10) as u8;
        value /= 10;
    }
    begin = begin.min(digits.len() - width.min(digits.len()));
    // Digits are ASCII, so this cannot fail.
    text.push_str(std::str::from_utf8(&digits[begin..]).unwrap_or_default());
}

impl Run {
    fn parse(text: &str, at: usize) -> Result<Self, Fault> {
        let span = Span::new(at, text.len().max(1));
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, Some((step, at + range.len() + 1))),
            None => (text, None),
        };
        let (first_text, last_text) = range.split_once('-').unwrap_or((range, range));
        let last_at = at + range.len() - last_text.len();
        let first = number(first_text, at)?;
        let last = number(last_text, last_at)?;
        if first > last {
            let message = format!("the range {range} runs backwards; write [{last_text}-{first_text}]");
            return Err(Fault::syntax(span, message));
        }
        let width = match (is_padded(first_text), is_padded(last_text)) {
            (false, false) => 0,
            // Tools disagree about the meaning of [01-100], so it is an error.
            _ if first_text.len() != last_text.len() => {
                let width = first_text.len().max(last_text.len());
                let message = format!(
                    "the ends of {range} have zeros in front but not the same number of digits; \
                     write [{first:0width$}-{last:0width$}] for equal digits, \
                     or [{first}-{last}] for none in front"
                );
                return Err(Fault::syntax(span, message));
            }
            _ => first_text.len(),
        };
        let step = match step {
            None => 1,
            Some(_) if !range.contains('-') => {
                let message = format!("a step needs a range; write [{range}-LAST/STEP]");
                return Err(Fault::syntax(span, message));
            }
            Some((step_text, step_at)) => match number(step_text, step_at)? {
                0 => {
                    let span = Span::new(step_at, step_text.len());
                    return Err(Fault::syntax(span, "a step is at least 1"));
                }
                step => step,
            },
        };
        Ok(Self { first, last, step, width })
    }

    fn count(&self) -> u64 {
        (self.last - self.first) / self.step + 1
    }
}

fn number(text: &str, at: usize) -> Result<u64, Fault> {
    let span = Span::new(at, text.len().max(1));
    if text.is_empty() {
        return Err(Fault::syntax(span, "a number is missing here; ranges are written [1-9] or [1-9/2]"));
    }
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        let message = format!(
            "`{}` is not a number; brackets hold numbers, such as [01-40,50]; \
             for other names write a list: a,b,c",
            text.escape_debug()
        );
        return Err(Fault::syntax(span, message));
    }
    if text.len() > MAX_DIGITS {
        let message = format!("the number has {} digits; at most {MAX_DIGITS} are read", text.len());
        return Err(Fault::limit(span, message));
    }
    // This cannot fail: 18 digits fit.
    text.parse().map_err(|_| Fault::limit(span, "the number is too large"))
}

fn is_padded(text: &str) -> bool {
    text.len() > 1 && text.starts_with('0')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::hosts::expression_error::FaultKind;

    fn list(text: &str) -> Vec<String> {
        let numbers = Numbers::parse(text, 0).unwrap();
        let list: Vec<_> = numbers.iter().collect();
        assert_eq!(numbers.count(), list.len() as u64);
        list
    }

    fn fault(text: &str) -> Fault {
        Numbers::parse(text, 0).unwrap_err()
    }

    #[test]
    fn lists_and_ranges_expand_in_the_order_given() {
        assert_eq!(list("7"), ["7"]);
        assert_eq!(list("1-3"), ["1", "2", "3"]);
        assert_eq!(list("9-11,3,5-6"), ["9", "10", "11", "3", "5", "6"]);
        assert_eq!(list("4-4"), ["4"]);
    }

    #[test]
    fn zeros_in_front_are_kept() {
        assert_eq!(list("08-11"), ["08", "09", "10", "11"]);
        assert_eq!(list("001,2,003-004"), ["001", "2", "003", "004"]);
        assert_eq!(list("00-01"), ["00", "01"]);
        assert_eq!(list("0-1"), ["0", "1"]);
    }

    #[test]
    fn steps_skip_numbers() {
        assert_eq!(list("1-9/2"), ["1", "3", "5", "7", "9"]);
        assert_eq!(list("1-10/4"), ["1", "5", "9"]);
        assert_eq!(list("01-10/9"), ["01", "10"]);
        assert_eq!(list("1-3/100"), ["1"]);
    }

    #[test]
    fn huge_ranges_are_counted_without_being_written_out() {
        let numbers = Numbers::parse("0-999999999999999999,0-999999999999999999", 0).unwrap();
        assert_eq!(numbers.count(), 2_000_000_000_000_000_000);
        let many = vec!["0-999999999999999999"; 100].join(",");
        assert_eq!(Numbers::parse(&many, 0).unwrap().count(), u64::MAX);
    }

    #[test]
    fn numbers_that_would_overflow_are_refused() {
        let fault = fault("1-99999999999999999999999");
        assert_eq!((fault.kind, fault.span), (FaultKind::Limit, Span::new(2, 23)));
        assert_eq!(list("999999999999999999"), ["999999999999999999"]);
    }

    #[test]
    fn faults_say_where_and_what_to_write() {
        for (text, at, len, says) in [
            ("", 0, 2, "empty brackets"),
            ("3-1", 0, 3, "write [1-3]"),
            ("5,3-1", 2, 3, "runs backwards"),
            ("1,,2", 2, 1, "a number is missing"),
            ("1-", 2, 1, "a number is missing"),
            ("-3", 0, 1, "a number is missing"),
            ("1-2-3", 2, 3, "`2-3` is not a number"),
            ("a-c", 0, 1, "`a` is not a number"),
            ("1, 2", 2, 2, "` 2` is not a number"),
            ("01-100", 0, 6, "write [001-100]"),
            ("1-010", 0, 5, "[001-010]"),
            ("5/2", 0, 3, "a step needs a range"),
            ("1-9/", 4, 1, "a number is missing"),
            ("1-9/0", 4, 1, "at least 1"),
            ("1-9/x", 4, 1, "`x` is not a number"),
            ("[1-2", 0, 4, "inside brackets"),
            ("١-٣", 0, 2, "is not a number"),
        ] {
            let fault = fault(text);
            assert_eq!(fault.span, Span::new(at, len), "{text}: {}", fault.message);
            assert!(fault.message.contains(says), "{text}: {}", fault.message);
        }
    }
}
