//! What the tool prints on stderr about itself.

use std::fmt::Display;
use std::io::{self, Write};

use crate::cli::exit::Exit;

/// Writes a line to stderr.
pub(super) fn complain(text: &str) {
    // If stderr cannot be written, there is no other place for this.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Prints on stderr why the tool ends. Returns `exit`.
pub(super) fn fail(exit: Exit, error: &dyn Display) -> Exit {
    complain(&format!("offshoot: {error}"));
    exit
}
