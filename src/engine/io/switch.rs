//! The path of a message: from a link or from this context, to another link or to a handle of this context.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use crate::engine::inboxes::{Delivery, Inboxes, Target};
use crate::engine::io::Io;
use crate::engine::links::{Fault, Links};
use crate::engine::log::log_later;
use crate::engine::ports::Callback;
use crate::engine::queue::Queue;
use crate::engine::shared::Shared;
use crate::engine::stats::Stats;
use crate::routing::table::{LinkId, Routing, Verdict};
use crate::wire::error::{ChannelErrorKind, DeadReason};
use crate::wire::frame::Frame;
use crate::wire::message::{Arrival, ContextId, Handle, Message};
use crate::wire::reassembly::{Added, MAX_RUNS};

/// The routes, links and handles of a router.
pub(super) struct Switch {
    routing: RefCell<Routing>,
    links: RefCell<Links>,
    inboxes: RefCell<Inboxes>,
}

impl Switch {
    pub(super) fn new(shared: &Shared) -> Self {
        let routing = Routing::new(shared.me, shared.parent_ids(), shared.unidirectional);
        Self {
            routing: RefCell::new(routing.listed_in(Arc::clone(shared.directory()))),
            links: RefCell::default(),
            inboxes: RefCell::new(Inboxes::new(shared.max_message_size)),
        }
    }

    pub(super) fn with_routing<T>(&self, f: impl FnOnce(&mut Routing) -> T) -> T {
        f(&mut self.routing.borrow_mut())
    }

    pub(super) fn with_links<T>(&self, f: impl FnOnce(&mut Links) -> T) -> T {
        f(&mut self.links.borrow_mut())
    }

    pub(super) fn with_inboxes<T>(&self, f: impl FnOnce(&mut Inboxes) -> T) -> T {
        f(&mut self.inboxes.borrow_mut())
    }

    /// Sends a message of this context's own, without a window. `origin` is the link that caused it; see
    /// [`Switch::route`].
    pub(super) fn send(&self, io: &Rc<Io>, mut message: Message, origin: Option<LinkId>) {
        let me = io.shared.me;
        message.src = me;
        message.auth = match message.on_behalf.take() {
            None => me,
            Some(of) => self.routing.borrow().authority(of, message.dst),
        };
        let (size, max) = (message.data.len() as u64, io.shared.max_message_size);
        if size > max {
            let reason = DeadReason::too_large(max);
            if message.wants_reply() || message.is_dead() {
                return self.refuse(io, &message, &reason, None);
            }
            // Without this, the receiver of this message, which may be a reply, would wait forever.
            let Message { dst, handle, .. } = message;
            message = Message { dst, handle, src: me, auth: me, ..reason.to_message() };
        }
        self.route(io, message, false, None, origin);
    }

    /// Handles a frame from a link.
    pub(super) fn on_frame(&self, io: &Rc<Io>, link: LinkId, frame: Frame) {
        self.trace(io, "in from", link, &frame.part, frame.more);
        self.route(io, frame.part, frame.more, Some(link), Some(link));
    }

    /// Routes a frame. `from` is the link that it arrived on. `origin` is the link that caused it; that link
    /// is not read while too many bytes that it caused are queued.
    fn route(&self, io: &Rc<Io>, mut part: Message, more: bool, from: Option<LinkId>, origin: Option<LinkId>) {
        let verdict = self.routing.borrow_mut().route(&mut part, from);
        match verdict {
            Verdict::Local if !more && !self.inboxes.borrow().continues(&part) => self.deliver(io, part, from),
            Verdict::Local => self.assemble(io, part, more, from),
            Verdict::Forward(out) => self.push(io, out, part, more, origin),
            // A message of several fragments is refused once, at its last fragment.
            Verdict::Refuse(reason) if !more => {
                let reason = if from.is_none() { io.own_reason(reason) } else { reason };
                self.refuse(io, &part, &reason, from);
            }
            Verdict::Refuse(_) => {}
            Verdict::Forged(why) => self.forged(io, from, &why),
        }
    }

    /// Handles a fragment of a message to this context.
    fn assemble(&self, io: &Rc<Io>, part: Message, more: bool, from: Option<LinkId>) {
        let added = self.inboxes.borrow_mut().assemble(&part, more, &self.routing.borrow(), from);
        let Added { whole, refusal, was_welcome, lost, too_many, displaced } = added;
        if too_many {
            return self.too_many_runs(io, part.src, from);
        }
        for other in displaced {
            let link = self.with_routing(|routing| routing.out(other.src));
            let other = Message { dst: part.dst, ..other };
            self.refuse_run(io, &other, &DeadReason::TOO_MUCH_AT_ONCE, link, true);
        }
        if let Some(reason) = refusal {
            self.refuse_run(io, &part, &reason, from, was_welcome);
        }
        if let Some(lost) = lost {
            give_back(io, &part, usize::try_from(lost).unwrap_or(usize::MAX));
        }
        if let Some(data) = whole {
            self.deliver(io, Message { data, ..part }, from);
        }
    }

    /// Refuses a message of which only some fragments have arrived. `was_welcome`: its sender may write to the handle.
    fn refuse_run(&self, io: &Rc<Io>, part: &Message, reason: &DeadReason, from: Option<LinkId>, was_welcome: bool) {
        self.refuse(io, part, reason, from);
        // Even a reply that is too large must end the wait for it.
        if was_welcome && (part.reply_to == Handle::NONE || part.is_dead()) {
            let Message { src, auth, dst, handle, .. } = *part;
            self.inboxes.borrow_mut().was_counted(handle);
            self.deliver(io, Message { src, auth, dst, handle, ..reason.to_message() }, from);
        }
    }

    /// Handles a context that sends more messages at once than this program ever does. If it is a child, its
    /// link is closed. If it is behind a child, only the frame is dropped, because other contexts use the
    /// link too.
    fn too_many_runs(&self, io: &Rc<Io>, src: ContextId, from: Option<LinkId>) {
        let is_own = self.with_routing(|routing| {
            from.is_some_and(|from| Some(from) != routing.parent() && routing.remote(from) == src)
        });
        let why = format!("context {src} has more than {MAX_RUNS} messages unfinished at once");
        match from.filter(|_| is_own) {
            Some(link) => io.neighbours().lost(io, link, Some(&why)),
            None => self.forged(io, from, &why),
        }
    }

    /// Counts and logs a dropped frame that this program never sends.
    fn forged(&self, io: &Io, from: Option<LinkId>, why: &str) {
        if self.may_complain(from, Fault::Forged) {
            log_later!(io, WARN, "{why}: dropped");
        }
    }

    /// Whether to log a fault of a neighbour or of this context; see [`Links::may_complain`].
    pub(super) fn may_complain(&self, link: Option<LinkId>, about: Fault) -> bool {
        link.is_none_or(|link| self.links.borrow_mut().may_complain(link, about))
    }

    /// Delivers a complete message to its handle.
    fn deliver(&self, io: &Rc<Io>, message: Message, from: Option<LinkId>) {
        let delivery = self.inboxes.borrow_mut().deliver(&message, &self.routing.borrow(), from);
        match delivery {
            Ok(Delivery { target, last }) => self.hand_over(io, target, message, from, last),
            Err(reason) => {
                give_back(io, &message, message.data.len());
                self.refuse(io, &message, &reason, from);
            }
        }
    }

    /// Delivers a message to a target. `last`: the handle has been released, so no further messages follow.
    pub(super) fn hand_over(&self, io: &Rc<Io>, target: Target, message: Message, from: Option<LinkId>, last: bool) {
        match target {
            Target::Reply { to, timer, room, .. } => {
                if let Some(timer) = timer {
                    io.clear_timer(timer);
                }
                if let Some(room) = room.filter(|_| message.is_dead()) {
                    io.outgoing().take_room_back(io, room, message.dead_kind);
                }
                io.hand(to, message);
            }
            Target::Queue(queue) => {
                let header = Message { data: Bytes::new(), ..message.clone() };
                if let Err(why) = queue.push(message) {
                    self.refuse(io, &header, &why, from);
                }
                if last {
                    self.retire(io, &queue);
                }
            }
            Target::User(handler) => {
                self.call_handler(io, &handler, message, from);
                if last {
                    self.retire(io, &handler.queue);
                }
            }
            Target::Control => {
                let began = io.shared.profile_clock();
                io.on_control(&message, from);
                io.shared.profile(began, |profile, took| profile.handler(message.handle, took));
            }
            Target::Window { dst, handle } => {
                let error = message.dead_error(io.shared.me);
                io.outgoing().close_window(io, dst, handle, error, true);
            }
        }
    }

    /// Runs a handler of the user. It takes a message immediately, so the sender gets its room back
    /// immediately.
    fn call_handler(&self, io: &Rc<Io>, handler: &Callback, mut message: Message, from: Option<LinkId>) {
        if let Err(why) = handler.queue.admit(&message) {
            return self.refuse(io, &message, &why, from);
        }
        let (src, size, dead) = (message.src, message.data.len(), message.is_dead());
        message.arrival = Arrival(Some(Arc::clone(&io.shared) as _));
        let call = std::panic::AssertUnwindSafe(|| (handler.call)(message));
        if std::panic::catch_unwind(call).is_err() {
            log_later!(io, ERROR, "a handler panicked");
        }
        if let Some(grant) = handler.queue.taken(src, size, dead) {
            io.give(grant);
        }
    }

    /// Ends a queue whose handle has been released.
    fn retire(&self, io: &Rc<Io>, queue: &Arc<Queue>) {
        io.shared.ports().release(queue.handle, Some(queue));
        self.inboxes.borrow_mut().retire(queue);
        finish(io, queue);
    }

    /// If a message expects a reply, answers it with a dead message. A dead message is never answered. `from`
    /// is the link that the message arrived on. If a neighbour causes refusals and does not read them, this
    /// context stops reading from it.
    pub(super) fn refuse(&self, io: &Rc<Io>, message: &Message, reason: &DeadReason, from: Option<LinkId>) {
        let Message { dst, src, handle, .. } = message;
        // The refusal of a log record must not cause another log record.
        let is_log = *handle == Handle::FORWARD_LOG;
        // A caller above this context is trusted, and gets the reason as its answer.
        let is_told = message.wants_reply() && io.shared.parent_ids().contains(&message.auth);
        if reason.kind == ChannelErrorKind::Refused && !is_log && !is_told && self.may_complain(from, Fault::Refused) {
            log_later!(io, ERROR, "message of {src} for handle {handle} of {dst}: {reason}");
        }
        if message.wants_reply() {
            let (src, auth) = (io.shared.me, io.shared.me);
            let dead = Message { dst: message.src, src, auth, handle: message.reply_to, ..reason.to_message() };
            self.route(io, dead, false, None, from);
        } else if !message.is_dead() && !is_log {
            log_later!(io, DEBUG, "message of {src} for handle {handle} dropped: {reason}");
        }
    }

    /// Adds a message or frame to the outbox of a link.
    fn push(&self, io: &Rc<Io>, out: LinkId, part: Message, more: bool, origin: Option<LinkId>) {
        self.trace(io, "out to", out, &part, more);
        let src = part.src;
        let ends_remote = part.handle == Handle::SHUTDOWN && part.dst == self.routing.borrow().remote(out);
        let (was_due, dropped, is_due) = {
            let mut links = self.links.borrow_mut();
            (links.has_due(), links.push(out, part, more, origin, ends_remote), links.has_due())
        };
        if is_due && !was_due {
            io.will_write();
        }
        if let Some(dropped) = dropped {
            log_later!(io, WARN, "log records of context {src} come too fast: {dropped} dropped");
        }
    }

    /// Logs a frame that arrived or is queued to leave.
    fn trace(&self, io: &Io, way: &str, link: LinkId, part: &Message, more: bool) {
        if tracing::enabled!(target: "offshoot::io", tracing::Level::TRACE) {
            let remote = self.routing.borrow().remote(link);
            let Message { dst, src, auth, handle, reply_to, lane, data, .. } = part;
            let (bytes, more) = (data.len(), if more { ", more to come" } else { "" });
            log_later!(
                io,
                target: "offshoot::io",
                TRACE,
                "{way} {remote}: {src} to {dst}, handle {handle}, reply to {reply_to}, auth {auth}, {lane:?}, {bytes} bytes{more}"
            );
        }
    }

    /// Adds the links, routes and handles to the statistics.
    pub(super) fn describe(&self, stats: &mut Stats) {
        let (routing, links, inboxes) = (self.routing.borrow(), self.links.borrow(), self.inboxes.borrow());
        stats.links = links.len();
        stats.routes = routing.known().len();
        stats.handles = inboxes.len();
        stats.queued_bytes = links.queued_bytes();
        stats.neighbours = stats.list(links.stats(&routing));
        stats.receivers = stats.list(inboxes.receivers());
    }

    /// Releases a handle. If `queue` is given, the handle is released only if it still belongs to that queue.
    pub(super) fn del_handler(&self, io: &Rc<Io>, handle: Handle, queue: Option<&Queue>) {
        let released = self.inboxes.borrow_mut().release(handle, queue);
        if let Some(queue) = released {
            finish(io, &queue);
        }
    }
}

/// Ends a queue, and notifies the contexts that send to it.
fn finish(io: &Rc<Io>, queue: &Queue) {
    queue.fair_queue.finish();
    queue.farewells().into_iter().for_each(|grant| io.give(grant));
}

/// Gives back the room of a call that was refused, if its caller gets no answer by which it takes the room back itself.
fn give_back(io: &Rc<Io>, message: &Message, size: usize) {
    if !message.wants_reply()
        && !message.is_dead()
        && let Some(dispatcher) = io.dispatcher_of(message.handle)
    {
        dispatcher.was_refused(io, message.src, size);
    }
}
