//! Messages that come in by fragments. No I/O.
//!
//! A run is the fragments of one message. Whoever may not write to a handle
//! is refused at the first fragment, so only welcome messages fill memory,
//! and all runs together hold at most twice the largest message.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};

use crate::message::{ContextId, Handle, Lane, Message};

type Key = (ContextId, Handle, Handle, Lane);

/// The runs that are under way to one context.
#[derive(Debug)]
pub(crate) struct Runs {
    by_key: HashMap<Key, Run>,
    /// Bytes in all of them.
    bytes: u64,
    /// The largest message allowed, in bytes.
    max: u64,
}

#[derive(Debug)]
enum Run {
    Growing(BytesMut),
    /// Refused; the rest of it is thrown away as it comes.
    Refused,
}

/// What a fragment has led to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Added {
    /// The whole payload, if this was the last fragment of a welcome run.
    pub(crate) whole: Option<Bytes>,
    /// Why the run is refused, said once.
    pub(crate) refusal: Option<String>,
}

impl Runs {
    pub(crate) fn new(max: u64) -> Self {
        Self { by_key: HashMap::new(), bytes: 0, max }
    }

    /// Whether `part` continues a run.
    pub(crate) fn continues(&self, part: &Message) -> bool {
        !self.by_key.is_empty() && self.by_key.contains_key(&key(part))
    }

    /// Takes in a fragment. `check` is asked at the first one of a run.
    pub(crate) fn add(&mut self, part: &Message, more: bool, check: impl FnOnce() -> Result<(), String>) -> Added {
        let mut added = Added::default();
        let run = self.by_key.remove(&key(part)).unwrap_or_else(|| match check() {
            Ok(()) => Run::Growing(BytesMut::new()),
            Err(reason) => {
                added.refusal = Some(reason);
                Run::Refused
            }
        });
        let run = match run {
            Run::Growing(mut data) => {
                let size = (data.len() + part.data.len()) as u64;
                let total = self.bytes + part.data.len() as u64;
                if size > self.max || total > self.max.saturating_mul(2) {
                    self.bytes -= data.len() as u64;
                    added.refusal = Some(format!("message too large (max {} bytes)", self.max));
                    Run::Refused
                } else {
                    self.bytes = total;
                    data.extend_from_slice(&part.data);
                    Run::Growing(data)
                }
            }
            Run::Refused => Run::Refused,
        };
        match run {
            run if more => {
                self.by_key.insert(key(part), run);
            }
            Run::Growing(data) => {
                self.bytes -= data.len() as u64;
                added.whole = Some(data.freeze());
            }
            Run::Refused => {}
        }
        added
    }

    /// A context has gone: what it had not finished never will be.
    pub(crate) fn forget(&mut self, context: ContextId) {
        let bytes = &mut self.bytes;
        self.by_key.retain(|key, run| {
            let gone = key.0 == context;
            if gone && let Run::Growing(data) = run {
                *bytes -= data.len() as u64;
            }
            !gone
        });
    }
}

fn key(part: &Message) -> Key {
    (part.src, part.handle, part.reply_to, part.lane)
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
        assert_eq!((runs.bytes, runs.by_key.len()), (0, 0));
    }

    #[test]
    fn a_run_that_grows_too_large_is_refused_once_and_forgotten_at_its_end() {
        let mut runs = Runs::new(4);
        let ok = || Ok(());
        assert_eq!(runs.add(&part(1, b"abc"), true, ok), Added::default());
        assert_eq!(runs.add(&part(1, b"de"), true, ok).refusal.unwrap(), "message too large (max 4 bytes)");
        assert_eq!(runs.add(&part(1, b"fg"), true, ok), Added::default());
        assert_eq!(runs.add(&part(1, b"h"), false, ok), Added::default());
        assert_eq!((runs.bytes, runs.by_key.len()), (0, 0));
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
        let no = || Err("refused by policy".to_owned());
        assert_eq!(runs.add(&part(1, b"abc"), true, no).refusal.unwrap(), "refused by policy");
        assert_eq!(runs.bytes, 0);
        assert_eq!(runs.add(&part(1, b"abc"), false, no), Added::default());
    }

    #[test]
    fn a_context_that_goes_takes_its_runs_with_it() {
        let mut runs = Runs::new(100);
        runs.add(&part(1, b"abc"), true, || Ok(()));
        runs.forget(ContextId(1));
        assert_eq!((runs.bytes, runs.by_key.len()), (0, 0));
    }
}
