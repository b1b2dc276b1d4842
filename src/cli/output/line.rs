//! Cuts the output of a host into lines.

/// A longer line is shown in pieces of at most this many bytes, so that a host
/// that never ends its line cannot fill our memory.
pub(crate) const MAX_LINE: usize = 64 * 1024;

/// The output of one host on one stream.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// The beginning of a line whose end has not come. At most [`MAX_LINE`].
    begun: Vec<u8>,
}

/// A line, or a piece of a long one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// Without the newline; a carriage return before it is still there.
    pub(crate) bytes: &'a [u8],
    /// Whether a newline followed.
    pub(crate) is_whole: bool,
}

impl Lines {
    /// Takes the next bytes and hands on the lines that are whole with them.
    /// Where lines are cut depends on the output alone, not on how it was
    /// divided on the way.
    pub(crate) fn push(&mut self, mut bytes: &[u8], mut emit: impl FnMut(Line<'_>)) {
        while !bytes.is_empty() {
            let newline = bytes.iter().take(self.room() + 1).position(|b| *b == b'\n');
            if let Some(end) = newline {
                match self.begun.is_empty() {
                    true => emit(Line { bytes: &bytes[..end], is_whole: true }),
                    false => {
                        self.begun.extend_from_slice(&bytes[..end]);
                        emit(Line { bytes: &self.begun, is_whole: true });
                        self.begun.clear();
                    }
                }
                bytes = &bytes[end + 1..];
            } else if bytes.len() <= self.room() {
                self.begun.extend_from_slice(bytes);
                return;
            } else {
                // There is more than fits, and the end is not in sight.
                let (head, tail) = bytes.split_at(self.room());
                self.begun.extend_from_slice(head);
                let cut = whole_characters(&self.begun);
                emit(Line { bytes: &self.begun[..cut], is_whole: false });
                self.begun.drain(..cut);
                bytes = tail;
            }
        }
    }

    /// Hands on what is left when the output has ended.
    pub(crate) fn finish(&mut self, mut emit: impl FnMut(Line<'_>)) {
        let begun = std::mem::take(&mut self.begun);
        if !begun.is_empty() {
            emit(Line { bytes: &begun, is_whole: false });
        }
    }

    fn room(&self) -> usize {
        MAX_LINE - self.begun.len()
    }
}

/// How many of these bytes can be cut off without dividing a character.
pub(crate) fn whole_characters(bytes: &[u8]) -> usize {
    let tail = bytes.len().saturating_sub(3);
    for at in (tail..bytes.len()).rev() {
        let needed = match bytes[at] {
            0x80..=0xbf => continue,
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => 1,
        };
        return if bytes.len() - at < needed { at } else { bytes.len() };
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(chunks: &[&[u8]]) -> Vec<(Vec<u8>, bool)> {
        let mut lines = Lines::default();
        let mut all = Vec::new();
        for chunk in chunks {
            lines.push(chunk, |line| all.push((line.bytes.to_vec(), line.is_whole)));
        }
        lines.finish(|line| all.push((line.bytes.to_vec(), line.is_whole)));
        all
    }

    fn shown(chunks: &[&str]) -> Vec<(String, bool)> {
        let chunks: Vec<&[u8]> = chunks.iter().map(|chunk| chunk.as_bytes()).collect();
        cut(&chunks).into_iter().map(|(b, w)| (String::from_utf8(b).unwrap(), w)).collect()
    }

    #[test]
    fn lines_are_put_together_from_chunks() {
        let yes = |text: &str| (text.to_owned(), true);
        let no = |text: &str| (text.to_owned(), false);
        assert_eq!(shown(&["a\nb\n"]), [yes("a"), yes("b")]);
        assert_eq!(shown(&["a", "b\nc"]), [yes("ab"), no("c")]);
        assert_eq!(shown(&["a", "\n"]), [yes("a")]);
        assert_eq!(shown(&["\n\n"]), [yes(""), yes("")]);
        assert_eq!(shown(&["a\r\n", "\r"]), [yes("a\r"), no("\r")]);
        assert_eq!(shown(&["", ""]), []);
    }

    #[test]
    fn a_line_that_just_fits_is_whole() {
        let line = "a".repeat(MAX_LINE);
        assert_eq!(shown(&[&line, "\n"]), [(line.clone(), true)]);
        let whole = format!("{line}\n");
        assert_eq!(shown(&[&whole]), [(line.clone(), true)]);
        let longer = format!("{line}b\n");
        assert_eq!(shown(&[&longer]), [(line, false), ("b".into(), true)]);
    }

    #[test]
    fn a_line_that_never_ends_is_bounded() {
        let mut lines = Lines::default();
        let mut pieces = 0;
        for _ in 0..100 {
            lines.push(&[b'a'; 10_000], |line| {
                assert!(!line.is_whole && line.bytes.len() <= MAX_LINE);
                pieces += 1;
            });
            assert!(lines.begun.len() <= MAX_LINE && lines.begun.capacity() <= 2 * MAX_LINE);
        }
        assert_eq!(pieces, 1_000_000 / MAX_LINE);
    }

    #[test]
    fn a_long_line_is_not_cut_within_a_character() {
        for (pad, character) in [(1, "é"), (1, "€"), (2, "€"), (1, "😀"), (2, "😀"), (3, "😀")] {
            let line = format!("{}{}", "a".repeat(MAX_LINE - pad), character.repeat(20_000));
            let pieces = shown(&[&line]);
            assert_eq!(pieces.iter().map(|(text, _)| text.as_str()).collect::<String>(), line);
        }
        // What is no text may be cut anywhere, but is cut.
        let pieces = cut(&[&vec![0x80; 200_000]]);
        assert_eq!(pieces.concat_len(), 200_000);
    }

    trait ConcatLen {
        fn concat_len(&self) -> usize;
    }

    impl ConcatLen for Vec<(Vec<u8>, bool)> {
        fn concat_len(&self) -> usize {
            self.iter().map(|(bytes, _)| bytes.len()).sum()
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_chunks_do_not_matter(
            parts in prop::collection::vec(
                prop_oneof![
                    "[a\n\r😀é]{0,20}".prop_map(String::into_bytes),
                    prop::collection::vec(any::<u8>(), 0..20),
                    (1..70_000_usize).prop_map(|n| vec![b'x'; n]),
                    (1..30_000_usize).prop_map(|n| "€".repeat(n).into_bytes()),
                ],
                0..8,
            ),
            sizes in prop::collection::vec(1..40_000_usize, 1..8),
        ) {
            let bytes = parts.concat();
            let mut chunks = Vec::new();
            let mut rest = bytes.as_slice();
            for size in sizes.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (chunk, tail) = rest.split_at((*size).min(rest.len()));
                chunks.push(chunk);
                rest = tail;
            }
            let lines = cut(&chunks);
            prop_assert_eq!(&lines, &cut(&[&bytes]));
            let mut again = Vec::new();
            for (line, is_whole) in &lines {
                prop_assert!(line.len() <= MAX_LINE);
                prop_assert!(*is_whole || !line.is_empty());
                prop_assert!(!line.contains(&b'\n'));
                again.extend_from_slice(line);
                again.extend_from_slice(if *is_whole { b"\n" } else { b"" });
            }
            prop_assert_eq!(again, bytes);
        }
    }
}
