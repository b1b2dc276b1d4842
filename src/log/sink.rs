//! The master's end of the log: a thread that hands records on, so that a
//! slow terminal cannot stop the I/O thread.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{LogHook, Record, relay};
use crate::message::ContextId;

/// Bytes of one context's records that wait for a slow reader.
const MAX_WAITING: usize = 1024 * 1024;
/// The same for all contexts together.
const MAX_TOTAL: usize = 64 * 1024 * 1024;
/// Time for what is queued to be handed on at the end.
const LAST_RECORDS: Duration = Duration::from_secs(1);

/// Where records go. Only a master has one, and only what makes a master
/// brings the code in.
pub(crate) trait LogSink {
    fn set_hook(&self, hook: LogHook);
    fn emit(&self, record: Record);
    /// Lets what is queued be handed on, for a second at most.
    fn close(&self);
}

/// The queue to the log's thread, which starts with the first record.
#[derive(Default)]
pub(crate) struct MasterSink {
    queue: Arc<Queue>,
    thread: RefCell<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    hook: Option<LogHook>,
    records: VecDeque<Record>,
    /// Of each context that has records here: one that floods loses its own.
    shares: HashMap<ContextId, Share>,
    bytes: usize,
    closed: bool,
    /// Everything has been handed on.
    done: bool,
}

#[derive(Default)]
struct Share {
    bytes: usize,
    dropped: u64,
}

impl LogSink for MasterSink {
    fn set_hook(&self, hook: LogHook) {
        self.queue.lock().hook = Some(hook);
    }

    fn emit(&self, record: Record) {
        let mut thread = self.thread.borrow_mut();
        if thread.is_none() {
            let queue = Arc::clone(&self.queue);
            let spawned = std::thread::Builder::new().name("offshoot-log".into()).spawn(move || queue.hand_on());
            *thread = spawned.ok();
        }
        self.queue.lock().push(record);
        self.queue.changed.notify_all();
    }

    fn close(&self) {
        self.queue.lock().closed = true;
        self.queue.changed.notify_all();
        if self.thread.borrow_mut().take().is_some() {
            drop(self.queue.changed.wait_timeout_while(self.queue.lock(), LAST_RECORDS, |state| !state.done));
        }
    }
}

impl State {
    fn push(&mut self, record: Record) {
        let (size, total) = (record.size(), self.bytes);
        let share = self.shares.entry(record.context).or_default();
        if share.bytes > 0 && (share.bytes + size > MAX_WAITING || total + size > MAX_TOTAL) {
            share.dropped += 1;
            return;
        }
        share.bytes += size;
        self.bytes += size;
        self.records.push_back(record);
    }

    /// The next record, and how many of its context were dropped since the
    /// last one.
    fn pop(&mut self) -> Option<(Record, u64)> {
        let record = self.records.pop_front()?;
        let size = record.size();
        self.bytes -= size;
        let Some(share) = self.shares.get_mut(&record.context) else {
            return Some((record, 0));
        };
        share.bytes -= size;
        let dropped = std::mem::take(&mut share.dropped);
        if share.bytes == 0 {
            self.shares.remove(&record.context);
        }
        Some((record, dropped))
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log's thread.
    fn hand_on(&self) {
        loop {
            let state = self.changed.wait_while(self.lock(), |state| state.records.is_empty() && !state.closed);
            let mut state = state.unwrap_or_else(PoisonError::into_inner);
            let Some((record, dropped)) = state.pop() else { break };
            let hook = state.hook.clone();
            drop(state);
            let note = (dropped > 0)
                .then(|| Record::of_dropped(dropped).made_by(record.context, Some(record.context_name.clone())));
            for record in std::iter::once(record).chain(note) {
                let record = record.escaped();
                let Some(hook) = &hook else {
                    relay::emit(&record);
                    continue;
                };
                if catch_unwind(AssertUnwindSafe(|| hook(&record))).is_err() {
                    tracing::error!("the log hook panicked");
                }
            }
        }
        self.lock().done = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(context: u32, size: usize) -> Record {
        Record::new("stdout", 3, &"x".repeat(size)).made_by(ContextId(context), None)
    }

    #[test]
    fn a_context_that_floods_loses_its_own_records_and_nobody_elses() {
        let mut state = State::default();
        for _ in 0..1000 {
            state.push(record(1, 10_000));
        }
        state.push(record(2, 10));
        assert!(state.bytes <= MAX_WAITING + 20_000, "{}", state.bytes);
        let mut dropped = 0;
        let mut counts = [0_u64; 3];
        while let Some((record, lost)) = state.pop() {
            counts[record.context.0 as usize] += 1;
            dropped += lost;
        }
        assert_eq!((counts[1] + dropped, counts[2]), (1000, 1));
        assert!(state.shares.is_empty());
        assert_eq!(state.bytes, 0);
    }

    #[test]
    fn a_hook_that_panics_gets_the_next_record_all_the_same() {
        let sink = MasterSink::default();
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = Arc::clone(&seen);
        sink.set_hook(Arc::new(move |record| {
            kept.lock().unwrap().push(record.message.clone());
            assert_ne!(record.message, "x", "no such text");
        }));
        sink.emit(record(1, 1));
        sink.emit(record(1, 2));
        sink.close();
        assert_eq!(*seen.lock().unwrap(), ["x", "xx"]);
    }

    #[test]
    fn what_a_hostile_child_logs_is_escaped() {
        let mut hostile = Record::new("a\nb", 3, "\x1b[2J\rgone");
        hostile.fields.push(("\x07".into(), "\u{9b}31m".into()));
        let record = Record { level: 200, ..hostile }.made_by(ContextId(1), Some("web".into())).escaped();
        assert_eq!(record.to_string(), "a\\nb.[web]: \\u{1b}[2J\\rgone \\u{7}=\\u{9b}31m");
        assert_eq!(record.level, 5);
    }
}
