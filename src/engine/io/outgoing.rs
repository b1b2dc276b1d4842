//! Calls and data that this context sends: the calls that wait for an answer, and the windows of the receivers.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::engine::credit::{Accepted, Credit, Metered, Offer, tell};
use crate::engine::inboxes::{Asked, Target};
use crate::engine::io::{Io, Timer};
use crate::engine::log::log_later;
use crate::engine::stats::Stats;
use crate::routing::handles::Registration;
use crate::routing::window::Grant;
use crate::wire::error::{DeadReason, Error};
use crate::wire::message::{ContextId, Handle, Lane, Message};

/// What leaves this context as its receivers allow.
#[derive(Default)]
pub(crate) struct Outgoing {
    credit: RefCell<Credit>,
}

impl Outgoing {
    /// Calls a function: the reply, dead or not, goes to `reply`.
    pub(crate) fn call(
        &self,
        io: &Rc<Io>,
        mut message: Message,
        reply: oneshot::Sender<Message>,
        timeout: Option<Duration>,
        function: &'static str,
    ) {
        let timer = timeout.map(|after| {
            let when = Instant::now() + after;
            message.deadline = Some(when);
            io.set_timer(when, Timer::Reply(message.reply_to))
        });
        message.src = io.shared.me;
        let reaches = io.with_routing(|routing| routing.reaches(message.dst));
        let number = self.credit.borrow_mut().number();
        let registration = Registration {
            sink: Target::Reply { to: reply, timer, asked: Asked::now(function), number },
            once: true,
            respondent: reaches.then_some(message.dst),
            policy: None,
        };
        // Handles are given out anew after two billion: this one may be held
        // still. The caller is told by the end of its channel.
        if let Err(error) = io.add_handler(message.reply_to, registration) {
            return log_later!(io, ERROR, "a call was not made: {error}");
        }
        message.single_reply = true;
        if message.handle == Handle::CALL_FUNCTION {
            self.offer(io, Metered { message, accepted: None, number });
        } else {
            io.send(message);
        }
    }

    /// Sends a request to the parent; the reply ends the future, with an
    /// error if there will be none.
    pub(super) fn ask_parent(&self, io: &Rc<Io>, handle: Handle, data: Vec<u8>) -> oneshot::Receiver<Message> {
        let (to, reply) = oneshot::channel();
        let Some(parent) = io.shared.parent() else {
            return reply;
        };
        let reply_to = io.shared.next_handle();
        let asked = Asked::now(if handle == Handle::ALLOCATE_ID { "ALLOCATE_ID" } else { "DETACHING" });
        let sink = Target::Reply { to, timer: None, asked, number: 0 };
        let registration = Registration { sink, once: true, respondent: Some(parent), policy: None };
        if io.add_handler(reply_to, registration).is_ok() {
            let lane = Lane::Control;
            io.send(Message { reply_to, lane, raw: true, single_reply: true, ..Message::new(parent, handle, data) });
        }
        reply
    }

    /// Sends a message in its turn and as far as its window allows.
    pub(super) fn send(&self, io: &Rc<Io>, message: Message, accepted: Accepted) {
        let number = self.credit.borrow_mut().number();
        self.offer(io, Metered { message, accepted, number });
    }

    fn offer(&self, io: &Rc<Io>, metered: Metered) {
        let message = &metered.message;
        let target = (message.dst, message.handle);
        if !io.with_routing(|routing| routing.reaches(message.dst)) {
            if message.handle == Handle::CALL_FUNCTION {
                // The caller is told by a dead message.
                return io.send(metered.message);
            }
            let error = io.own_reason(DeadReason::no_route(message.dst, io.shared.me)).at(io.shared.me);
            return tell(metered.accepted, Err(error));
        }
        let (offer, complaints) = self.credit.borrow_mut().offer(metered, || io.shared.next_handle());
        if let Some(complaints) = complaints {
            let (dst, handle) = target;
            let sink = Target::Window { dst, handle };
            let registration = Registration { sink, once: false, respondent: Some(dst), policy: None };
            let _ = io.add_handler(complaints, registration);
        }
        match offer {
            Offer::Fits(metered) => leave(io, metered),
            Offer::Waits => {}
            Offer::Failed(accepted, error) => tell(accepted, Err(error)),
        }
    }

    /// Sends the reply to a call behind the values that wait for room in the
    /// handle `values` of the caller.
    pub(super) fn send_behind(&self, io: &Rc<Io>, values: Handle, reply: Message) {
        let ready = self.credit.borrow_mut().queue_behind(values, reply);
        if let Some(reply) = ready {
            io.send(reply);
        }
    }

    /// A receiver gives room back.
    pub(super) fn on_credit(&self, io: &Rc<Io>, message: &Message) {
        let Some(grant) = Grant::decode(io.shared.me, &message.data) else {
            return;
        };
        if grant.is_closed() {
            let error = DeadReason::INVALID_HANDLE.at(message.src);
            return self.close_window(io, message.src, grant.handle, error, false);
        }
        let ready = self.credit.borrow_mut().give(message.src, &grant);
        ready.into_iter().for_each(|metered| leave(io, metered));
    }

    /// The receiver of a window has refused or has gone. `keep`: if nobody waits, the sender of the next message is
    /// told.
    pub(super) fn close_window(&self, io: &Rc<Io>, dst: ContextId, handle: Handle, error: Error, keep: bool) {
        let keep = keep && io.with_routing(|routing| routing.reaches(dst));
        let closed = self.credit.borrow_mut().close(dst, handle, &error, keep);
        let Some(closed) = closed else { return };
        if let Some(complaints) = closed.complaints {
            io.remove_handler(complaints);
        }
        closed.replies.into_iter().for_each(|reply| io.send(reply));
        closed.refused.into_iter().for_each(|accepted| tell(accepted, Err(error.clone())));
    }

    /// A context has gone, and its windows with it.
    pub(super) fn forget(&self, io: &Io, context: ContextId) {
        let (complaints, waiting) = self.credit.borrow_mut().forget(context);
        for handle in complaints {
            io.remove_handler(handle);
        }
        let error = io.own_reason(DeadReason::DISCONNECTED).at(io.shared.me);
        waiting.into_iter().for_each(|accepted| tell(accepted, Err(error.clone())));
    }

    /// The reply to this handle is not wanted any more: the caller has lost interest, or its time is up. The work of
    /// the call is stopped. A caller that still waits is told by the end of its channel; it knows its own timeout.
    pub(super) fn give_up(&self, io: &Rc<Io>, handle: Handle) {
        let Some(registration) = io.remove_handler(handle) else {
            return;
        };
        if let Some(timer) = registration.sink.timer() {
            io.clear_timer(timer);
        }
        if let Some(callee) = registration.respondent {
            self.stop_work(io, callee, handle, registration.sink.number());
        }
    }

    /// Has the work of a call stopped whose reply is still awaited.
    pub(crate) fn call_off(&self, io: &Rc<Io>, callee: ContextId, handle: Handle) {
        let number = io.with_inboxes(|inboxes| inboxes.number_of(handle));
        self.stop_work(io, callee, handle, number);
    }

    fn stop_work(&self, io: &Rc<Io>, callee: ContextId, handle: Handle, number: u64) {
        let is_back = self.credit.borrow_mut().take_back(callee, number);
        if is_back {
            // It has not left yet, so it never will.
            return;
        }
        let message = Message::new(callee, Handle::CANCEL, handle.0.to_be_bytes().to_vec());
        io.send(Message { lane: Lane::Control, raw: true, ..message });
    }

    /// Adds what waits, and for what.
    pub(super) fn describe(&self, io: &Io, stats: &mut Stats) {
        let credit = self.credit.borrow();
        stats.windows = credit.len();
        stats.waiting = credit.waiting();
        stats.pending = stats.list(io.with_inboxes(|inboxes| inboxes.pending(&credit.no_room())));
        stats.blocked = stats.list(credit.blocked());
    }
}

/// Sends a message that there is room for.
fn leave(io: &Rc<Io>, Metered { message, accepted, .. }: Metered) {
    io.send(message);
    tell(accepted, Ok(()));
}
