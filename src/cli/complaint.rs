//! What the tool prints on stderr about itself.

use std::fmt::Display;
use std::io::{self, Write};

use crate::cli::exit::Exit;
use crate::sys::patient::Patient;
use crate::wire::sanitize::printable_lines;

/// Writes a line to stderr. What it quotes may have characters on which a terminal acts.
pub(super) fn complain(text: &str) {
    // If stderr cannot be written, there is no other place for this.
    let _ = writeln!(Patient(io::stderr()), "{}", printable_lines(text));
}

/// Prints on stderr why the tool ends. Returns `exit`.
pub(super) fn fail(exit: Exit, error: &dyn Display) -> Exit {
    complain(&format!("offshoot: {error}"));
    exit
}
