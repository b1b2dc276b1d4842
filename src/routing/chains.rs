//! Chains of calls, on the called side. No I/O.
//!
//! A chain has a record here only while it has calls under way, or if it has failed.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::routing::runs_on::RunsOn;
use crate::sys::hash::HashMap;
use crate::wire::message::ContextId;

/// The most chains that have records.
const MAX_CHAINS: usize = 4096;
/// The most bytes of the errors of all chains.
const MAX_ERRORS: usize = 16 * 1024 * 1024;

/// The context that made the chain, and the number of the chain there.
pub(crate) type Key = (ContextId, u32);

/// The reply that every later call of the chain gets once one has failed. Set by the call that
/// fails.
pub(crate) type Failed = Arc<OnceLock<Bytes>>;

/// All chains. `J` is a call that waits for its turn.
pub(crate) struct Chains<J> {
    by_key: HashMap<Key, Chain<J>>,
    /// The bytes of errors that are kept only for their chains.
    errors: usize,
}

struct Chain<J> {
    failed: Failed,
    /// The calls that were handed out and have not ended.
    running: usize,
    /// Whether all running calls queue for the main thread, which keeps their order.
    queued: bool,
    held: VecDeque<(RunsOn, J)>,
    /// Whether the caller will send no further calls of this chain.
    forgotten: bool,
    /// The bytes of its error that are counted in `errors`.
    counted: usize,
}

impl<J> Default for Chains<J> {
    fn default() -> Self {
        Self { by_key: HashMap::default(), errors: 0 }
    }
}

impl<J> Chains<J> {
    /// Returns the failure of a chain, which its calls check and set. `None` if the chain is new
    /// and there are too many chains.
    pub(crate) fn open(&mut self, key: Key) -> Option<Failed> {
        if !self.by_key.contains_key(&key) && (self.by_key.len() >= MAX_CHAINS || self.errors > MAX_ERRORS) {
            return None;
        }
        let chain = self.by_key.entry(key).or_insert_with(|| Chain {
            failed: Failed::default(),
            running: 0,
            queued: false,
            held: VecDeque::new(),
            forgotten: false,
            counted: 0,
        });
        Some(Arc::clone(&chain.failed))
    }

    /// Returns the call if it can begin now. Otherwise [`Chains::ended`] returns it in its turn.
    pub(crate) fn begin(&mut self, key: Key, runs_on: RunsOn, job: J) -> Option<J> {
        let Some(chain) = self.by_key.get_mut(&key) else {
            return Some(job);
        };
        chain.held.push_back((runs_on, job));
        chain.next()
    }

    /// Notes that a call has ended. Returns the calls that can begin now.
    pub(crate) fn ended(&mut self, key: Key) -> Vec<J> {
        let Some(chain) = self.by_key.get_mut(&key) else {
            return Vec::new();
        };
        chain.running -= 1;
        let next: Vec<J> = std::iter::from_fn(|| chain.next()).collect();
        self.tidy(key);
        next
    }

    /// Notes that the caller will send no further calls of this chain.
    pub(crate) fn forget(&mut self, key: Key) {
        if let Some(chain) = self.by_key.get_mut(&key) {
            chain.forgotten = true;
            self.tidy(key);
        }
    }

    /// Drops the chains of a caller that has gone.
    pub(crate) fn forget_all(&mut self, caller: ContextId) {
        let keys: Vec<Key> = self.by_key.keys().filter(|(src, _)| *src == caller).copied().collect();
        keys.into_iter().for_each(|key| self.forget(key));
    }

    /// The number of chains that have records.
    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    fn tidy(&mut self, key: Key) {
        let Some(chain) = self.by_key.get_mut(&key).filter(|chain| chain.running == 0 && chain.held.is_empty()) else {
            return;
        };
        match chain.failed.get() {
            Some(error) if !chain.forgotten => {
                self.errors += error.len() - chain.counted;
                chain.counted = error.len();
            }
            _ => {
                self.errors -= chain.counted;
                self.by_key.remove(&key);
            }
        }
    }
}

impl<J> Chain<J> {
    fn next(&mut self) -> Option<J> {
        let (runs_on, _) = self.held.front()?;
        let queued = *runs_on == RunsOn::Queued;
        if self.running > 0 && !(self.queued && queued) {
            return None;
        }
        self.running += 1;
        self.queued = queued;
        self.held.pop_front().map(|(_, job)| job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = (ContextId(3), 1000);

    #[test]
    fn queued_calls_go_at_once_and_others_wait_for_all_before_them() {
        let mut chains = Chains::default();
        chains.open(KEY).unwrap();
        assert_eq!(chains.begin(KEY, RunsOn::Queued, 1), Some(1));
        assert_eq!(chains.begin(KEY, RunsOn::Queued, 2), Some(2));
        assert_eq!(chains.begin(KEY, RunsOn::Concurrent, 3), None);
        assert_eq!(chains.begin(KEY, RunsOn::Queued, 4), None);
        assert_eq!(chains.begin(KEY, RunsOn::Queued, 5), None);
        assert!(chains.ended(KEY).is_empty());
        assert_eq!(chains.ended(KEY), [3]);
        assert_eq!(chains.ended(KEY), [4, 5]);
        assert!(chains.ended(KEY).is_empty() && chains.ended(KEY).is_empty());
        assert_eq!(chains.len(), 0);
    }

    #[test]
    fn only_a_chain_that_has_failed_is_kept_and_not_once_it_is_forgotten() {
        let mut chains = Chains::default();
        let failed = chains.open(KEY).unwrap();
        chains.begin(KEY, RunsOn::Queued, ());
        failed.set(Bytes::from_static(b"error")).unwrap();
        chains.ended(KEY);
        assert_eq!((chains.len(), chains.errors), (1, 5));
        // A later call does not run, and is counted once.
        chains.begin(KEY, RunsOn::Queued, ());
        chains.ended(KEY);
        assert_eq!((chains.len(), chains.errors), (1, 5));
        chains.forget(KEY);
        assert_eq!((chains.len(), chains.errors), (0, 0));
    }

    #[test]
    fn a_chain_that_is_forgotten_while_it_runs_goes_with_its_last_call() {
        let mut chains = Chains::default();
        chains.open(KEY).unwrap();
        chains.begin(KEY, RunsOn::Io, 1);
        chains.begin(KEY, RunsOn::Io, 2);
        chains.forget_all(KEY.0);
        assert_eq!(chains.ended(KEY), [2]);
        chains.ended(KEY);
        assert_eq!(chains.len(), 0);
    }

    #[test]
    fn neither_chains_nor_their_errors_grow_without_bound() {
        let mut chains = Chains::default();
        let opened = (0..10_000).filter(|&number| {
            chains.open((ContextId(1), number)).is_some_and(|failed| {
                chains.begin((ContextId(1), number), RunsOn::Queued, ());
                failed.set(Bytes::from(vec![0; 64 * 1024])).unwrap();
                chains.ended((ContextId(1), number));
                true
            })
        });
        assert_eq!(opened.count(), MAX_ERRORS / (64 * 1024) + 1);
        chains.forget_all(ContextId(1));
        assert_eq!((chains.len(), chains.errors), (0, 0));
        assert!((0..5000).all(|number| chains.open((ContextId(1), number)).is_some() == (number < MAX_CHAINS as u32)));
    }
}
