//! The name of a host as words and the numbers between them.

use std::cmp::Ordering;

use crate::cli::hosts::numbers::{MAX_DIGITS, write_number};

/// Compares in natural order: numbers by their value, so that web9 is before web10.
pub(super) fn natural_cmp(a: &str, b: &str) -> Ordering {
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
pub(super) struct Number {
    pub(super) value: u64,
    pub(super) digits: u8,
}

impl Number {
    /// Whether the number has leading zeros.
    pub(super) fn is_padded(self) -> bool {
        self.digits > 1 && self.value < power_of_ten(self.digits - 1)
    }

    pub(super) fn write(self, text: &mut String) {
        write_number(self.value, self.digits.into(), text);
    }
}

/// No exponent is larger than [`MAX_DIGITS`], so this fits.
fn power_of_ten(exponent: u8) -> u64 {
    10_u64.pow(exponent.into())
}

/// A name as words and the numbers between them. Text in braces or brackets is never split.
pub(super) struct Parts<'a> {
    name: &'a str,
    at: usize,
}

impl<'a> Parts<'a> {
    pub(super) fn of(name: &'a str) -> Self {
        Self { name, at: 0 }
    }

    /// The next word, and the number after it. The last word has no number.
    pub(super) fn next_part(&mut self) -> (&'a str, Option<Number>) {
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

/// A name as words and at most a certain number of numbers. What follows is part of the last word, which has no
/// number.
pub(super) struct Pieces<'a> {
    parts: Parts<'a>,
    /// How many more numbers are taken; `None` after the last word.
    left: Option<usize>,
}

impl<'a> Pieces<'a> {
    pub(super) fn of(name: &'a str, most: usize) -> Self {
        Self { parts: Parts::of(name), left: Some(most) }
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = (&'a str, Option<Number>);

    fn next(&mut self) -> Option<Self::Item> {
        let left = self.left?;
        let begin = self.parts.at;
        if left > 0
            && let (word, Some(number)) = self.parts.next_part()
        {
            self.left = Some(left - 1);
            return Some((word, Some(number)));
        }
        self.left = None;
        Some((&self.parts.name[begin..], None))
    }
}
