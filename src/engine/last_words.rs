//! The last lines that the process behind a link wrote to its stderr. They may contain the reason why a
//! connection was lost.

#[cfg(feature = "cli")]
use std::cell::RefCell;
#[cfg(feature = "cli")]
use std::collections::VecDeque;

use tokio_util::sync::CancellationToken;

#[cfg(feature = "cli")]
use crate::engine::log::cut;
#[cfg(feature = "cli")]
use crate::wire::repeated_line::RepeatedLine;

/// Maximum number of lines that are kept. A launcher that loses its connection prints one or two lines,
/// possibly after banners and warnings.
#[cfg(feature = "cli")]
const MAX_LINES: usize = 5;
/// Maximum size of each line, in bytes. People read these lines.
#[cfg(feature = "cli")]
const MAX_LINE: usize = 500;

/// The last lines of one process. Only the tool asks for them, so an image does not keep them.
#[derive(Debug, Default)]
pub(crate) struct LastWords {
    #[cfg(feature = "cli")]
    lines: RefCell<VecDeque<RepeatedLine>>,
    /// Cancelled when no further lines follow.
    pub(crate) ended: CancellationToken,
}

#[cfg(feature = "cli")]
impl LastWords {
    /// Adds a line, which is already safe to print.
    pub(crate) fn push(&self, line: &str) {
        let (mut lines, line) = (self.lines.borrow_mut(), cut(line, MAX_LINE));
        match lines.back_mut().filter(|last| last.text == line) {
            Some(last) => last.times += 1,
            None => lines.push_back(RepeatedLine::new(line)),
        }
        if lines.len() > MAX_LINES {
            lines.pop_front();
        }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.borrow().iter().map(ToString::to_string).collect()
    }
}
