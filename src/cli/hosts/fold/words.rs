//! The words of a short expression, each sorted by the first host that it stands for.

use crate::cli::hosts::fold::parts::{Parts, natural_cmp};

/// Stands for a place in the buffer, for a word that is a name of the list.
const NAME: u32 = u32::MAX;

/// Words in one buffer. A word that stands for one host is that name of the list.
#[derive(Default)]
pub(super) struct Words {
    buffer: String,
    list: Vec<Word>,
    /// The length of the words with a comma behind each.
    length: usize,
}

#[derive(Clone, Copy)]
struct Word {
    key: u128,
    /// Where the word begins in the buffer, or [`NAME`].
    begin: u32,
    /// Where the word ends in the buffer and the first host begins, or the index of the name.
    end: u32,
    /// The length of the first host.
    first: u32,
}

impl Words {
    pub(super) fn length(&self) -> usize {
        self.length
    }

    pub(super) fn clear(&mut self) {
        self.buffer.clear();
        self.list.clear();
        self.length = 0;
    }

    /// Adds the name with this index.
    pub(super) fn push_name(&mut self, names: &[&str], index: u32) {
        let name = names[index as usize];
        self.length += name.len() + 1;
        self.list.push(Word { key: order_key(name), begin: NAME, end: index, first: 0 });
    }

    /// Adds a word and the first host that it stands for. Each function writes one of them.
    pub(super) fn push(&mut self, word: impl FnOnce(&mut String), first: impl FnOnce(&mut String)) {
        let begin = self.buffer.len();
        word(&mut self.buffer);
        let end = self.buffer.len();
        first(&mut self.buffer);
        self.length += end - begin + 1;
        let (key, first) = (order_key(&self.buffer[end..]), self.buffer.len() - end);
        self.list.push(Word { key, begin: begin as u32, end: end as u32, first: first as u32 });
    }

    /// Adds the words of `others`.
    pub(super) fn append(&mut self, others: &Self) {
        let base = self.buffer.len() as u32;
        self.buffer.push_str(&others.buffer);
        self.length += others.length;
        self.list.extend(others.list.iter().map(|word| match word.begin {
            NAME => *word,
            begin => Word { begin: base + begin, end: base + word.end, ..*word },
        }));
    }

    /// The words in order, with commas between them.
    pub(super) fn joined(mut self, names: &[&str]) -> String {
        let buffer = self.buffer;
        let first = |word: &Word| match word.begin {
            NAME => names[word.end as usize],
            _ => &buffer[word.end as usize..(word.end + word.first) as usize],
        };
        // Most pairs are decided by their keys.
        self.list.sort_unstable_by(|a, b| a.key.cmp(&b.key).then_with(|| natural_cmp(first(a), first(b))));
        let mut text = String::with_capacity(self.length);
        for word in &self.list {
            text.push_str(match word.begin {
                NAME => names[word.end as usize],
                begin => &buffer[begin as usize..word.end as usize],
            });
            text.push(',');
        }
        text.pop();
        text
    }
}

/// The beginning of a name as a number. If the numbers of two names differ, their order is that of the names.
///
/// A word is followed by a zero. A number is its length in bytes, its bytes, and its count of digits. Zeros in a word
/// are written as two other bytes. The number of the name has the first bytes of this text.
fn order_key(name: &str) -> u128 {
    let mut key = [0; size_of::<u128>()];
    let mut rest = key.iter_mut();
    let mut put = |byte: u8| rest.next().map(|place| *place = byte);
    let mut fill = || {
        let mut parts = Parts::of(name);
        loop {
            let (word, number) = parts.next_part();
            for byte in word.bytes() {
                if byte <= 1 {
                    put(1)?;
                }
                put(byte.max(1) + u8::from(byte == 1))?;
            }
            put(0)?;
            let number = number?;
            let bytes = number.value.to_be_bytes();
            let zeros = number.value.leading_zeros() as usize / 8;
            put(1 + (bytes.len() - zeros) as u8)?;
            for byte in &bytes[zeros..] {
                put(*byte)?;
            }
            put(number.digits)?;
        }
    };
    let _: Option<()> = fill();
    u128::from_be_bytes(key)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_that_differ_are_in_the_order_of_the_names(a in "[a-b\0\u{1}0-3{}\\[]{0,12}", b in "[a-b\0\u{1}0-3{}\\[]{0,12}") {
            let (one, other) = (order_key(&a), order_key(&b));
            prop_assert!(one == other || one.cmp(&other) == natural_cmp(&a, &b), "{a:?} {b:?}");
        }
    }

    #[test]
    fn numbers_of_any_size_are_in_order() {
        let names =
            ["", "9", "09", "10", "255", "256", "0256", "100000000000000000", "a", "a1", "a1a", "a2", "a10", "b"];
        for pair in names.windows(2) {
            assert!(order_key(pair[0]) < order_key(pair[1]), "{pair:?}");
        }
    }
}
