//! The calls and data that this context sends: the calls that wait for a reply, and the windows of the
//! receivers.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::engine::credit::{Accepted, Credit, Metered, Offer, tell};
use crate::engine::inboxes::{Asked, Room, Target};
use crate::engine::io::{Io, Timer};
use crate::engine::log::log_later;
use crate::engine::stats::Stats;
use crate::routing::handles::Registration;
use crate::routing::window::{Grant, WINDOW};
use crate::sys::deadline::deadline;
use crate::wire::error::{ChannelErrorKind, DeadReason, Error};
use crate::wire::frame::HEADER;
use crate::wire::message::{ContextId, Handle, Lane, Message};

/// The messages that leave this context when the windows of their receivers have room.
#[derive(Default)]
pub(crate) struct Outgoing {
    credit: RefCell<Credit>,
}

impl Outgoing {
    /// Calls a function. The reply, or a dead message, goes to `reply`.
    pub(crate) fn call(
        &self,
        io: &Rc<Io>,
        mut message: Message,
        reply: oneshot::Sender<Message>,
        timeout: Option<Duration>,
        function: &'static str,
    ) {
        let timer = timeout.map(|after| {
            let when = deadline(after);
            message.deadline = Some(when);
            io.set_timer(when, Timer::Reply(message.reply_to))
        });
        message.src = io.shared.me;
        let reaches = io.with_routing(|routing| routing.reaches(message.dst));
        let number = self.credit.borrow_mut().number();
        let is_metered = message.handle.takes_calls();
        let room = is_metered.then(|| Room {
            callee: message.dst,
            handle: message.handle,
            payload: u32::try_from(message.data.len()).unwrap_or(u32::MAX),
        });
        let registration = Registration {
            sink: Target::Reply {
                to: reply,
                timer,
                asked: Asked::new(function, io.now()),
                number,
                room,
                most: u64::MAX,
            },
            once: true,
            respondent: reaches.then_some(message.dst),
            policy: None,
        };
        // Handles are reused after two billion, so this one may still be in use. The caller notices it when
        // its channel closes.
        if let Err(error) = io.add_handler(message.reply_to, registration) {
            return log_later!(io, ERROR, "a call was not made: {error}");
        }
        message.single_reply = true;
        if is_metered {
            self.offer(io, Metered { message, accepted: None, number });
        } else {
            io.send(message);
        }
    }

    /// Sends a request to the parent. The receiver gets the reply, or an error if there will be none.
    pub(super) fn ask_parent(&self, io: &Rc<Io>, handle: Handle, data: Vec<u8>) -> oneshot::Receiver<Message> {
        let (to, reply) = oneshot::channel();
        let Some(parent) = io.shared.parent() else {
            return reply;
        };
        let reply_to = io.shared.next_handle();
        let asked = Asked::new(if handle == Handle::ALLOCATE_ID { "ALLOCATE_ID" } else { "DETACHING" }, io.now());
        let sink = Target::Reply { to, timer: None, asked, number: 0, room: None, most: u64::MAX };
        let registration = Registration { sink, once: true, respondent: Some(parent), policy: None };
        if io.add_handler(reply_to, registration).is_ok() {
            let lane = Lane::Control;
            io.send(Message { reply_to, lane, raw: true, single_reply: true, ..Message::new(parent, handle, data) });
        }
        reply
    }

    /// Sends a message when all earlier ones to the same handle have left, and when its window has room.
    pub(super) fn send(&self, io: &Rc<Io>, message: Message, accepted: Accepted) {
        let number = self.credit.borrow_mut().number();
        self.offer(io, Metered { message, accepted, number });
    }

    fn offer(&self, io: &Rc<Io>, metered: Metered) {
        let message = &metered.message;
        let target = (message.dst, message.handle);
        if !io.with_routing(|routing| routing.reaches(message.dst)) {
            if message.handle.takes_calls() {
                // The caller gets a dead message.
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

    /// Sends the reply to a call after the values that wait for room in the caller's handle `values`.
    pub(super) fn send_behind(&self, io: &Rc<Io>, values: Handle, reply: Message) {
        let ready = self.credit.borrow_mut().queue_behind(values, reply);
        if let Some(reply) = ready {
            io.send(reply);
        }
    }

    /// Handles room that a receiver returns.
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

    /// Takes back the room of a call that was refused on its way, or by the called context before it was whole. That
    /// context has not counted the call, so it gives no room back.
    pub(super) fn take_room_back(&self, io: &Rc<Io>, room: Room, why: ChannelErrorKind) {
        use ChannelErrorKind::{InvalidHandle, NoRoute, Refused, TooLarge};
        if !matches!(why, Refused | InvalidHandle | NoRoute | TooLarge) {
            return;
        }
        let bytes = room.payload.saturating_add(HEADER as u32);
        let grant = Grant { to: io.shared.me, handle: room.handle, bytes, messages: 1, size: WINDOW };
        let ready = self.credit.borrow_mut().give(room.callee, &grant);
        ready.into_iter().for_each(|metered| leave(io, metered));
    }

    /// Closes a window whose receiver has refused data or has gone. `keep`: if no sender waits, the sender of
    /// the next message gets the error.
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

    /// Removes the windows to a context that has gone.
    pub(super) fn forget(&self, io: &Io, context: ContextId) {
        let (complaints, waiting) = self.credit.borrow_mut().forget(context);
        for handle in complaints {
            io.remove_handler(handle);
        }
        let error = io.own_reason(DeadReason::DISCONNECTED).at(io.shared.me);
        waiting.into_iter().for_each(|accepted| tell(accepted, Err(error.clone())));
    }

    /// Stops waiting for a reply, because the caller has dropped the call or its time limit was reached. Also
    /// stops the work of the call. A caller that still waits notices it when its channel closes. It knows its
    /// own time limit.
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
        registration.sink.tell_waits(io.shared.me);
    }

    /// Stops the work of a call whose reply is still awaited.
    pub(crate) fn call_off(&self, io: &Rc<Io>, callee: ContextId, handle: Handle) {
        let number = io.with_inboxes(|inboxes| inboxes.number_of(handle));
        self.stop_work(io, callee, handle, number);
    }

    fn stop_work(&self, io: &Rc<Io>, callee: ContextId, handle: Handle, number: u64) {
        let is_back = self.credit.borrow_mut().take_back(callee, number);
        if is_back {
            // The call has not been sent yet, and now it is withdrawn.
            return;
        }
        let message = Message::new(callee, Handle::CANCEL, handle.0.to_be_bytes().to_vec());
        io.send(Message { lane: Lane::Control, raw: true, ..message });
    }

    /// Adds the waiting calls and messages to the statistics.
    pub(super) fn describe(&self, io: &Io, stats: &mut Stats) {
        let credit = self.credit.borrow();
        stats.windows = credit.len();
        stats.waiting = credit.waiting();
        stats.pending = stats.list(io.with_inboxes(|inboxes| inboxes.pending(&credit.no_room())));
        stats.blocked = stats.list(credit.blocked());
    }
}

/// Sends a message for which its window has room.
fn leave(io: &Rc<Io>, Metered { message, accepted, .. }: Metered) {
    io.send(message);
    tell(accepted, Ok(()));
}
