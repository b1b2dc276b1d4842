//! The frames that wait to leave by one link: three lanes, and turns within a lane. No I/O.
//!
//! The control lane goes first and the log lane last. In the user and log lanes the (src, dst)
//! pairs take turns, one fragment each. So no conversation blocks another one, and order holds
//! within a pair. `DEL_ROUTE` for a context waits until everything that was accepted from that
//! context has left. The log records of that context then leave before the messages of others.

use std::collections::VecDeque;
use std::time::Instant;

use crate::routing::table::LinkId;
use crate::sys::hash::HashMap;
use crate::wire::frame::{self, MAX_PAYLOAD};
use crate::wire::message::{ContextId, Lane, Message};
use crate::wire::write_batch::WriteBatch;

/// The most bytes of log records that are queued from one context. Further records are dropped.
pub(crate) const MAX_LOG_BYTES: usize = 1024 * 1024;

/// The most queues whose memory is kept, and the most entries of such a queue.
const MAX_SPARE: usize = 4;
const MAX_SPARE_ENTRIES: usize = 64;

type Pair = (ContextId, ContextId);

/// The queues of one link.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    control: VecDeque<Entry>,
    user: Turns,
    log: Turns,
    /// `DEL_ROUTE` messages. Each has the context whose messages must leave first.
    farewells: VecDeque<(ContextId, Entry)>,
    bytes: usize,
}

/// A message or a fragment in the queue.
#[derive(Debug)]
struct Entry {
    part: Message,
    more: bool,
    /// The link by which it came in. `None` if it was created here.
    origin: Option<LinkId>,
}

impl Entry {
    fn pair(&self) -> Pair {
        (self.part.src, self.part.dst)
    }
}

/// A frame that has left the queue: the link by which it came in, its bytes, and its lane.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) origin: Option<LinkId>,
    pub(crate) bytes: usize,
    pub(crate) lane: Lane,
}

#[derive(Debug, Default)]
struct Turns {
    /// The only message that waits, if there is one only. It needs no queue.
    lone: Option<Entry>,
    queues: HashMap<Pair, PairQueue>,
    turn: VecDeque<Pair>,
    /// The memory of queues that were emptied, for the next ones.
    spare: Vec<VecDeque<Entry>>,
}

#[derive(Debug, Default)]
struct PairQueue {
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl Outbox {
    /// Queues a message that was created here, or a frame that came in by `origin`.
    ///
    /// Returns false if it was one log record too many. The record is then dropped.
    pub(crate) fn push(&mut self, part: Message, more: bool, origin: Option<LinkId>) -> bool {
        let bytes = part.data.len();
        let lane = part.lane;
        let entry = Entry { part, more, origin };
        match lane {
            Lane::Control => self.control.push_back(entry),
            Lane::User => self.user.push(entry),
            Lane::Log => {
                let pair = entry.pair();
                if self.log.bytes(pair).is_some_and(|queued| queued + bytes > MAX_LOG_BYTES) {
                    return false;
                }
                self.log.push(entry);
            }
        }
        self.bytes += bytes;
        true
    }

    /// Queues a message that must leave after everything that is queued from `gone`. `origin` is the link that has
    /// caused it.
    pub(crate) fn push_farewell(&mut self, gone: ContextId, part: Message, origin: Option<LinkId>) {
        self.bytes += part.data.len();
        self.farewells.push_back((gone, Entry { part, more: false, origin }));
    }

    /// Moves the next frame to `out`. Returns what left, or `None` if nothing is queued.
    pub(crate) fn pop(&mut self, now: Instant, out: &mut WriteBatch) -> Option<Left> {
        if let Some(entry) = self.control.front_mut() {
            let (left, done) = take_fragment(entry, now, out);
            if done {
                self.control.pop_front();
            }
            self.bytes -= left.bytes;
            return Some(left);
        }
        if let Some(at) = self.farewells.iter().position(|(gone, _)| !self.user.has_from(*gone)) {
            // The last log records of the context leave now. After its `DEL_ROUTE` they would count
            // as forged. In their own turn, messages of others could delay them for long.
            let gone = self.farewells[at].0;
            if let Some(left) = self.log.pop_from(gone, now, out) {
                self.bytes -= left.bytes;
                return Some(left);
            }
            let (_, mut entry) = self.farewells.remove(at)?;
            let (left, _) = take_fragment(&mut entry, now, out);
            self.bytes -= left.bytes;
            return Some(left);
        }
        let left = self.user.pop(now, out).or_else(|| self.log.pop(now, out))?;
        self.bytes -= left.bytes;
        Some(left)
    }

    /// The bytes of payload that are queued.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Removes everything that is queued, with the link by which it came in.
    pub(crate) fn drain(&mut self) -> Vec<Left> {
        let lone = [&mut self.user, &mut self.log].map(|turns| turns.lone.take()).into_iter().flatten();
        let queues = self.user.queues.drain().chain(self.log.queues.drain());
        let entries: Vec<Entry> = queues
            .flat_map(|(_, queue)| queue.entries)
            .chain(lone)
            .chain(self.control.drain(..))
            .chain(self.farewells.drain(..).map(|(_, entry)| entry))
            .collect();
        self.user.turn.clear();
        self.log.turn.clear();
        self.bytes = 0;
        entries.into_iter().map(|e| Left { origin: e.origin, bytes: e.part.data.len(), lane: e.part.lane }).collect()
    }
}

impl Turns {
    fn push(&mut self, entry: Entry) {
        if self.lone.is_none() && self.queues.is_empty() {
            self.lone = Some(entry);
            return;
        }
        if let Some(lone) = self.lone.take() {
            self.queue(lone);
        }
        self.queue(entry);
    }

    fn queue(&mut self, entry: Entry) {
        let pair = entry.pair();
        let spare = &mut self.spare;
        let queue = self.queues.entry(pair).or_insert_with(|| {
            self.turn.push_back(pair);
            PairQueue { entries: spare.pop().unwrap_or_default(), bytes: 0 }
        });
        queue.bytes += entry.part.data.len();
        queue.entries.push_back(entry);
    }

    /// Whether messages from a context wait.
    fn has_from(&self, src: ContextId) -> bool {
        let lone = self.lone.as_ref().map(Entry::pair);
        lone.iter().chain(self.queues.keys()).any(|pair| pair.0 == src)
    }

    /// The bytes of payload that wait from one context to another one, if any message does.
    fn bytes(&self, pair: Pair) -> Option<usize> {
        match &self.lone {
            Some(lone) => (lone.pair() == pair).then_some(lone.part.data.len()),
            None => self.queues.get(&pair).map(|queue| queue.bytes),
        }
    }

    /// Takes the next queued message from `src`, out of turn.
    fn pop_from(&mut self, src: ContextId, now: Instant, out: &mut WriteBatch) -> Option<Left> {
        if self.lone.as_ref().is_some_and(|lone| lone.part.src == src) {
            return self.pop(now, out);
        }
        let at = self.turn.iter().position(|pair| pair.0 == src)?;
        let pair = self.turn.remove(at)?;
        self.turn.push_front(pair);
        self.pop(now, out)
    }

    fn pop(&mut self, now: Instant, out: &mut WriteBatch) -> Option<Left> {
        if let Some(lone) = &mut self.lone {
            let (left, done) = take_fragment(lone, now, out);
            if done {
                self.lone = None;
            }
            return Some(left);
        }
        let pair = self.turn.pop_front()?;
        let queue = self.queues.get_mut(&pair)?;
        let entry = queue.entries.front_mut()?;
        let (left, done) = take_fragment(entry, now, out);
        queue.bytes -= left.bytes;
        if done {
            queue.entries.pop_front();
        }
        if !queue.entries.is_empty() {
            self.turn.push_back(pair);
        } else if let Some(queue) = self.queues.remove(&pair)
            && self.spare.len() < MAX_SPARE
            && queue.entries.capacity() <= MAX_SPARE_ENTRIES
        {
            self.spare.push(queue.entries);
        }
        Some(left)
    }
}

/// Writes the next fragment of `entry`. Returns true if it was the last one.
fn take_fragment(entry: &mut Entry, now: Instant, out: &mut WriteBatch) -> (Left, bool) {
    let size = entry.part.data.len().min(MAX_PAYLOAD);
    let payload = entry.part.data.split_to(size);
    let done = entry.part.data.is_empty();
    frame::encode(&entry.part, payload, entry.more || !done, now, out);
    (Left { origin: entry.origin, bytes: size, lane: entry.part.lane }, done)
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};

    use super::*;
    use crate::wire::message::Handle;

    fn message(src: u32, dst: u32, lane: Lane, size: usize) -> Message {
        Message {
            src: ContextId(src),
            dst: ContextId(dst),
            lane,
            data: Bytes::from(vec![0; size]),
            ..Message::default()
        }
    }

    fn leave(outbox: &mut Outbox) -> Vec<(u32, u32, bool)> {
        let mut batch = WriteBatch::default();
        while outbox.pop(Instant::now(), &mut batch).is_some() {}
        assert_eq!(outbox.bytes(), 0);
        let mut frames = Vec::new();
        let mut bytes = BytesMut::from(&batch.to_vec()[..]);
        while let Some(frame) = frame::decode(&mut bytes, &mut frame::Pieces::default(), Instant::now()).unwrap() {
            frames.push((frame.part.src.0, frame.part.handle.0, frame.more));
        }
        frames
    }

    #[test]
    fn control_goes_first_and_logs_go_last() {
        let mut outbox = Outbox::default();
        outbox.push(message(1, 0, Lane::Log, 10), false, None);
        outbox.push(message(2, 0, Lane::User, 10), false, None);
        outbox.push(message(3, 0, Lane::Control, 10), false, None);
        assert_eq!(leave(&mut outbox).iter().map(|f| f.0).collect::<Vec<_>>(), [3, 2, 1]);
    }

    #[test]
    fn pairs_take_turns_by_the_fragment_and_keep_their_order() {
        let mut outbox = Outbox::default();
        for handle in [1, 2] {
            let mut big = message(1, 0, Lane::User, 2 * MAX_PAYLOAD + 1);
            big.handle = Handle(handle);
            outbox.push(big, false, None);
        }
        outbox.push(message(2, 0, Lane::User, 1), false, None);
        let left = leave(&mut outbox);
        assert_eq!(left.iter().position(|f| f.0 == 2), Some(1), "the small one waits for one fragment");
        let order: Vec<_> = left.iter().filter(|f| f.0 == 1).map(|f| (f.1, f.2)).collect();
        assert_eq!(order, [(1, true), (1, true), (1, false), (2, true), (2, true), (2, false)]);
    }

    #[test]
    fn a_farewell_leaves_after_what_its_context_had_said() {
        let mut outbox = Outbox::default();
        outbox.push(message(5, 0, Lane::User, MAX_PAYLOAD + 1), false, None);
        let mut farewell = message(1, 0, Lane::Control, 4);
        farewell.handle = Handle::DEL_ROUTE;
        outbox.push_farewell(ContextId(5), farewell, None);
        let order: Vec<_> = leave(&mut outbox).iter().map(|f| f.0).collect();
        assert_eq!(order, [5, 5, 1]);
    }

    #[test]
    fn last_log_records_leave_before_the_farewell_and_others_do_not_hold_them_up() {
        let mut outbox = Outbox::default();
        for src in [7, 5, 6] {
            outbox.push(message(src, 0, Lane::Log, 1), false, None);
            outbox.push(message(src, 0, Lane::User, 1), false, None);
        }
        outbox.push(message(5, 0, Lane::Log, 1), false, None);
        outbox.push_farewell(ContextId(5), message(1, 0, Lane::Control, 4), None);
        let order: Vec<_> = leave(&mut outbox).iter().map(|f| f.0).collect();
        assert_eq!(order, [7, 5, 5, 5, 1, 6, 7, 6]);
        assert_eq!(outbox.bytes(), 0);
    }

    #[test]
    fn log_records_beyond_the_limit_are_refused() {
        let mut outbox = Outbox::default();
        let mut kept = 0;
        while outbox.push(message(1, 0, Lane::Log, 1000), false, None) {
            kept += 1000;
        }
        assert!(kept <= MAX_LOG_BYTES && kept > MAX_LOG_BYTES - 1000);
        assert!(outbox.push(message(2, 0, Lane::Log, 1000), false, None), "each context has its own limit");
    }
}
