//! What the far side printed apart from the protocol.

use std::collections::VecDeque;

use super::first_stage::without_first_stage;
use crate::wire::repeated_line::RepeatedLine;
use crate::wire::sanitize::stripped;

/// The last lines of both streams, in the order in which they ended. A line that comes several times in a row
/// is one of them.
///
/// It is bounded in lines, in bytes, and in the length of a line that never ends.
#[derive(Debug, Default)]
pub(super) struct OutputTail {
    kept: VecDeque<Kept>,
    kept_bytes: usize,
    /// How many lines were ever kept, each repetition included.
    seen: u64,
    partial: [Vec<u8>; 2],
    /// The last line that was printed on stdout.
    last_of_stdout: Option<String>,
}

#[derive(Debug)]
struct Kept {
    line: RepeatedLine,
    /// The value of `seen` when the line was printed last.
    last: u64,
}

/// The stream that bytes came from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    Stdout,
    Stderr,
}

impl OutputTail {
    /// Adds bytes. Returns the lines that they completed, for the debug log.
    pub(super) fn push(&mut self, source: Source, bytes: &[u8]) -> Vec<String> {
        let mut finished = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let mut rest = piece;
            while !rest.is_empty() {
                let partial = &mut self.partial[source as usize];
                let (head, tail) = rest.split_at(rest.len().min(MAX_LINE - partial.len()));
                partial.extend_from_slice(head);
                rest = tail;
                if partial.ends_with(b"\n") || partial.len() == MAX_LINE {
                    finished.extend(self.finish_line(source));
                }
            }
        }
        finished
    }

    /// Completes both unfinished lines.
    pub(super) fn finish(&mut self) -> Vec<String> {
        [Source::Stdout, Source::Stderr].into_iter().filter_map(|source| self.finish_line(source)).collect()
    }

    /// At most 100 lines and 32 KiB, oldest first, as they were printed.
    pub(super) fn lines(&self) -> Vec<String> {
        self.kept.iter().map(|kept| kept.line.text.clone()).collect()
    }

    /// The same lines for people, with how many times in a row each of them was printed.
    pub(super) fn shown(&self) -> Vec<String> {
        self.kept.iter().map(|kept| kept.line.to_string()).collect()
    }

    /// The last complete line of stdout, shortened.
    pub(super) fn last_of_stdout(&self) -> Option<&str> {
        self.last_of_stdout.as_deref()
    }

    /// A position for [`since`](Self::since).
    pub(super) fn position(&self) -> u64 {
        self.seen
    }

    /// The lines that were kept after `position`, oldest first.
    pub(super) fn since(&self, position: u64) -> impl Iterator<Item = &str> {
        self.kept.iter().skip_while(move |kept| kept.last <= position).map(|kept| &*kept.line.text)
    }

    fn finish_line(&mut self, source: Source) -> Option<String> {
        let bytes = std::mem::take(&mut self.partial[source as usize]);
        let line = without_first_stage(stripped(&bytes));
        if line.is_empty() {
            return None;
        }
        if !is_text(&bytes) {
            return Some(format!("({} bytes that are no text)", bytes.len()));
        }
        if matches!(source, Source::Stdout) {
            self.last_of_stdout = Some(line.chars().take(MAX_LAST).collect());
        }
        // With `ssh -v`, these lines would push out all lines that matter.
        if !is_ssh_debug(&line) {
            self.seen += 1;
            if let Some(kept) = self.kept.back_mut().filter(|kept| kept.line.text == line) {
                kept.line.times += 1;
                kept.last = self.seen;
                return Some(line);
            }
            self.kept_bytes += line.len();
            self.kept.push_back(Kept { line: RepeatedLine::new(line.clone()), last: self.seen });
            while self.kept.len() > MAX_LINES || self.kept_bytes > MAX_BYTES {
                let Some(oldest) = self.kept.pop_front() else {
                    break;
                };
                self.kept_bytes -= oldest.line.text.len();
            }
        }
        Some(line)
    }
}

/// Whether a line is text for people, in any encoding. In compressed data, two of five bytes are neither ASCII
/// nor UTF-8. In text in another encoding there are fewer.
fn is_text(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let is_odd = |char: &char| *char == char::REPLACEMENT_CHARACTER || matches!(char, '\0'..='\x06' | '\x0e'..='\x1a');
    4 * text.chars().filter(is_odd).count() <= text.chars().count()
}

fn is_ssh_debug(line: &str) -> bool {
    // What the server says instead of its version is the reason why it closes the connection.
    ["debug1:", "debug2:", "debug3:"].iter().any(|prefix| line.starts_with(prefix)) && !line.contains(": banner line ")
}

const MAX_LINES: usize = 100;
const MAX_BYTES: usize = 32 * 1024;
/// Length of a line, in bytes. A line in which a program repeats the first stage is shorter.
const MAX_LINE: usize = 8192;
/// How many characters of the last line an error's own sentence shows.
const MAX_LAST: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::bootstrap::{Nonce, first_stage, login_command};

    #[test]
    fn lines_of_both_streams_keep_the_order_in_which_they_ended() {
        let mut tail = OutputTail::default();
        assert!(tail.push(Source::Stdout, b"Wel").is_empty());
        assert_eq!(tail.push(Source::Stderr, b"warning\n"), ["warning"]);
        assert_eq!(tail.push(Source::Stdout, b"come\r\n\n$ "), ["Welcome"]);
        assert_eq!(tail.finish(), ["$"]);
        assert_eq!(tail.lines(), ["warning", "Welcome", "$"]);
    }

    #[test]
    fn lines_that_are_no_text_are_counted_but_not_kept() {
        let mut tail = OutputTail::default();
        let packed: Vec<u8> = (0..=255_u8).rev().filter(|byte| *byte != b'\n').chain([b'\n']).collect();
        assert_eq!(tail.push(Source::Stdout, &packed), ["(256 bytes that are no text)"]);
        tail.push(Source::Stdout, b"Willkommen f\xfcr G\xe4ste\n\x1b[1mbold\x1b[0m\n");
        assert_eq!(tail.lines(), ["Willkommen f\u{fffd}r G\u{fffd}ste", "bold"]);
        assert_eq!(tail.last_of_stdout(), Some("bold"));
    }

    #[test]
    fn a_first_stage_that_a_program_repeats_is_left_out() {
        let stage = first_stage(&Nonce::from_bytes([7; 16]), true, None);
        let said = format!("fatal: unrecognized command '{}'\n", login_command("sh", &stage));
        assert!(said.len() < MAX_LINE, "{}", said.len());
        let mut tail = OutputTail::default();
        assert_eq!(tail.push(Source::Stdout, said.as_bytes()), ["fatal: unrecognized command 'sh -c '...''"]);
        assert_eq!(tail.lines(), ["fatal: unrecognized command 'sh -c '...''"]);
        assert_eq!(tail.last_of_stdout(), Some("fatal: unrecognized command 'sh -c '...''"));
    }

    #[test]
    fn it_keeps_a_hundred_lines_and_32_kib() {
        let mut tail = OutputTail::default();
        for n in 0..1000 {
            tail.push(Source::Stderr, format!("line {n}\n").as_bytes());
        }
        assert_eq!(tail.lines().len(), 100);
        assert_eq!(tail.lines()[99], "line 999");

        for letter in b'a'..=b't' {
            tail.push(Source::Stdout, &[letter; MAX_LINE]);
        }
        let total: usize = tail.lines().iter().map(String::len).sum();
        assert_eq!(total, 32 * 1024);
        // A megabyte without a newline is not kept as a whole.
        tail.push(Source::Stdout, &vec![b'y'; 1 << 20]);
        assert!(tail.lines().iter().map(String::len).sum::<usize>() <= 32 * 1024);
        assert!(tail.partial.iter().all(|partial| partial.len() < MAX_LINE));
    }

    #[test]
    fn lines_since_a_position_are_found_even_when_older_ones_have_gone() {
        let mut tail = OutputTail::default();
        tail.push(Source::Stdout, b"before\n");
        let position = tail.position();
        assert_eq!(tail.since(position).count(), 0);
        tail.push(Source::Stderr, b"one\ntwo\n");
        assert_eq!(tail.since(position).collect::<Vec<_>>(), ["one", "two"]);
        tail.push(Source::Stderr, b"two\n");
        assert_eq!(tail.since(tail.position() - 1).collect::<Vec<_>>(), ["two"]);
        for n in 0..200 {
            tail.push(Source::Stderr, format!("{n}\n").as_bytes());
        }
        assert_eq!(tail.since(position).count(), 100);
    }

    #[test]
    fn a_line_that_is_printed_again_and_again_is_kept_once() {
        let mut tail = OutputTail::default();
        tail.push(Source::Stdout, b"Welcome\n");
        tail.push(Source::Stderr, &b"there is no end to this\n".repeat(98));
        tail.push(Source::Stdout, b"bye\nbye");
        tail.finish();
        assert_eq!(tail.lines(), ["Welcome", "there is no end to this", "bye"]);
        assert_eq!(tail.shown(), ["Welcome", "there is no end to this (98 times)", "bye (2 times)"]);
    }

    #[test]
    fn debug_lines_of_ssh_are_reported_but_not_kept() {
        let mut tail = OutputTail::default();
        assert_eq!(tail.push(Source::Stderr, b"debug1: Connecting\n").len(), 1);
        let said = b"debug1: kex_exchange_identification: banner line 0: Not allowed at this time\n";
        let mut refused = OutputTail::default();
        refused.push(Source::Stderr, said);
        assert_eq!(refused.lines().len(), 1, "the reason of a server is kept");
        assert!(tail.lines().is_empty());
    }
}
