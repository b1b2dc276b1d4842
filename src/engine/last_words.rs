//! The last lines that the process behind a link wrote to its stderr. They may contain the reason why a
//! connection was lost.

use std::cell::RefCell;
use std::collections::VecDeque;

use tokio_util::sync::CancellationToken;

use crate::engine::log::cut;

/// Maximum number of lines that are kept. A launcher that loses its connection prints one or two lines,
/// possibly after banners and warnings.
const MAX_LINES: usize = 5;
/// Maximum size of each line, in bytes. People read these lines.
const MAX_LINE: usize = 500;

/// The last lines of one process.
#[derive(Debug, Default)]
pub(crate) struct LastWords {
    lines: RefCell<VecDeque<String>>,
    /// Cancelled when no further lines follow.
    pub(crate) ended: CancellationToken,
}

impl LastWords {
    /// Adds a line, which is already safe to print.
    pub(crate) fn push(&self, line: &str) {
        let mut lines = self.lines.borrow_mut();
        lines.push_back(cut(line, MAX_LINE));
        if lines.len() > MAX_LINES {
            lines.pop_front();
        }
    }

    #[cfg(feature = "cli")]
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.borrow().iter().cloned().collect()
    }
}
