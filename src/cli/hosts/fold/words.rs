//! The words of a short expression, each sorted by the first host that it stands for.

use crate::cli::hosts::fold::parts::{Parts, natural_cmp};
use crate::cli::hosts::fold::{AHEAD, read_ahead};

/// Stands for a place in the buffer, for a word that is a name of the list.
const NAME: u32 = u32::MAX;
/// Up to here the keys of words are compared. Names that differ only behind it are rare, so they are compared whole.
const MAX_SKIP: usize = 64;
/// How many bytes of a key are compared at once. They decide most pairs.
const KEY: usize = size_of::<Key>();

/// A part of a key. Earlier bytes of the key are higher bytes here.
type Key = [u64; 3];

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
        self.length += names[index as usize].len() + 1;
        self.list.push(Word { begin: NAME, end: index, first: 0 });
    }

    /// Adds a word and the first host that it stands for. Each function writes one of them.
    pub(super) fn push(&mut self, word: impl FnOnce(&mut String), first: impl FnOnce(&mut String)) {
        let begin = self.buffer.len();
        word(&mut self.buffer);
        let end = self.buffer.len();
        first(&mut self.buffer);
        self.length += end - begin + 1;
        let first = self.buffer.len() - end;
        self.list.push(Word { begin: begin as u32, end: end as u32, first: first as u32 });
    }

    /// Adds the words of `others`, which may be changed.
    pub(super) fn append(&mut self, others: &mut Self) {
        if self.list.is_empty() {
            std::mem::swap(self, others);
            return;
        }
        let base = self.buffer.len() as u32;
        self.buffer.push_str(&others.buffer);
        self.length += others.length;
        self.list.extend(others.list.iter().map(|word| match word.begin {
            NAME => *word,
            begin => Word { begin: base + begin, end: base + word.end, ..*word },
        }));
    }

    /// The words in order, with commas between them.
    pub(super) fn joined(self, names: &[&str]) -> String {
        let Self { buffer, mut list, length } = self;
        // Reading names in the order in which they are stored is faster.
        list.sort_unstable_by_key(|word| (word.begin, word.end));
        let first = |word: &Word| match word.begin {
            NAME => names[word.end as usize],
            _ => &buffer[word.end as usize..(word.end + word.first) as usize],
        };
        let mut sorted: Vec<(Key, u32)> = (0..list.len() as u32).map(|nth| (Key::default(), nth)).collect();
        sort(&mut sorted, 0, &|nth| first(&list[nth as usize]));
        let mut text = String::with_capacity(length);
        for sorted in sorted.chunks(AHEAD) {
            let words = || sorted.iter().map(|(_, nth)| &list[*nth as usize]);
            read_ahead(names, words().filter(|word| word.begin == NAME).map(|word| word.end));
            for word in words() {
                text.push_str(match word.begin {
                    NAME => names[word.end as usize],
                    begin => &buffer[begin as usize..word.end as usize],
                });
                text.push(',');
            }
        }
        text.pop();
        text
    }
}

/// Sorts words by the first hosts that they stand for. All have the same first `skip` bytes of their keys. `first` has
/// the first host.
fn sort<'a>(words: &mut [(Key, u32)], skip: usize, first: &impl Fn(u32) -> &'a str) {
    if skip > MAX_SKIP {
        words.sort_unstable_by(|(_, a), (_, b)| natural_cmp(first(*a), first(*b)));
        return;
    }
    for (key, nth) in words.iter_mut() {
        *key = order_key(first(*nth), skip);
    }
    words.sort_unstable();
    for equal in words.chunk_by_mut(|(a, _), (b, _)| a == b).filter(|equal| equal.len() > 1) {
        sort(equal, skip + KEY, first);
    }
}

/// A part of the key of a name, [`KEY`] bytes from `skip` on. If the parts of two names differ, and the keys
/// before `skip` are equal, their order is that of the names.
///
/// In the key, a word is followed by a zero. A number is its length in bytes, its bytes, and its count of digits. Zeros
/// in a word are written as two other bytes.
fn order_key(name: &str, mut skip: usize) -> Key {
    let mut key = [0; KEY];
    let mut rest = key.iter_mut();
    let mut put = |byte: u8| {
        if skip > 0 {
            skip -= 1;
            return Some(());
        }
        rest.next().map(|place| *place = byte)
    };
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
    let part = |at: usize| key[at..at + 8].iter().fold(0, |part, byte| part << 8 | u64::from(*byte));
    [part(0), part(8), part(16)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_that_differ_are_in_the_order_of_the_names(a in "[a-b\0\u{1}0-3{}\\[]{0,12}", b in "[a-b\0\u{1}0-3{}\\[]{0,12}") {
            let keys = |name: &str| [0, KEY, 2 * KEY].map(|skip| order_key(name, skip));
            let (one, other) = (keys(&a), keys(&b));
            prop_assert!(one == other || one.cmp(&other) == natural_cmp(&a, &b), "{a:?} {b:?}");
        }
    }

    #[test]
    fn numbers_of_any_size_are_in_order() {
        let names =
            ["", "9", "09", "10", "255", "256", "0256", "100000000000000000", "a", "a1", "a1a", "a2", "a10", "b"];
        for pair in names.windows(2) {
            assert!(order_key(pair[0], 0) < order_key(pair[1], 0), "{pair:?}");
        }
    }
}
