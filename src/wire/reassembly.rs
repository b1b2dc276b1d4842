//! Puts messages together from their fragments. No I/O.
//!
//! A run is the sequence of fragments of one message. A sender that may not write to a handle is
//! refused at the first fragment, so only accepted messages take memory. All runs together hold at
//! most twice the largest message. One sender has few runs at a time, refused ones included.

use bytes::{Bytes, BytesMut};

use crate::sys::hash::HashMap;
use crate::wire::error::DeadReason;
use crate::wire::message::{ContextId, Handle, Lane, Message};

/// The most runs of one sender that are under way at once. A link sends its messages one after the
/// other in each of its three lanes, so an honest sender has far fewer.
pub(crate) const MAX_RUNS: usize = 8;

/// The runs that are under way to one context.
#[derive(Debug)]
pub(crate) struct Runs {
    /// The runs of each sender. A sender without runs has no entry.
    by_source: HashMap<ContextId, Vec<Run>>,
    /// The bytes of all runs together.
    bytes: u64,
    /// The largest message allowed, in bytes.
    max: u64,
}

#[derive(Debug)]
struct Run {
    key: Key,
    content: Content,
}

/// Distinguishes the runs of one sender.
type Key = (Handle, Handle, Lane);

#[derive(Debug)]
enum Content {
    Growing(BytesMut),
    /// The run was refused. Its other fragments are thrown away as they come.
    Refused,
}

/// The result of taking in a fragment.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Added {
    /// The whole payload, if this was the last fragment of a welcome run.
    pub(crate) whole: Option<Bytes>,
    /// The reason why the run is refused. It is set once per run.
    pub(crate) refusal: Option<DeadReason>,
    /// Whether the fragment was dropped because its sender has too many runs.
    pub(crate) too_many: bool,
}

impl Runs {
    pub(crate) fn new(max: u64) -> Self {
        Self { by_source: HashMap::default(), bytes: 0, max }
    }

    /// Whether `part` continues a run that has begun.
    pub(crate) fn continues(&self, part: &Message) -> bool {
        !self.by_source.is_empty() && self.by_source.get(&part.src).is_some_and(|runs| find(runs, part).is_some())
    }

    /// Takes in a fragment. Calls `check` for the first fragment of a run.
    pub(crate) fn add(&mut self, part: &Message, more: bool, check: impl FnOnce() -> Result<(), DeadReason>) -> Added {
        let mut added = Added::default();
        let runs = self.by_source.entry(part.src).or_default();
        let content = match find(runs, part) {
            Some(at) => runs.swap_remove(at).content,
            None if runs.len() == MAX_RUNS => return Added { too_many: true, ..added },
            None => check().map_or_else(
                |reason| {
                    added.refusal = Some(reason);
                    Content::Refused
                },
                |()| Content::Growing(BytesMut::new()),
            ),
        };
        let content = match content {
            Content::Growing(mut data) => {
                let size = (data.len() + part.data.len()) as u64;
                let total = self.bytes + part.data.len() as u64;
                if size > self.max || total > self.max.saturating_mul(2) {
                    self.bytes -= data.len() as u64;
                    added.refusal = Some(DeadReason::too_large(self.max));
                    Content::Refused
                } else {
                    self.bytes = total;
                    data.extend_from_slice(&part.data);
                    Content::Growing(data)
                }
            }
            Content::Refused => Content::Refused,
        };
        match content {
            content if more => runs.push(Run { key: key(part), content }),
            Content::Growing(data) => {
                self.bytes -= data.len() as u64;
                added.whole = Some(data.freeze());
            }
            Content::Refused => {}
        }
        if runs.is_empty() {
            self.by_source.remove(&part.src);
        }
        added
    }

    /// Drops the unfinished runs of a context that has gone.
    pub(crate) fn forget(&mut self, context: ContextId) {
        for run in self.by_source.remove(&context).unwrap_or_default() {
            if let Content::Growing(data) = run.content {
                self.bytes -= data.len() as u64;
            }
        }
    }
}

fn key(part: &Message) -> Key {
    (part.handle, part.reply_to, part.lane)
}

fn find(runs: &[Run], part: &Message) -> Option<usize> {
    runs.iter().position(|run| run.key == key(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(src: u32, data: &'static [u8]) -> Message {
        Message { src: ContextId(src), data: Bytes::from_static(data), ..Message::default() }
    }

    #[test]
    fn fragments_of_different_senders_do_not_mix() {
        let mut runs = Runs::new(100);
        let ok = || Ok(());
        runs.add(&part(1, b"a"), true, ok);
        runs.add(&part(2, b"x"), true, ok);
        runs.add(&part(1, b"b"), true, ok);
        assert_eq!(runs.add(&part(1, b"c"), false, ok).whole.unwrap(), "abc");
        assert_eq!(runs.add(&part(2, b"y"), false, ok).whole.unwrap(), "xy");
        assert_eq!((runs.bytes, runs.by_source.len()), (0, 0));
    }

    #[test]
    fn a_run_that_grows_too_large_is_refused_once_and_forgotten_at_its_end() {
        let mut runs = Runs::new(4);
        let ok = || Ok(());
        assert_eq!(runs.add(&part(1, b"abc"), true, ok), Added::default());
        assert_eq!(runs.add(&part(1, b"de"), true, ok).refusal.unwrap(), DeadReason::too_large(4));
        assert_eq!(runs.add(&part(1, b"fg"), true, ok), Added::default());
        assert_eq!(runs.add(&part(1, b"h"), false, ok), Added::default());
        assert_eq!((runs.bytes, runs.by_source.len()), (0, 0));
    }

    #[test]
    fn all_runs_together_are_bounded() {
        let mut runs = Runs::new(4);
        let refused = (0..10).filter(|src| runs.add(&part(*src, b"abcd"), true, || Ok(())).refusal.is_some()).count();
        assert_eq!((refused, runs.bytes), (8, 8));
    }

    #[test]
    fn who_may_not_write_fills_no_memory() {
        let mut runs = Runs::new(100);
        let no = || Err(DeadReason::refused("refused by policy"));
        assert_eq!(runs.add(&part(1, b"abc"), true, no).refusal.unwrap(), DeadReason::refused("refused by policy"));
        assert_eq!(runs.bytes, 0);
        assert_eq!(runs.add(&part(1, b"abc"), false, no), Added::default());
    }

    #[test]
    fn a_sender_has_few_runs_at_a_time_whether_they_are_welcome_or_not() {
        let mut runs = Runs::new(100);
        let begin = |runs: &mut Runs, handle, welcome: bool| {
            let part = Message { handle: Handle(handle), ..part(1, b"a") };
            runs.add(&part, true, || if welcome { Ok(()) } else { Err(DeadReason::refused("refused by policy")) })
        };
        for handle in 0..MAX_RUNS {
            assert!(!begin(&mut runs, u32::try_from(handle).unwrap(), handle % 2 == 0).too_many);
        }
        for handle in 1000..2000 {
            assert!(begin(&mut runs, handle, handle % 2 == 0).too_many);
        }
        assert_eq!(runs.by_source[&ContextId(1)].len(), MAX_RUNS);
        // Other senders have runs of their own, and a run that has ended makes room for another.
        assert!(!runs.add(&part(2, b"x"), true, || Ok(())).too_many);
        assert_eq!(runs.add(&part(1, b"b"), false, || Ok(())).whole.unwrap(), "ab");
        assert!(!begin(&mut runs, 5000, true).too_many);
    }

    #[test]
    fn a_context_that_goes_takes_its_runs_with_it() {
        let mut runs = Runs::new(100);
        runs.add(&part(1, b"abc"), true, || Ok(()));
        runs.forget(ContextId(1));
        assert_eq!((runs.bytes, runs.by_source.len()), (0, 0));
    }
}
