//! The links of a router. It holds the outbox of each link, whether the link may be read, and the faults of
//! its neighbour. The tasks of [`link`](crate::engine::link) transfer the bytes.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::engine::last_words::LastWords;
use crate::engine::log::{MAX_NAME, cut};
use crate::engine::stats::LinkStats;
use crate::routing::outbox::{Left, Outbox};
use crate::routing::table::{LinkId, Routing};
use crate::sys::hash::HashMap;
use crate::sys::process::Launched;
use crate::wire::message::{ContextId, Message};
use crate::wire::write_batch::WriteBatch;

/// Maximum size of the frames from one link in the outboxes of other links. While it is exceeded, the link is
/// not read.
const MAX_HELD: usize = 8 * 1024 * 1024;
/// The size that a queued frame counts in addition to its payload, in bytes.
const QUEUED_FRAME: usize = 128;
/// Maximum size of one write, in bytes. The last frame may exceed it.
const WRITE: usize = 128 * 1024;
/// Maximum number of lost links whose last stderr lines are kept.
const MAX_LOST: usize = 1024;

/// The faults of a neighbour that do not cost it its link.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// A frame with a forged source.
    Forged,
    /// A route that is not behind the neighbour.
    Route,
    /// A log record that cannot be decoded.
    Record,
    /// A DETACHING message that was not sent by a child, or that was repeated.
    Detaching,
    /// A message that a policy or the routing mode refuses.
    Refused,
}

/// The number of kinds.
const FAULTS: usize = 5;

/// The traffic of a link. Bytes include headers.
#[derive(Default)]
struct Traffic {
    frames_in: u64,
    bytes_in: u64,
    frames_out: u64,
    bytes_out: u64,
}

#[derive(Default)]
struct Link {
    outbox: Outbox,
    /// Notified when the outbox has been filled.
    wake: Rc<Notify>,
    /// Bytes that arrived on this link and wait in the outboxes of other links.
    held: usize,
    /// Notified when `held` has decreased, or when the link may be read again.
    resume: Rc<Notify>,
    /// The user has stopped reading from this link.
    paused: bool,
    traffic: Traffic,
    logs_dropped: u64,
    /// The number of faults of each [`Fault`] kind.
    faults: [u64; FAULTS],
    /// The process behind the link, if this context has started it.
    process: Option<Launched>,
    last_words: Option<Rc<LastWords>>,
    ordered_to_end: bool,
    /// A SHUTDOWN for the context at the other end was queued, by this context or by another one.
    told_to_end: bool,
    /// The child behind the link has announced that it leaves the tree.
    leaving: bool,
    /// No further frames are queued. The writer ends when the outbox is empty.
    closing: bool,
    flushed: CancellationToken,
    /// Cancelled to end the tasks of the link.
    closed: CancellationToken,
}

/// The remaining parts of a link that was closed.
pub(crate) struct Closed {
    pub(crate) process: Option<Launched>,
    /// The context at the other end was ordered to end, so the end of the link was expected.
    pub(crate) told_to_end: bool,
}

/// The next step of the writer of a link, after it has written its batch.
pub(crate) struct Next {
    /// If the batch is empty, the writer waits for this, unless the link is closing.
    pub(crate) wake: Rc<Notify>,
    pub(crate) closing: bool,
    /// The writer cancels this when the link is closing and everything has been written.
    pub(crate) flushed: CancellationToken,
}

/// All links of a router.
#[derive(Default)]
pub(crate) struct Links {
    by_id: HashMap<LinkId, Link>,
    /// The number of the last link.
    last: u32,
    /// The children that were lost, and the last stderr lines of their launchers.
    lost: VecDeque<(ContextId, Rc<LastWords>)>,
}

impl Links {
    /// Adds a link, and returns its id and the token that ends its tasks.
    pub(crate) fn open(
        &mut self,
        process: Option<Launched>,
        last_words: Option<Rc<LastWords>>,
    ) -> (LinkId, CancellationToken) {
        self.last += 1;
        let link = Link { process, last_words, ..Link::default() };
        let closed = link.closed.clone();
        self.by_id.insert(LinkId(self.last), link);
        (LinkId(self.last), closed)
    }

    /// Removes the link to `remote` and ends its tasks. The frames in its outbox no longer count for the
    /// links that they arrived on.
    pub(crate) fn close(&mut self, link: LinkId, remote: ContextId) -> Option<Closed> {
        let mut link = self.by_id.remove(&link)?;
        if let Some(words) = link.last_words.take().filter(|_| !link.told_to_end) {
            self.lost.push_back((remote, words));
            if self.lost.len() > MAX_LOST {
                self.lost.pop_front();
            }
        }
        self.account(&link.outbox.drain());
        link.closed.cancel();
        Some(Closed { process: link.process, told_to_end: link.told_to_end })
    }

    /// Removes all links, which kills the processes behind them.
    pub(crate) fn abandon(&mut self) {
        for (_, link) in self.by_id.drain() {
            link.closed.cancel();
        }
    }

    pub(crate) fn contains(&self, link: LinkId) -> bool {
        self.by_id.contains_key(&link)
    }

    /// Adds a message or frame to the outbox of `out`. `origin` is the link that caused it. `ends_remote`: it
    /// orders the context at the other end to end. A log record that has no room is dropped. The result is
    /// then the number of dropped records, if the drop has to be logged.
    pub(crate) fn push(
        &mut self,
        out: LinkId,
        part: Message,
        more: bool,
        origin: Option<LinkId>,
        ends_remote: bool,
    ) -> Option<u64> {
        let bytes = part.data.len() + QUEUED_FRAME;
        let link = self.by_id.get_mut(&out)?;
        link.told_to_end |= ends_remote;
        if link.outbox.push(part, more, origin) {
            link.wake.notify_one();
            if let Some(origin) = origin.and_then(|origin| self.by_id.get_mut(&origin)) {
                origin.held += bytes;
            }
            return None;
        }
        link.logs_dropped += 1;
        link.logs_dropped.is_power_of_two().then_some(link.logs_dropped)
    }

    /// Queues a message that must leave after all queued messages from `gone`. `origin` is the link that caused
    /// it.
    pub(crate) fn push_farewell(&mut self, out: LinkId, gone: ContextId, message: Message, origin: Option<LinkId>) {
        let bytes = message.data.len() + QUEUED_FRAME;
        let Some(link) = self.by_id.get_mut(&out) else { return };
        link.outbox.push_farewell(gone, message, origin);
        link.wake.notify_one();
        if let Some(origin) = origin.and_then(|origin| self.by_id.get_mut(&origin)) {
            origin.held += bytes;
        }
    }

    /// Moves frames from the outbox of `out` to `batch`. `left` is reusable memory for their accounting.
    pub(crate) fn fill(&mut self, out: LinkId, batch: &mut WriteBatch, left: &mut Vec<Left>) -> Option<Next> {
        batch.clear();
        left.clear();
        let (now, link) = (Instant::now(), self.by_id.get_mut(&out)?);
        while batch.len() < WRITE
            && let Some(one) = link.outbox.pop(now, batch)
        {
            left.push(one);
        }
        link.traffic.frames_out += left.len() as u64;
        link.traffic.bytes_out += batch.len() as u64;
        let next = Next { wake: Rc::clone(&link.wake), closing: link.closing, flushed: link.flushed.clone() };
        self.account(left);
        Some(next)
    }

    /// Accounts for the frames that have left an outbox. The links that they arrived on may be read again.
    fn account(&mut self, left: &[Left]) {
        for left in left {
            if let Some(link) = left.origin.and_then(|origin| self.by_id.get_mut(&origin)) {
                link.held -= left.bytes + QUEUED_FRAME;
                if link.held <= MAX_HELD {
                    link.resume.notify_one();
                }
            }
        }
    }

    /// Counts the frames and bytes that arrived on a link.
    pub(crate) fn note_read(&mut self, link: LinkId, frames: u64, bytes: usize) {
        if let Some(link) = self.by_id.get_mut(&link) {
            link.traffic.frames_in += frames;
            link.traffic.bytes_in += bytes as u64;
        }
    }

    /// If a link must not be read now, returns the notification for when this may have changed. Either its
    /// frames occupy too much of the outboxes of other links, or the user has stopped reading from it.
    pub(crate) fn must_wait(&self, link: LinkId) -> Option<Rc<Notify>> {
        let link = self.by_id.get(&link)?;
        (link.held > MAX_HELD || link.paused).then(|| Rc::clone(&link.resume))
    }

    /// Starts or stops reading from a link.
    pub(crate) fn read(&mut self, link: LinkId, on: bool) {
        if let Some(link) = self.by_id.get_mut(&link) {
            link.paused = !on;
            link.resume.notify_one();
        }
    }

    /// Whether the outbox is so large that no image should be added to it.
    pub(crate) fn is_full(&self, link: LinkId) -> bool {
        self.by_id.get(&link).is_some_and(|link| link.outbox.bytes() > MAX_HELD)
    }

    /// Counts a fault of a link, and returns whether to log it. A neighbour may repeat a fault without end.
    /// Therefore only the first, second, fourth, eighth (and so on) fault of each kind is logged.
    pub(crate) fn may_complain(&mut self, link: LinkId, about: Fault) -> bool {
        // Frames of a link that has just been closed may still be handled.
        let Some(link) = self.by_id.get_mut(&link) else { return false };
        let count = &mut link.faults[about as usize];
        *count += 1;
        count.is_power_of_two()
    }

    /// Notes that the context behind a link is ordered to end. Starts reading from the link again, so that
    /// its end is noticed. Returns whether this is the first order.
    pub(crate) fn order_to_end(&mut self, link: LinkId) -> bool {
        self.read(link, true);
        self.by_id.get_mut(&link).is_some_and(|link| !std::mem::replace(&mut link.ordered_to_end, true))
    }

    /// Kills the process at the other end, if this context may end it.
    pub(crate) fn kill(&mut self, link: LinkId) {
        if let Some(process) = self.by_id.get_mut(&link).and_then(|link| link.process.as_mut()) {
            process.kill();
        }
    }

    /// Notes that the child behind a link announces that it leaves. Returns whether this is the first time.
    pub(crate) fn begin_leave(&mut self, link: LinkId) -> bool {
        self.by_id.get_mut(&link).is_some_and(|link| !std::mem::replace(&mut link.leaving, true))
    }

    /// Whether [`Links::begin_leave`] was called for a link.
    pub(crate) fn is_leaving(&self, link: LinkId) -> bool {
        self.by_id.get(&link).is_some_and(|link| link.leaving)
    }

    /// Takes the process behind a link. This context does not end it any more.
    pub(crate) fn take_process(&mut self, link: LinkId) -> Option<Launched> {
        self.by_id.get_mut(&link)?.process.take()
    }

    /// Makes the writer of a link end when it has written all queued frames. Returns the token that is
    /// cancelled then.
    pub(crate) fn begin_flush(&mut self, link: LinkId) -> Option<CancellationToken> {
        let link = self.by_id.get_mut(&link)?;
        link.closing = true;
        link.wake.notify_one();
        Some(link.flushed.clone())
    }

    /// The last stderr lines of the launcher of a child that was lost.
    #[cfg(feature = "cli")]
    pub(crate) fn last_words(&self, child: ContextId) -> Option<Rc<LastWords>> {
        let (_, words) = self.lost.iter().rev().find(|(lost, _)| *lost == child)?;
        Some(Rc::clone(words))
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Bytes of payload that wait to leave, over all links.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.by_id.values().map(|link| link.outbox.bytes()).sum()
    }

    /// Each link, the parent first.
    pub(crate) fn stats(&self, routing: &Routing) -> Vec<LinkStats> {
        let parent = routing.parent();
        let one = |(id, link): (&LinkId, &Link)| {
            let context = routing.remote(*id);
            LinkStats {
                context,
                name: cut(routing.name(context).unwrap_or_default(), MAX_NAME),
                is_parent: parent == Some(*id),
                frames_in: link.traffic.frames_in,
                bytes_in: link.traffic.bytes_in,
                frames_out: link.traffic.frames_out,
                bytes_out: link.traffic.bytes_out,
                queued_bytes: link.outbox.bytes(),
                held_bytes: link.held,
                forged: link.faults[Fault::Forged as usize],
                logs_dropped: link.logs_dropped,
            }
        };
        let mut all: Vec<_> = self.by_id.iter().map(one).collect();
        all.sort_unstable_by_key(|link| (!link.is_parent, link.context));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::message::{Handle, Lane};

    fn message(size: usize) -> Message {
        Message::new(ContextId(1), Handle(1000), vec![0; size])
    }

    fn open(links: &mut Links) -> LinkId {
        links.open(None, None).0
    }

    #[test]
    fn a_link_is_not_read_while_its_frames_fill_the_queue_of_another_one() {
        let mut links = Links::default();
        let (from, out) = (open(&mut links), open(&mut links));
        links.push(out, message(MAX_HELD - QUEUED_FRAME), false, Some(from), false);
        assert!(links.must_wait(from).is_none());
        links.push(out, message(0), false, Some(from), false);
        assert!(links.must_wait(from).is_some() && links.must_wait(out).is_none() && !links.is_full(out));
        let (mut batch, mut left) = (WriteBatch::default(), Vec::new());
        links.fill(out, &mut batch, &mut left).unwrap();
        assert!(links.must_wait(from).is_none());
    }

    #[test]
    fn what_a_closed_link_had_queued_holds_up_nobody() {
        let mut links = Links::default();
        let (from, out) = (open(&mut links), open(&mut links));
        links.push(out, message(2 * MAX_HELD), false, Some(from), false);
        assert!(links.must_wait(from).is_some());
        assert!(links.close(out, ContextId(1)).is_some_and(|closed| !closed.told_to_end));
        assert!(links.must_wait(from).is_none() && links.close(out, ContextId(1)).is_none());
    }

    #[test]
    fn faults_and_dropped_log_records_are_logged_ever_more_seldom() {
        let mut links = Links::default();
        let link = open(&mut links);
        let faults: Vec<_> = (1..=9).filter(|_| links.may_complain(link, Fault::Forged)).collect();
        assert_eq!(faults.len(), 4);
        assert!(links.may_complain(link, Fault::Route), "each kind is counted by itself");
        assert!(!links.may_complain(LinkId(77), Fault::Forged), "it has gone");
        let log = || Message { lane: Lane::Log, ..message(1024 * 1024) };
        let told = |links: &mut Links| links.push(link, log(), false, None, false);
        assert_eq!([(); 5].map(|()| told(&mut links)), [None, Some(1), Some(2), None, Some(4)]);
    }

    #[test]
    fn a_link_that_has_others_told_without_end_is_not_read_until_they_have_been() {
        let mut links = Links::default();
        let (from, out) = (open(&mut links), open(&mut links));
        for _ in 0..=MAX_HELD / QUEUED_FRAME {
            links.push_farewell(out, ContextId(7), message(4), Some(from));
        }
        assert!(links.must_wait(from).is_some());
        let (mut batch, mut left) = (WriteBatch::default(), Vec::new());
        while links.must_wait(from).is_some() {
            links.fill(out, &mut batch, &mut left).unwrap();
        }
    }

    #[test]
    fn a_paused_link_is_read_again_when_its_context_is_told_to_end() {
        let mut links = Links::default();
        let link = open(&mut links);
        links.read(link, false);
        assert!(links.must_wait(link).is_some());
        assert!(links.order_to_end(link) && !links.order_to_end(link));
        assert!(links.must_wait(link).is_none());
    }

    #[test]
    fn the_last_words_of_a_child_are_kept_unless_it_was_told_to_end() {
        let mut links = Links::default();
        for ends in [false, true] {
            let (link, closed) = links.open(None, Some(Rc::default()));
            links.push(link, message(1), false, None, ends);
            assert_eq!(links.close(link, ContextId(7)).unwrap().told_to_end, ends);
            assert!(closed.is_cancelled());
        }
        assert_eq!(links.lost.len(), 1);
    }
}
