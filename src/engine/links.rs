//! The links of a router. It holds the outbox of each link, whether the link may be read, and the faults of
//! its neighbour. The tasks of [`link`](crate::engine::link) transfer the bytes.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::rc::Rc;
use std::time::Instant;

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use crate::engine::last_words::LastWords;
use crate::engine::log::{MAX_NAME, cut};
use crate::engine::stats::LinkStats;
use crate::routing::outbox::{Left, Outbox};
use crate::routing::table::{LinkId, Routing};
use crate::sys::hash::HashMap;
use crate::sys::pipe::Output;
use crate::sys::process::Launched;
use crate::wire::message::{ContextId, Message};
use crate::wire::write_batch::{SLICES, WriteBatch};

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
    /// Where its frames go. `None` until its tasks run.
    output: Option<Rc<Output>>,
    /// The writer waits, because everything has been written.
    is_idle: bool,
    /// It is among [`Links::due`].
    is_due: bool,
    /// Frames that have left the outbox, and how many of their bytes have been written. The writer writes the rest.
    unsent: Option<(WriteBatch, usize)>,
    /// Notified when the writer has something to write.
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
    /// They read and write. They end with the link.
    tasks: Vec<AbortHandle>,
}

/// The remaining parts of a link that was closed.
pub(crate) struct Closed {
    pub(crate) process: Option<Launched>,
    /// The context at the other end was ordered to end, so the end of the link was expected.
    pub(crate) told_to_end: bool,
}

/// The next step of the writer of a link, after it has written its batch.
pub(crate) struct Next {
    /// How many bytes of the batch have been written already.
    pub(crate) written: usize,
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
    /// The links that have frames for [`Links::write_due`].
    due: Vec<LinkId>,
    /// Reusable memory for these frames.
    batch: WriteBatch,
    left: Vec<Left>,
    /// The children that were lost, and the last stderr lines of their launchers.
    lost: VecDeque<(ContextId, Rc<LastWords>)>,
}

impl Links {
    /// Adds a link, and returns its id.
    pub(crate) fn open(&mut self, process: Option<Launched>, last_words: Option<Rc<LastWords>>) -> LinkId {
        self.last += 1;
        self.by_id.insert(LinkId(self.last), Link { process, last_words, ..Link::default() });
        LinkId(self.last)
    }

    /// Names the tasks of a link, and the descriptor to which its frames are written.
    pub(crate) fn set_tasks(&mut self, link: LinkId, output: Rc<Output>, tasks: Vec<AbortHandle>) {
        match self.by_id.get_mut(&link) {
            Some(link) => (link.output, link.tasks) = (Some(output), tasks),
            None => abort(&tasks),
        }
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
        abort(&link.tasks);
        Some(Closed { process: link.process, told_to_end: link.told_to_end })
    }

    /// Removes all links, which kills the processes behind them.
    pub(crate) fn abandon(&mut self) {
        for (_, link) in self.by_id.drain() {
            abort(&link.tasks);
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
            if !link.is_idle {
                link.wake.notify_one();
            } else if !link.is_due {
                link.is_due = true;
                self.due.push(out);
            }
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

    /// Whether frames wait for [`Links::write_due`].
    pub(crate) fn has_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// Writes frames to the links whose writers wait, without waking these. A writer is woken if there is no room for
    /// all of them, or if an error has to be handled.
    pub(crate) fn write_due(&mut self) {
        let (mut batch, mut left) = (std::mem::take(&mut self.batch), std::mem::take(&mut self.left));
        while let Some(out) = self.due.pop() {
            let Some(link) = self.by_id.get_mut(&out) else { continue };
            link.is_due = false;
            let Some(output) = link.output.as_ref().filter(|_| link.is_idle) else { continue };
            let output = Rc::clone(output);
            link.take(&mut batch, &mut left);
            let written = write_now(&output, &batch);
            let is_all = written == batch.len() && written < WRITE;
            if written < batch.len() {
                link.unsent = Some((std::mem::take(&mut batch), written));
            }
            if !is_all {
                link.is_idle = false;
                link.wake.notify_one();
            }
            self.account(&left);
        }
        // A payload may be a secret, or large.
        batch.clear();
        (self.batch, self.left) = (batch, left);
    }

    /// Moves frames from the outbox of `out` to `batch`. `left` is reusable memory for their accounting. If there are
    /// none, [`Links::write_due`] writes the next ones, unless the link is closing.
    pub(crate) fn fill(&mut self, out: LinkId, batch: &mut WriteBatch, left: &mut Vec<Left>) -> Option<Next> {
        let link = self.by_id.get_mut(&out)?;
        let written = match link.unsent.take() {
            Some((unsent, written)) => {
                *batch = unsent;
                // They were accounted for when they left the outbox.
                left.clear();
                written
            }
            None => {
                link.take(batch, left);
                0
            }
        };
        link.is_idle = batch.is_empty() && !link.closing;
        let next = Next { written, wake: Rc::clone(&link.wake), closing: link.closing, flushed: link.flushed.clone() };
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

    /// Counts the frames and bytes that arrived on a link. The result is that of [`Links::must_wait`].
    pub(crate) fn note_read(&mut self, link: LinkId, frames: u64, bytes: usize) -> Option<Rc<Notify>> {
        let link = self.by_id.get_mut(&link)?;
        link.traffic.frames_in += frames;
        link.traffic.bytes_in += bytes as u64;
        link.must_wait()
    }

    /// If a link must not be read now, returns the notification for when this may have changed. Either its
    /// frames occupy too much of the outboxes of other links, or the user has stopped reading from it.
    pub(crate) fn must_wait(&self, link: LinkId) -> Option<Rc<Notify>> {
        self.by_id.get(&link)?.must_wait()
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
        (link.closing, link.is_idle) = (true, false);
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

impl Link {
    fn must_wait(&self) -> Option<Rc<Notify>> {
        (self.held > MAX_HELD || self.paused).then(|| Rc::clone(&self.resume))
    }

    /// Replaces what is in `batch` and `left` by frames of the outbox.
    fn take(&mut self, batch: &mut WriteBatch, left: &mut Vec<Left>) {
        batch.clear();
        left.clear();
        let now = Instant::now();
        while batch.len() < WRITE
            && let Some(one) = self.outbox.pop(now, batch)
        {
            left.push(one);
        }
        self.traffic.frames_out += left.len() as u64;
        self.traffic.bytes_out += batch.len() as u64;
    }
}

fn abort(tasks: &[AbortHandle]) {
    tasks.iter().for_each(AbortHandle::abort);
}

/// Writes as many bytes as there is room for now, and returns how many these are. After an error, the writer tries again
/// and handles it.
fn write_now(output: &Output, batch: &WriteBatch) -> usize {
    let mut written = 0;
    while written < batch.len() {
        let wrote = match batch.in_one_piece() {
            Some(bytes) => output.write_now(&[IoSlice::new(&bytes[written..])]),
            None => output.write_now(batch.slices(written, &mut [IoSlice::new(&[]); SLICES])),
        };
        match wrote {
            Ok(count) => written += count,
            Err(_) => break,
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::wire::message::{Handle, Lane};

    fn message(size: usize) -> Message {
        Message::new(ContextId(1), Handle(1000), vec![0; size])
    }

    fn open(links: &mut Links) -> LinkId {
        links.open(None, None)
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
    fn a_link_whose_writer_waits_is_written_at_once_as_far_as_there_is_room() {
        let mut links = Links::default();
        let link = open(&mut links);
        let (mut other, ours) = std::os::unix::net::UnixStream::pair().unwrap();
        other.set_nonblocking(true).unwrap();
        links.set_tasks(link, Rc::new(Output::new(ours.into()).unwrap()), Vec::new());
        let (mut batch, mut left) = (WriteBatch::default(), Vec::new());
        // The writer has not run yet, so the first message is its own.
        links.push(link, message(100), false, None, false);
        assert!(!links.has_due());
        assert!(!links.fill(link, &mut batch, &mut left).unwrap().closing && !batch.is_empty());
        links.push(link, message(100), false, None, false);
        assert!(!links.has_due(), "the writer has not written the first one");
        links.fill(link, &mut batch, &mut left).unwrap();
        links.fill(link, &mut batch, &mut left).unwrap();
        assert!(batch.is_empty());
        links.push(link, message(100), false, None, false);
        links.push(link, message(100), false, None, false);
        assert_eq!(links.due.len(), 1);
        links.write_due();
        let mut arrived = vec![0; 1 << 24];
        let frame = crate::wire::frame::HEADER + 100;
        assert_eq!((other.read(&mut arrived).unwrap(), links.has_due()), (2 * frame, false));
        // More than fits. The writer gets the rest, in order, and nothing twice.
        let sizes = [100, 3 << 20, 200];
        for size in sizes {
            links.push(link, message(size), false, None, false);
        }
        links.write_due();
        let mut count = other.read(&mut arrived).unwrap();
        links.push(link, message(300), false, None, false);
        assert!(!links.has_due() && count > 0, "the writer has been woken");
        loop {
            let next = links.fill(link, &mut batch, &mut left).unwrap();
            if batch.is_empty() {
                break;
            }
            count += batch.len() - next.written;
        }
        let frames = sizes.iter().map(|size| size.div_ceil(crate::wire::frame::MAX_PAYLOAD)).sum::<usize>() + 1;
        assert_eq!(count, sizes.iter().sum::<usize>() + 300 + frames * crate::wire::frame::HEADER);
        // After an error, the writer tries again.
        drop(other);
        links.push(link, message(100), false, None, false);
        links.write_due();
        assert!(links.fill(link, &mut batch, &mut left).unwrap().written == 0 && batch.len() == frame);
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
            let link = links.open(None, Some(Rc::default()));
            links.push(link, message(1), false, None, ends);
            assert_eq!(links.close(link, ContextId(7)).unwrap().told_to_end, ends);
        }
        assert_eq!(links.lost.len(), 1);
    }
}
