//! What the process behind a link has written to its stderr last: it may say why a connection was lost.

use std::cell::RefCell;
use std::collections::VecDeque;

use tokio_util::sync::CancellationToken;

use crate::engine::log::cut;

/// Lines of a launcher that are kept: what it says when it loses its connection
/// is one or two, and banners and warnings may come before.
const MAX_LINES: usize = 5;
/// Bytes of each line, for people to read.
const MAX_LINE: usize = 500;

/// The last lines of one process.
#[derive(Debug, Default)]
pub(crate) struct LastWords {
    lines: RefCell<VecDeque<String>>,
    /// Nothing more will come.
    pub(crate) ended: CancellationToken,
}

impl LastWords {
    /// Adds a line that can be printed.
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
