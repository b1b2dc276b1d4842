//! What must hold for every text that people see.

use crate::wire::error::{ConnectError, Error, Reader};
use crate::wire::sanitize::is_unsafe;

/// Longest text of an error that is not one of a called function, in bytes. Such a text repeats what is wrong.
const LONGEST: usize = 256 * 1024;

/// A text has no character on which a terminal acts. It may have several lines.
pub(super) fn harmless(text: &str) {
    let bad = text.chars().find(|c| is_unsafe(*c) && !matches!(c, '\n' | '\t'));
    assert!(bad.is_none(), "the terminal acts on {bad:?} in {text:?}");
}

/// The text of an error says something. The tool escapes it before it prints it.
pub(super) fn complains(text: &str) {
    assert!(!text.trim().is_empty(), "an error says nothing");
    assert!(text.len() <= LONGEST, "the text of an error has {} bytes", text.len());
}

/// The text of an error says something, and a terminal can show it as it is.
pub(super) fn tells(text: &str) {
    complains(text);
    harmless(text);
}

/// An error of another context, as it is shown here.
pub(super) fn error(error: &Error) {
    harmless(&error.to_string());
    // Those of called functions may be empty, and longer.
    if !matches!(error, Error::Call(_)) {
        harmless(&error.clone().for_reader(Reader::Tool).to_string());
    }
}

/// An error of a connect.
pub(super) fn connect_error(error: &ConnectError) {
    tells(&error.text);
    harmless(&error.advice);
    tells(&error.to_string());
}
