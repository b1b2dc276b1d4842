//! Splits the output of a host into lines.

/// A longer line is shown in pieces of at most this many bytes. So a host that never ends its line cannot fill
/// our memory: 256 KiB for each stream of the hosts that run at the same time.
pub(crate) const MAX_LINE: usize = 256 * 1024;

/// The output of one host on one stream.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// The beginning of a line whose end has not arrived. At most [`MAX_LINE`] bytes.
    begun: Vec<u8>,
    /// A progress bar writes its frames over each other, with a carriage return between them. If this is set,
    /// only the last frame of a line is passed on.
    last_frame_only: bool,
    /// Whether a carriage return follows `begun`. Never set if all frames are passed on.
    returned: bool,
    /// Number of frames that were overwritten and not passed on.
    hidden: u64,
}

/// A line, or a piece of a long line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// The bytes without the newline. A carriage return before it stays.
    pub(crate) bytes: &'a [u8],
    pub(crate) end: LineEnd,
}

/// What follows a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LineEnd {
    Newline,
    /// The rest of the same line, in another piece.
    More,
    /// Nothing: the output has ended.
    Nothing,
}

impl Lines {
    /// With `last_frame_only`, only the last frame of a progress bar is passed on; otherwise all frames.
    pub(crate) fn new(last_frame_only: bool) -> Self {
        Self { last_frame_only, ..Self::default() }
    }

    /// Takes the next bytes and passes on the lines that are complete. Where a long line is split depends on
    /// the output only, not on the sizes of the chunks in which it arrives.
    pub(crate) fn push(&mut self, bytes: &[u8], mut emit: impl FnMut(Line<'_>)) {
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            let Some(body) = piece.strip_suffix(b"\n") else {
                self.add(piece, &mut emit);
                return;
            };
            let is_begun = self.returned || !self.begun.is_empty();
            if !is_begun && body.len() <= MAX_LINE && !(self.last_frame_only && has_frames(body)) {
                emit(Line { bytes: body, end: LineEnd::Newline });
                continue;
            }
            self.add(body, &mut emit);
            if std::mem::take(&mut self.returned) {
                self.begun.push(b'\r');
            }
            emit(Line { bytes: &self.begun, end: LineEnd::Newline });
            self.begun.clear();
        }
    }

    /// Passes on the rest when the output has ended.
    pub(crate) fn finish(&mut self, mut emit: impl FnMut(Line<'_>)) {
        let begun = std::mem::take(&mut self.begun);
        self.returned = false;
        if !begun.is_empty() {
            emit(Line { bytes: &begun, end: LineEnd::Nothing });
        }
    }

    /// The number of frames that were not passed on since the last call.
    pub(crate) fn take_hidden(&mut self) -> u64 {
        std::mem::take(&mut self.hidden)
    }

    /// Adds bytes without a newline.
    fn add(&mut self, bytes: &[u8], emit: &mut impl FnMut(Line<'_>)) {
        if !self.last_frame_only {
            return self.append(bytes, emit);
        }
        for part in bytes.split_inclusive(|b| *b == b'\r') {
            let frame = part.strip_suffix(b"\r").unwrap_or(part);
            if !frame.is_empty() {
                if std::mem::take(&mut self.returned) {
                    self.hidden += u64::from(!self.begun.is_empty());
                    self.begun.clear();
                }
                self.append(frame, emit);
            }
            self.returned |= frame.len() < part.len();
        }
    }

    fn append(&mut self, mut bytes: &[u8], emit: &mut impl FnMut(Line<'_>)) {
        while self.begun.len() + bytes.len() > MAX_LINE {
            // There is more than fits, and the end of the line has not arrived.
            let (head, tail) = bytes.split_at(MAX_LINE - self.begun.len());
            self.begun.extend_from_slice(head);
            let cut = whole_characters(&self.begun);
            emit(Line { bytes: &self.begun[..cut], end: LineEnd::More });
            self.begun.drain(..cut);
            bytes = tail;
        }
        self.begun.extend_from_slice(bytes);
    }
}

/// Whether there is a carriage return before the last byte.
fn has_frames(line: &[u8]) -> bool {
    line.split_last().is_some_and(|(_, before)| before.contains(&b'\r'))
}

/// How many of these bytes can be split off without splitting a character.
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
        cut_by(Lines::default(), chunks)
    }

    fn cut_by(mut lines: Lines, chunks: &[&[u8]]) -> Vec<(Vec<u8>, bool)> {
        let mut all = Vec::new();
        for chunk in chunks {
            lines.push(chunk, |line| all.push((line.bytes.to_vec(), line.end == LineEnd::Newline)));
        }
        lines.finish(|line| all.push((line.bytes.to_vec(), line.end == LineEnd::Newline)));
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
            lines.push(&[b'a'; 40_000], |line| {
                assert!(line.end == LineEnd::More && line.bytes.len() <= MAX_LINE);
                pieces += 1;
            });
            assert!(lines.begun.len() <= MAX_LINE && lines.begun.capacity() <= 2 * MAX_LINE);
        }
        assert_eq!(pieces, 4_000_000 / MAX_LINE);
    }

    #[test]
    fn a_long_line_is_not_cut_within_a_character() {
        for (pad, character) in [(1, "é"), (1, "€"), (2, "€"), (1, "😀"), (2, "😀"), (3, "😀")] {
            let line = format!("{}{}", "a".repeat(MAX_LINE - pad), character.repeat(80_000));
            let pieces = shown(&[&line]);
            assert_eq!(pieces.iter().map(|(text, _)| text.as_str()).collect::<String>(), line);
        }
        // Bytes that are not text may be split at any place, but they are split.
        let pieces = cut(&[&vec![0x80; 800_000]]);
        assert_eq!(pieces.concat_len(), 800_000);
    }

    #[test]
    fn of_a_progress_bar_the_last_frame_is_handed_on() {
        let last = |chunks: &[&str]| {
            let chunks: Vec<&[u8]> = chunks.iter().map(|chunk| chunk.as_bytes()).collect();
            let lines = cut_by(Lines::new(true), &chunks);
            lines.into_iter().map(|(b, w)| (String::from_utf8(b).unwrap(), w)).collect::<Vec<_>>()
        };
        let yes = |text: &str| (text.to_owned(), true);
        let no = |text: &str| (text.to_owned(), false);
        assert_eq!(last(&["\r  1%\r 50%\r100%\n"]), [yes("100%")]);
        assert_eq!(last(&["\r  1%", "\r", " 50%\r1", "00%", "\ndone\n"]), [yes("100%"), yes("done")]);
        assert_eq!(last(&["1%\r2%\r", "\r\n"]), [yes("2%\r")]);
        assert_eq!(last(&["1%\r2%"]), [no("2%")]);
        assert_eq!(last(&["1%\r2%\r"]), [no("2%")]);
        assert_eq!(last(&["a\r\nb\r", "\n\r\n"]), [yes("a\r"), yes("b\r"), yes("\r")]);
        let long = "x".repeat(MAX_LINE + 1);
        assert_eq!(last(&[&long, "\rend\n"]), [no(&long[1..]), yes("end")]);
    }

    #[test]
    fn frames_that_are_not_handed_on_are_counted() {
        let mut lines = Lines::new(true);
        lines.push(b"one\rtwo\rthree\nfour\r\nfive\rs", |_| {});
        lines.push(b"ix\r\r", |_| {});
        lines.finish(|_| {});
        assert_eq!((lines.take_hidden(), lines.take_hidden()), (3, 0));
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
        fn frames_are_the_same_however_they_were_divided(text in "[a\n\r]{0,30}", sizes in prop::collection::vec(1..5_usize, 1..5)) {
            let (mut rest, mut chunks) = (text.as_bytes(), Vec::new());
            for size in sizes.iter().cycle() {
                let (chunk, tail) = rest.split_at((*size).min(rest.len()));
                chunks.push(chunk);
                rest = tail;
                if rest.is_empty() {
                    break;
                }
            }
            let lines = cut_by(Lines::new(true), &chunks);
            prop_assert_eq!(&lines, &cut_by(Lines::new(true), &[text.as_bytes()]));
            for (line, _) in &lines {
                prop_assert!(!has_frames(line));
            }
            prop_assert_eq!(lines.iter().filter(|(_, whole)| *whole).count(), text.matches('\n').count());
        }

        #[test]
        fn nothing_is_lost_and_chunks_do_not_matter(
            parts in prop::collection::vec(
                prop_oneof![
                    "[a\n\r😀é]{0,20}".prop_map(String::into_bytes),
                    prop::collection::vec(any::<u8>(), 0..20),
                    (1..270_000_usize).prop_map(|n| vec![b'x'; n]),
                    (1..100_000_usize).prop_map(|n| "€".repeat(n).into_bytes()),
                ],
                0..8,
            ),
            sizes in prop::collection::vec(1..160_000_usize, 1..8),
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
