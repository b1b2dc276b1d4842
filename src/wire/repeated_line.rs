//! A line of another program, and how many times in a row the program has printed it.

use std::fmt;

/// The line is kept once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RepeatedLine {
    pub(crate) text: String,
    pub(crate) times: u64,
}

impl RepeatedLine {
    /// A line that was printed once.
    pub(crate) fn new(text: String) -> Self {
        Self { text, times: 1 }
    }
}

impl fmt::Display for RepeatedLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        match self.times {
            1 => Ok(()),
            times => write!(f, " ({times} times)"),
        }
    }
}
