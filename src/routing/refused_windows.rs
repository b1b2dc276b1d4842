//! Windows whose receivers have refused data that was under way: who sends there next is told why. No I/O.

use std::collections::VecDeque;

use crate::wire::error::Error;
use crate::wire::message::{ContextId, Handle};

/// How many are remembered. A sender that has stopped, as after a stream that its reader dropped, never asks; one that
/// goes on asks with its next value. Who asks later than this learns the same from the next refusal. So few are searched
/// as they are.
const MAX: usize = 64;

/// Why windows have closed, until their senders ask; the oldest are forgotten.
#[derive(Default)]
pub(crate) struct RefusedWindows(VecDeque<((ContextId, Handle), Error)>);

impl RefusedWindows {
    /// Remembers why the window to `target` has closed.
    pub(crate) fn keep(&mut self, target: (ContextId, Handle), why: Error) {
        self.take(target);
        if self.0.len() == MAX {
            self.0.pop_front();
        }
        self.0.push_back((target, why));
    }

    /// Why the window to `target` has closed, once.
    pub(crate) fn take(&mut self, target: (ContextId, Handle)) -> Option<Error> {
        let at = self.0.iter().position(|(other, _)| *other == target)?;
        self.0.remove(at).map(|(_, why)| why)
    }

    /// A context has gone, and all that it had refused.
    pub(crate) fn forget(&mut self, context: ContextId) {
        self.0.retain(|((dst, _), _)| *dst != context);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::error::DeadReason;

    fn target(handle: u32) -> (ContextId, Handle) {
        (ContextId(1), Handle(handle))
    }

    fn why() -> Error {
        DeadReason::INVALID_HANDLE.at(ContextId(1))
    }

    #[test]
    fn a_reason_is_told_once() {
        let mut refused = RefusedWindows::default();
        refused.keep(target(1), why());
        refused.keep(target(1), why());
        assert_eq!(
            (refused.take(target(2)), refused.take(target(1)), refused.take(target(1))),
            (None, Some(why()), None)
        );
        assert_eq!(refused.len(), 0);
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut refused = RefusedWindows::default();
        for handle in 0..10_000 {
            refused.keep(target(handle), why());
        }
        assert_eq!(refused.len(), MAX);
        assert_eq!((refused.take(target(0)), refused.take(target(9999))), (None, Some(why())));
    }

    #[test]
    fn those_of_a_context_go_with_it() {
        let mut refused = RefusedWindows::default();
        refused.keep(target(1), why());
        refused.keep((ContextId(2), Handle(1)), why());
        refused.forget(ContextId(1));
        assert_eq!((refused.len(), refused.take((ContextId(2), Handle(1)))), (1, Some(why())));
    }
}
