//! What is wrong with a host expression, and where.

use std::fmt;

pub(crate) use crate::connect::host_path::fault::{Fault, FaultKind, Span, is_unprintable};

/// How many characters of a long line are shown around the fault.
const WINDOW: usize = 60;
/// How many characters of a long message are shown at its beginning, and at its end. All messages without a
/// name are shorter than this.
const HALF: usize = 250;

/// A host expression that cannot be expanded.
///
/// Its text describes the fault and the correct form, then shows the line with a caret below the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExprError {
    /// What kind of fault it is; the exit code depends on it.
    pub(crate) kind: FaultKind,
    /// Where in `line` the fault is.
    pub(crate) span: Span,
    /// What is wrong, and what to do.
    pub(crate) message: String,
    /// The line that holds the fault.
    pub(crate) line: String,
    /// Where the line was read; `None` is the command line.
    pub(crate) place: Option<String>,
}

impl ExprError {
    pub(crate) fn new(fault: Fault, line: &str, place: Option<String>) -> Self {
        let Fault { kind, span, message } = fault;
        let place = place.map(without_middle);
        Self { kind, span, message: without_middle(message), line: line.to_owned(), place }
    }
}

/// Shortens a message in its middle. A message contains what it is about, which can be as long as the
/// expression. The advice stands at the end.
fn without_middle(text: String) -> String {
    let chars = text.chars().count();
    if chars <= 2 * HALF {
        return text;
    }
    let (head, tail) = (text.chars().take(HALF), text.chars().skip(chars - HALF));
    head.chain("...".chars()).chain(tail).collect()
}

impl fmt::Display for ExprError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.message)?;
        if self.kind == FaultKind::Empty {
            return Ok(());
        }
        let (shown, column, width) = window(&self.line, self.span);
        write!(f, " (at byte {})\n    {shown}\n    ", self.span.at)?;
        write!(f, "{:column$}{}", "", "^".repeat(width))
    }
}

impl std::error::Error for ExprError {}

/// The part of the line that is shown, and the column and width of the carets in characters. A mark stands for
/// each control character, because these cannot be printed.
fn window(line: &str, span: Span) -> (String, usize, usize) {
    let before = line.char_indices().take_while(|(at, _)| *at < span.at).count();
    let marked = line.char_indices().filter(|(at, _)| (span.at..span.at.saturating_add(span.len)).contains(at)).count();
    let first = before.saturating_sub(WINDOW);
    let width = marked.clamp(1, WINDOW);
    let last = before + width + WINDOW;
    let mut shown = String::new();
    let mut column = before - first;
    if first > 0 {
        shown.push_str("...");
        column += 3;
    }
    shown.extend(line.chars().take(last).skip(first).map(|c| match c {
        '\t' => ' ',
        c if is_unprintable(c) => '\u{fffd}',
        c => c,
    }));
    if line.chars().nth(last).is_some() {
        shown.push_str("...");
    }
    (shown, column, width)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(line: &str, at: usize, len: usize) -> ExprError {
        ExprError::new(Fault::syntax(Span::new(at, len), "no"), line, None)
    }

    #[test]
    fn the_caret_stands_below_the_fault() {
        assert_eq!(error("web[3-1]", 4, 3).to_string(), "no (at byte 4)\n    web[3-1]\n        ^^^");
    }

    #[test]
    fn the_caret_counts_characters_not_bytes() {
        let line = "häß,[";
        assert_eq!(error(line, line.len() - 1, 1).to_string(), "no (at byte 6)\n    häß,[\n        ^");
    }

    #[test]
    fn a_fault_at_the_end_of_the_line_has_a_caret_too() {
        assert_eq!(error("a,", 2, 0).to_string(), "no (at byte 2)\n    a,\n      ^");
    }

    #[test]
    fn control_characters_are_not_printed() {
        let text = error("a\x1b[2Jb\t\u{202e}\u{fffb}\u{e0041}", 1, 1).to_string();
        assert!(!text.contains(['\x1b', '\u{202e}', '\t', '\u{fffb}', '\u{e0041}']), "{text:?}");
    }

    #[test]
    fn a_long_line_is_cut_around_the_fault() {
        let line = format!("{}X{}", "a".repeat(5_000), "b".repeat(5_000));
        let text = error(&line, 5_000, 1).to_string();
        let mut lines = text.lines().skip(1);
        let shown = lines.next().unwrap();
        let caret = lines.next().unwrap();
        assert!(shown.len() < 200);
        assert_eq!(shown.find('X'), caret.find('^'));
        assert!(shown.ends_with("...") && shown.trim_start().starts_with("..."));
    }

    #[test]
    fn a_fault_that_spans_a_long_line_is_cut_too() {
        let line = "a".repeat(100_000);
        assert!(error(&line, 0, line.len()).to_string().len() < 400);
    }

    #[test]
    fn a_message_that_names_a_long_word_keeps_its_beginning_and_its_end() {
        let message = format!("the file `{}` cannot be read: no", "x".repeat(1 << 20));
        let text = ExprError::new(Fault::source(Span::new(0, 1), message), "^x", None).to_string();
        assert!(text.len() < 1000 && text.starts_with("the file `xxx") && text.contains("cannot be read: no"));
    }

    #[test]
    fn the_place_comes_first() {
        let error = ExprError::new(Fault::syntax(Span::new(0, 1), "no"), "]", Some("^f, line 3".into()));
        assert_eq!(error.to_string(), "^f, line 3: no (at byte 0)\n    ]\n    ^");
    }
}
