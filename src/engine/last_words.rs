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
#[cfg(feature = "cli")]
use crate::wire::sanitize::printable;

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

/// The latest children of other contexts whose launchers have written something, each with its last lines.
#[cfg(feature = "cli")]
#[derive(Debug, Default)]
pub(crate) struct FarWords(RefCell<VecDeque<(String, LastWords)>>);

/// Maximum number of children of other contexts whose lines are kept.
#[cfg(feature = "cli")]
const MAX_FAR: usize = 1024;

#[cfg(feature = "cli")]
impl FarWords {
    /// Adds what the launcher of a child wrote; `text` is the name of the child and the line. `parent` is the name of
    /// the context that says so, which can speak of its own children only.
    pub(crate) fn note(&self, parent: &str, text: &str) {
        let Some((child, line)) = text.split_once(": ") else { return };
        let is_below = child.strip_prefix(parent).is_some_and(|rest| rest.starts_with('.'));
        if !is_below || line.trim().is_empty() {
            return;
        }
        let (mut all, line) = (self.0.borrow_mut(), printable(line));
        match all.iter().find(|(name, _)| name == child) {
            Some((_, words)) => words.push(&line),
            None => {
                let words = LastWords::default();
                words.push(&line);
                all.push_back((child.to_owned(), words));
            }
        }
        if all.len() > MAX_FAR {
            all.pop_front();
        }
    }

    /// The last lines that the launcher of a child wrote.
    pub(crate) fn of(&self, child: &str) -> Vec<String> {
        self.0.borrow().iter().find(|(name, _)| name == child).map(|(_, words)| words.lines()).unwrap_or_default()
    }
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

#[cfg(all(test, feature = "cli"))]
mod tests {
    use super::*;

    #[test]
    fn a_context_speaks_of_its_own_children_only_and_few_are_remembered() {
        let far = FarWords::default();
        far.note("ssh.hop", "ssh.hop.ssh.web1: Connection to web1 closed by remote host.");
        far.note("ssh.evil", "ssh.hop.ssh.web1: You may log in now.");
        far.note("ssh.hop", "ssh.hopper: no child of it");
        far.note("ssh.hop", "no colon");
        far.note("ssh.hop", "ssh.hop.ssh.web2: \x1b[2J");
        assert_eq!(far.of("ssh.hop.ssh.web1"), ["Connection to web1 closed by remote host."]);
        assert!(far.of("ssh.hopper").is_empty() && !far.of("ssh.hop.ssh.web2")[0].contains('\x1b'));
        for child in 0..MAX_FAR + 5 {
            far.note("a", &format!("a.{child}: x"));
        }
        assert_eq!((far.0.borrow().len(), far.of("a.0").len(), far.of("a.1028").len()), (MAX_FAR, 0, 1));
    }
}
