//! The master's end of the log. A separate thread passes records on, so that a slow terminal cannot block the
//! I/O thread.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::engine::log::relay;
use crate::engine::log::{LogHook, Record};
use crate::wire::message::ContextId;

/// Maximum size of the records of one context that wait for a slow reader, in bytes.
const MAX_WAITING: usize = 1024 * 1024;
/// Maximum size of the waiting records of all contexts together, in bytes.
const MAX_TOTAL: usize = 64 * 1024 * 1024;
/// Maximum size of this process's own events that wait, in bytes. With events for frames there are many, and
/// they do not use the share of other contexts.
const MAX_OWN: usize = 16 * 1024 * 1024;
/// The size that an own event counts in addition to its text, in bytes.
const OWN_EVENT: usize = 128;

/// The destination of records. Only a master has one, so only programs that create a master link this code.
pub(crate) trait LogSink {
    fn set_hook(&self, hook: LogHook);
    fn emit(&self, record: Record);
    /// Makes the thread create an event of this process. `bytes` is the size of its text.
    fn own(&self, bytes: usize, event: OwnEvent);
    /// Accepts no further records. The receiver ends when all records have been passed on.
    fn close(&self) -> oneshot::Receiver<()>;
}

/// Creates an event of this process.
pub(crate) type OwnEvent = Box<dyn FnOnce() + Send>;

/// The queue to the log's thread. The thread starts with the first record.
#[derive(Default)]
pub(crate) struct MasterSink {
    queue: Arc<Queue>,
    has_thread: Cell<bool>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    hook: Option<LogHook>,
    entries: VecDeque<Entry>,
    /// The share of each context whose records wait. A context that sends too many records loses only its
    /// own.
    shares: HashMap<ContextId, Share>,
    bytes: usize,
    closed: bool,
    /// Dropped when all records have been passed on.
    done: Option<oneshot::Sender<()>>,
    own: Share,
}

enum Entry {
    Record(Record),
    Own(usize, OwnEvent),
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
        self.push(|state| state.push(record));
    }

    fn own(&self, bytes: usize, event: OwnEvent) {
        self.push(|state| state.push_own(bytes + OWN_EVENT, event));
    }

    fn close(&self) -> oneshot::Receiver<()> {
        let (done, is_done) = oneshot::channel();
        let mut state = self.queue.lock();
        state.closed = true;
        state.done = Some(done).filter(|_| self.has_thread.get());
        self.queue.changed.notify_all();
        is_done
    }
}

impl MasterSink {
    fn push(&self, push: impl FnOnce(&mut State)) {
        if !self.has_thread.get() {
            let queue = Arc::clone(&self.queue);
            let spawned = std::thread::Builder::new().name("offshoot-log".into()).spawn(move || queue.hand_on());
            self.has_thread.set(spawned.is_ok());
        }
        push(&mut self.queue.lock());
        self.queue.changed.notify_all();
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
        self.entries.push_back(Entry::Record(record));
    }

    fn push_own(&mut self, size: usize, event: OwnEvent) {
        if self.own.bytes + size > MAX_OWN {
            self.own.dropped += 1;
            return;
        }
        self.own.bytes += size;
        self.entries.push_back(Entry::Own(size, event));
    }

    /// Removes the next entry. Also returns how many records of its context were dropped since the last one.
    fn pop(&mut self) -> Option<(Entry, u64)> {
        let entry = self.entries.pop_front()?;
        let record = match &entry {
            Entry::Record(record) => record,
            Entry::Own(size, _) => {
                self.own.bytes -= size;
                return Some((entry, std::mem::take(&mut self.own.dropped)));
            }
        };
        let size = record.size();
        self.bytes -= size;
        let Some(share) = self.shares.get_mut(&record.context) else {
            return Some((entry, 0));
        };
        share.bytes -= size;
        let dropped = std::mem::take(&mut share.dropped);
        if share.bytes == 0 {
            self.shares.remove(&record.context);
        }
        Some((entry, dropped))
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The work of the log's thread.
    fn hand_on(&self) {
        loop {
            let state = self.changed.wait_while(self.lock(), |state| state.entries.is_empty() && !state.closed);
            let mut state = state.unwrap_or_else(PoisonError::into_inner);
            let Some((entry, dropped)) = state.pop() else { break };
            let hook = state.hook.clone();
            drop(state);
            let record = match entry {
                Entry::Record(record) => record,
                Entry::Own(_, event) => {
                    event();
                    if dropped > 0 {
                        tracing::warn!("{}", Record::of_dropped(dropped).message);
                    }
                    continue;
                }
            };
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
        self.lock().done = None;
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
        while let Some((Entry::Record(record), lost)) = state.pop() {
            counts[record.context.0 as usize] += 1;
            dropped += lost;
        }
        assert_eq!((counts[1] + dropped, counts[2]), (1000, 1));
        assert!(state.shares.is_empty());
        assert_eq!(state.bytes, 0);
    }

    #[test]
    fn own_events_are_made_by_the_thread_in_their_order_and_are_bounded() {
        let sink = MasterSink::default();
        let (seen, events) = std::sync::mpsc::channel();
        let me = std::thread::current().id();
        let gate = Arc::new(Mutex::new(()));
        let held = gate.lock().unwrap();
        let (also, wait) = (seen.clone(), Arc::clone(&gate));
        sink.own(
            0,
            Box::new(move || {
                drop(wait.lock());
                also.send((std::thread::current().id() != me, 0)).unwrap();
            }),
        );
        for n in 1..=100 {
            let seen = seen.clone();
            sink.own(MAX_OWN / 64, Box::new(move || seen.send((true, n)).unwrap()));
        }
        drop((held, seen));
        sink.close().blocking_recv().unwrap_err();
        let events: Vec<_> = events.iter().collect();
        assert!(events.len() > 60 && events.len() < 70, "{}", events.len());
        assert!(events.iter().enumerate().all(|(at, event)| *event == (true, at)), "{events:?}");
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
        sink.close().blocking_recv().unwrap_err();
        assert_eq!(*seen.lock().unwrap(), ["x", "xx"]);
    }

    #[test]
    fn what_a_hostile_child_logs_is_escaped() {
        let mut hostile = Record::new("stderr.[other]: b\n", 3, "\x1b[2J\rgone");
        hostile.fields.push(("\x07".into(), "\u{9b}31m".into()));
        let record = Record { level: 200, ..hostile }.made_by(ContextId(1), Some("web".into())).escaped();
        assert_eq!(record.to_string(), "stderr._other_:_b_.[web]: \\u{1b}[2J\\rgone \\u{7}=\\u{9b}31m");
        assert_eq!(record.level, 5);
        // Another context can send a longer one than this program makes.
        let long = Record { target: "x".repeat(100_000), ..record }.escaped();
        assert_eq!(long.target.len(), crate::engine::log::MAX_NAME);
    }
}
