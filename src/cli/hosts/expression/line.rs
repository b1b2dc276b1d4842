//! A line of an expression, its source, and its words.

use std::fmt;

use crate::cli::hosts::expression_error::{ExprError, Fault, Span};
use crate::cli::hosts::hop::MAX_NAME;
use crate::cli::hosts::path::Method;
use crate::cli::hosts::pattern::enclosed;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum ListSource {
    Group(String),
    File(String),
    /// All known hosts.
    Known,
    Stdin,
}

impl fmt::Display for ListSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group(name) => write!(f, "@{}", name.escape_debug()),
            Self::File(path) => write!(f, "^{}", path.escape_debug()),
            Self::Known => f.write_str("the known hosts"),
            Self::Stdin => f.write_str("stdin"),
        }
    }
}

/// A line and its source. `None` is the command line.
pub(super) struct Line<'a> {
    pub(super) text: &'a str,
    pub(super) place: Option<Place<'a>>,
}

/// A line of a file, of a group or of stdin.
pub(super) struct Place<'a> {
    pub(super) source: &'a ListSource,
    pub(super) line: usize,
}

impl Line<'_> {
    pub(super) fn error(&self, fault: Fault) -> ExprError {
        let place = self.place.as_ref().map(|Place { source, line }| format!("{source}, line {line}"));
        ExprError::new(fault, self.text, place)
    }

    /// In files and groups, white space separates words, as in any list.
    pub(super) fn is_list(&self) -> bool {
        self.place.is_some()
    }

    pub(super) fn next(&self, at: usize) -> Option<char> {
        self.text[at..].chars().next()
    }

    pub(super) fn skip_blanks(&self, at: usize) -> usize {
        self.text.len() - self.text[at..].trim_start().len()
    }
}

/// Whether a word can only be the name of an ssh host. Such a name is its own key.
pub(crate) fn is_bare_host(word: &str) -> bool {
    word.len() <= MAX_NAME
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && word.starts_with(|c: char| c != '-')
        // It may be a range of addresses, which is refused.
        && !(word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('-'))
        && !word.starts_with(Method::Local.as_str())
        && Method::by_name(word).is_none()
}

/// Where the word that begins at `at` ends.
pub(super) fn word_end(text: &str, mut at: usize) -> Result<usize, Fault> {
    while let Some(c) = text[at..].chars().next() {
        match c {
            ',' | '!' | '&' | '^' => break,
            c if c.is_whitespace() => break,
            '[' | '{' => at += enclosed(&text[at..], at)?.len() + 2,
            c => at += c.len_utf8(),
        }
    }
    Ok(at)
}

/// The name of the file after the `^` at `at`, and where it ends.
pub(super) fn file_name(text: &str, at: usize) -> Result<(String, usize), Fault> {
    let rest = &text[at + 1..];
    let (name, end) = if rest.starts_with('{') {
        let name = enclosed(rest, at + 1)?;
        (name, at + 1 + name.len() + 2)
    } else {
        let is_end = |c: char| matches!(c, ',' | '!' | '&' | '^') || c.is_whitespace();
        let name = rest.split(is_end).next().unwrap_or(rest);
        (name, at + 1 + name.len())
    };
    if name.is_empty() {
        let message = "the name of a file is missing after `^`, as in ^hosts.txt";
        return Err(Fault::syntax(Span::new(at, 1), message));
    }
    Ok((name.to_owned(), end))
}

/// Removes a comment, which begins with a `#` at the start of a word.
pub(super) fn without_comment(line: &str) -> &str {
    let mut quoted = false;
    let mut blank = true;
    for (at, c) in line.char_indices() {
        match c {
            '#' if blank && !quoted => return &line[..at],
            '{' => quoted = true,
            '}' => quoted = false,
            _ => {}
        }
        blank = c.is_whitespace();
    }
    line
}
