//! The sending side of flow control: calls and data that wait for room.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::engine::io::{Asked, Io, Target, Timer};
use crate::engine::log::log_later;
use crate::routing::handles::Registration;
use crate::routing::refused_windows::RefusedWindows;
use crate::routing::table::LinkId;
use crate::routing::window::{Grant, SendWindow};
use crate::wire::call_payload;
use crate::wire::error::{DeadReason, Error};
use crate::wire::message::{ContextId, Handle, Lane, Message};

/// All windows from this context to handles of others.
#[derive(Default)]
pub(super) struct Windows {
    by_target: HashMap<(ContextId, Handle), Window>,
    /// Why earlier data was not taken; reported with the next.
    refused: RefusedWindows,
}

#[derive(Default)]
struct Window {
    outlet: SendWindow,
    waiting: VecDeque<Waiting>,
    /// Where a dead message about data finds this window; calls have a handle
    /// each.
    complaints: Option<Handle>,
}

struct Waiting {
    message: Message,
    accepted: Option<oneshot::Sender<Result<(), Error>>>,
}

impl Windows {
    pub(super) fn len(&self) -> usize {
        self.by_target.len() + self.refused.len()
    }

    /// What waits for room, and where.
    pub(super) fn waiting(&self) -> impl Iterator<Item = ((ContextId, Handle), &Message)> {
        let windows = self.by_target.iter();
        windows.flat_map(|(target, window)| window.waiting.iter().map(|waiting| (*target, &waiting.message)))
    }
}

impl Io {
    /// Calls a function: the reply, dead or not, goes to `reply`.
    pub(crate) fn call(
        self: &Rc<Self>,
        mut message: Message,
        reply: oneshot::Sender<Message>,
        timeout: Option<Duration>,
        function: &'static str,
    ) {
        let timer = timeout.map(|after| {
            let when = Instant::now() + after;
            message.deadline = Some(when);
            self.set_timer(when, Timer::Reply(message.reply_to))
        });
        message.src = self.shared.me;
        let reaches = self.state.borrow().routing.reaches(message.dst);
        let registration = Registration {
            sink: Target::Reply { to: reply, timer, asked: Asked::now(function) },
            once: true,
            respondent: reaches.then_some(message.dst),
            policy: None,
        };
        // Handles are given out anew after two billion: this one may be held
        // still. The caller is told by the end of its channel.
        if let Err(error) = self.add_handler(message.reply_to, registration) {
            return log_later!(self, ERROR, "a call was not made: {error}");
        }
        message.single_reply = true;
        if message.handle == Handle::CALL_FUNCTION {
            self.send_metered(message, None);
        } else {
            self.send(message);
        }
    }

    /// Sends a message in its turn and as far as its window allows.
    pub(super) fn send_metered(
        self: &Rc<Self>,
        mut message: Message,
        accepted: Option<oneshot::Sender<Result<(), Error>>>,
    ) {
        let target = (message.dst, message.handle);
        let counted = message.handle == Handle::CALL_FUNCTION;
        let mut state = self.state.borrow_mut();
        if !state.routing.reaches(message.dst) {
            drop(state);
            if counted {
                // Whoever awaits the reply is told by a dead message.
                return self.send(message);
            }
            let error = self.own_reason(DeadReason::no_route(message.dst, self.shared.me)).at(self.shared.me);
            return accepted.into_iter().for_each(|accepted| drop(accepted.send(Err(error.clone()))));
        }
        if let Some(error) = state.windows.refused.take(target) {
            drop(state);
            return accepted.into_iter().for_each(|accepted| drop(accepted.send(Err(error.clone()))));
        }
        let window = state.windows.by_target.entry(target).or_default();
        let mut complain = None;
        if !counted && message.reply_to == Handle::NONE {
            message.reply_to = *window.complaints.get_or_insert_with(|| {
                let handle = self.shared.next_handle();
                complain = Some(handle);
                handle
            });
        }
        let fits = window.waiting.is_empty() && (message.is_dead() || window.outlet.take(message.data.len(), counted));
        if !fits {
            window.waiting.push_back(Waiting { message, accepted });
            drop(state);
            self.watch_window(target, complain);
            return;
        }
        drop(state);
        self.watch_window(target, complain);
        self.send(message);
        if let Some(accepted) = accepted {
            let _ = accepted.send(Ok(()));
        }
    }

    /// Sends the reply to a call behind the values that wait for room in the
    /// handle `values` of the caller.
    pub(super) fn send_behind(self: &Rc<Self>, values: Handle, reply: Message) {
        let mut state = self.state.borrow_mut();
        if values != Handle::NONE
            && let Some(window) = state.windows.by_target.get_mut(&(reply.dst, values))
            && !window.waiting.is_empty()
        {
            return window.waiting.push_back(Waiting { message: reply, accepted: None });
        }
        drop(state);
        self.send(reply);
    }

    /// Registers the handle where dead messages about a window arrive.
    fn watch_window(self: &Rc<Self>, (dst, handle): (ContextId, Handle), complain: Option<Handle>) {
        if let Some(complain) = complain {
            let sink = Target::Window { dst, handle };
            let registration = Registration { sink, once: false, respondent: Some(dst), policy: None };
            let _ = self.add_handler(complain, registration);
        }
    }

    /// A receiver gives room back.
    pub(super) fn on_credit(self: &Rc<Self>, message: &Message, _: Option<LinkId>) {
        let Some(grant) = Grant::decode(self.shared.me, &message.data) else {
            return;
        };
        if grant.is_closed() {
            return self.fail_window(message.src, grant.handle, DeadReason::INVALID_HANDLE.at(message.src), false);
        }
        let target = (message.src, grant.handle);
        let mut ready = Vec::new();
        let mut state = self.state.borrow_mut();
        if let Some(window) = state.windows.by_target.get_mut(&target) {
            window.outlet.give(&grant);
            while let Some(next) = window.waiting.front() {
                let counted = grant.handle == Handle::CALL_FUNCTION;
                // What only waits for its turn needs no room.
                let free = next.message.is_dead() || next.message.handle != grant.handle;
                if !free && !window.outlet.take(next.message.data.len(), counted) {
                    break;
                }
                ready.extend(window.waiting.pop_front());
            }
        }
        drop(state);
        for Waiting { message, accepted } in ready {
            self.send(message);
            if let Some(accepted) = accepted {
                let _ = accepted.send(Ok(()));
            }
        }
    }

    /// Gives room back to a sender.
    pub(crate) fn give(self: &Rc<Self>, grant: Grant) {
        let message = Message::new(grant.to, Handle::CREDIT, grant.encode());
        self.send(Message { lane: Lane::Control, raw: true, ..message });
    }

    /// The receiver of a window has refused or has gone. `keep`: whoever sends
    /// next is told.
    pub(super) fn fail_window(self: &Rc<Self>, dst: ContextId, handle: Handle, error: Error, keep: bool) {
        let mut state = self.state.borrow_mut();
        let Some(mut window) = state.windows.by_target.remove(&(dst, handle)) else {
            return;
        };
        let complaints = window.complaints.take().and_then(|handle| state.handles.remove(handle));
        let (replies, refused): (Vec<_>, Vec<_>) =
            window.waiting.drain(..).partition(|waiting| waiting.message.handle != handle);
        let waiting: Vec<_> = refused.into_iter().filter_map(|waiting| waiting.accepted).collect();
        if keep && waiting.is_empty() && state.routing.reaches(dst) {
            state.windows.refused.keep((dst, handle), error.clone());
        }
        drop(state);
        drop(complaints);
        replies.into_iter().for_each(|waiting| self.send(waiting.message));
        waiting.into_iter().for_each(|accepted| drop(accepted.send(Err(error.clone()))));
    }

    /// A context has gone, and its windows with it.
    pub(super) fn drop_windows(self: &Rc<Self>, context: ContextId) {
        let mut state = self.state.borrow_mut();
        state.windows.refused.forget(context);
        let targets: Vec<_> = state.windows.by_target.keys().filter(|(dst, _)| *dst == context).copied().collect();
        let lost: Vec<_> = targets.iter().filter_map(|target| state.windows.by_target.remove(target)).collect();
        for window in &lost {
            if let Some(complaints) = window.complaints {
                state.handles.remove(complaints);
            }
        }
        drop(state);
        let error = self.own_reason(DeadReason::DISCONNECTED).at(self.shared.me);
        for accepted in lost.into_iter().flat_map(|window| window.waiting).filter_map(|waiting| waiting.accepted) {
            let _ = accepted.send(Err(error.clone()));
        }
    }

    /// The caller no longer wants the reply to this handle.
    pub(super) fn cancel(self: &Rc<Self>, handle: Handle) {
        let mut state = self.state.borrow_mut();
        let Some(registration) = state.handles.remove(handle) else {
            return;
        };
        if let Target::Reply { timer: Some(timer), .. } = &registration.sink {
            state.timers.remove(timer);
        }
        drop(state);
        self.call_off(registration.respondent, handle);
    }

    /// The time of a call is up: the caller is answered, the work stopped.
    pub(super) fn expire(self: &Rc<Self>, handle: Handle) {
        let registration = self.state.borrow_mut().handles.remove(handle);
        let Some(registration) = registration else {
            return;
        };
        self.call_off(registration.respondent, handle);
        // Dropping the sender is the answer: the caller knows its own timeout.
        drop(registration);
    }

    /// Has the work of a call stopped.
    pub(crate) fn call_off(self: &Rc<Self>, callee: Option<ContextId>, handle: Handle) {
        let Some(callee) = callee else { return };
        let mut state = self.state.borrow_mut();
        if let Some(window) = state.windows.by_target.get_mut(&(callee, Handle::CALL_FUNCTION)) {
            let before = window.waiting.len();
            // A call of a chain is needed there all the same, to end it.
            window.waiting.retain(|waiting| {
                waiting.message.reply_to != handle || call_payload::is_chained(&waiting.message.data)
            });
            if window.waiting.len() < before {
                // It has not left yet, so it never will.
                return;
            }
        }
        drop(state);
        let message = Message::new(callee, Handle::CANCEL, handle.0.to_be_bytes().to_vec());
        self.send(Message { lane: Lane::Control, raw: true, ..message });
    }
}
