//! The handlers of the standard handles.

use std::rc::Rc;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use tokio::sync::oneshot;

use crate::engine::io::{Asked, Io, Target};
use crate::engine::link::Fault;
use crate::engine::log::Record;
use crate::engine::log::log_later;
use crate::engine::shared::Request;
use crate::routing::handles::{Policy, Registration, Rule};
use crate::routing::policy;
use crate::routing::table::LinkId;
use crate::wire::codec;
use crate::wire::message::{ContextId, Handle, Lane, Message};

/// What a standard handle does with a message.
pub(crate) type Handler = fn(&Rc<Io>, &Message, Option<LinkId>);

/// The message that announces a context to a neighbour.
pub(super) fn add_route(to: ContextId, target: ContextId, name: &str) -> Message {
    let mut data = target.0.to_be_bytes().to_vec();
    data.extend_from_slice(name.as_bytes());
    Message { lane: Lane::Control, raw: true, ..Message::new(to, Handle::ADD_ROUTE, data) }
}

/// The message that tells a neighbour that a context has gone.
pub(super) fn del_route(to: ContextId, target: ContextId) -> Message {
    let data = target.0.to_be_bytes().to_vec();
    Message { lane: Lane::Control, raw: true, ..Message::new(to, Handle::DEL_ROUTE, data) }
}

impl Io {
    pub(super) fn add_standard_handlers(self: &Rc<Self>) {
        let parents: Policy = Arc::new(policy::has_parent_authority);
        let neighbours: Policy = Arc::new(policy::is_immediate_child);
        let is_child = self.dispatcher.is_some();
        let all: [(Handle, Option<Policy>, Handler); 8] = [
            (Handle::GET_IMAGE, Some(Arc::clone(&neighbours)), Self::on_get_image),
            (Handle::ADD_ROUTE, Some(Arc::clone(&neighbours)), Self::on_add_route),
            (Handle::DEL_ROUTE, Some(Arc::clone(&neighbours)), Self::on_del_route),
            (Handle::ALLOCATE_ID, Some(Arc::clone(&neighbours)), Self::on_allocate_id),
            (Handle::DETACHING, Some(neighbours), Self::on_detaching),
            (Handle::STATS, Some(Arc::clone(&parents)), Self::on_stats),
            (Handle::CREDIT, None, Self::on_credit),
            (Handle::CANCEL, None, Self::on_cancel),
        ];
        let of_children: [(Handle, Option<Policy>, Handler); 3] = [
            (Handle::LOAD_IMAGE, Some(Arc::clone(&parents)), Self::on_load_image),
            (Handle::CALL_FUNCTION, Some(Arc::clone(&parents)), Self::on_call),
            (Handle::SHUTDOWN, Some(parents), Self::on_shutdown),
        ];
        let of_master: [(Handle, Option<Policy>, Handler); 1] = [(Handle::FORWARD_LOG, None, Self::on_log)];
        let role = if is_child { &of_children[..] } else { &of_master[..] };
        for (handle, policy, handler) in all.iter().chain(role) {
            let registration = Registration {
                sink: Target::Standard(*handler),
                once: false,
                respondent: None,
                policy: policy.clone().map(Rule::Policy),
            };
            // The table is empty: nothing can be taken yet.
            let _ = self.add_handler(*handle, registration);
        }
    }

    fn on_add_route(self: &Rc<Self>, message: &Message, from: Option<LinkId>) {
        let (Some(from), Some((target, name))) = (from, message.data.split_at_checked(4)) else {
            return;
        };
        let target = ContextId(Buf::get_u32(&mut &target[..]));
        let name = String::from_utf8_lossy(name);
        let added = self.state.borrow_mut().routing.add_route(from, target, &name);
        match added {
            Ok(()) => {
                if let Some(parent) = self.shared.parent() {
                    // As it is called here.
                    let name = self.state.borrow().routing.name(target).unwrap_or_default().to_owned();
                    self.send(add_route(parent, target, &name));
                }
            }
            Err(why) if self.may_complain(Some(from), Fault::Route) => log_later!(self, ERROR, "{why}: ignored"),
            Err(_) => {}
        }
    }

    fn on_del_route(self: &Rc<Self>, message: &Message, from: Option<LinkId>) {
        let (Some(from), Ok(target)) = (from, <[u8; 4]>::try_from(&message.data[..])) else {
            return;
        };
        let target = ContextId(u32::from_be_bytes(target));
        let gone = self.state.borrow_mut().routing.del_route(from, target);
        if let Some(gone) = gone {
            self.contexts_gone(&gone);
        }
    }

    /// Sends a request to the parent; the reply ends the future, with an
    /// error if there will be none.
    pub(super) fn ask_parent(self: &Rc<Self>, handle: Handle, data: Vec<u8>) -> oneshot::Receiver<Message> {
        let (to, reply) = oneshot::channel();
        let Some(parent) = self.shared.parent() else {
            return reply;
        };
        let reply_to = self.shared.next_handle();
        let registration = Registration {
            sink: Target::Reply {
                to,
                timer: None,
                asked: Asked::now(if handle == Handle::ALLOCATE_ID { "ALLOCATE_ID" } else { "DETACHING" }),
            },
            once: true,
            respondent: Some(parent),
            policy: None,
        };
        if self.add_handler(reply_to, registration).is_ok() {
            let lane = Lane::Control;
            self.send(Message { reply_to, lane, raw: true, single_reply: true, ..Message::new(parent, handle, data) });
        }
        reply
    }

    fn on_call(self: &Rc<Self>, message: &Message, from: Option<LinkId>) {
        if message.is_dead() {
            return;
        }
        if let Some(dispatcher) = &self.dispatcher {
            dispatcher.on_call(self, message, from);
        }
    }

    /// A call that ran here has an answer, or was thrown away.
    pub(crate) fn answered(
        self: &Rc<Self>,
        (src, handle): (ContextId, Handle),
        chain: u32,
        grant: Option<crate::routing::window::Grant>,
    ) {
        if let Some(dispatcher) = &self.dispatcher
            && let Some(timer) = dispatcher.finished(self, src, handle, chain)
        {
            self.clear_timer(timer);
        }
        if let Some(grant) = grant {
            self.give(grant);
        }
    }

    /// Only the context that made a call may cancel it: calls are kept by the
    /// source of the message, which routing has verified.
    fn on_cancel(self: &Rc<Self>, message: &Message, _: Option<LinkId>) {
        if let (Some(dispatcher), Ok(handle)) = (&self.dispatcher, <[u8; 4]>::try_from(&message.data[..])) {
            dispatcher.cancel(message.src, Handle(u32::from_be_bytes(handle)));
        }
    }

    fn on_shutdown(self: &Rc<Self>, message: &Message, _: Option<LinkId>) {
        if !message.is_dead() && !self.state.borrow().detached {
            self.begin_shutdown(None);
        }
    }

    /// Sends a record of this context to the master.
    pub(super) fn forward_log(self: &Rc<Self>, record: Record) {
        if let Some(logs) = &self.logs {
            return logs.emit(record);
        }
        // Who has detached has no master.
        if !self.state.borrow().detached
            && let Ok(data) = codec::encode(&record)
        {
            let data = Bytes::from(data);
            self.send(Message { lane: Lane::Log, ..Message::new(ContextId::MASTER, Handle::FORWARD_LOG, data) });
        }
        record.sent();
    }

    fn on_log(self: &Rc<Self>, message: &Message, from: Option<LinkId>) {
        match codec::decode::<Record>(&message.data, None) {
            Ok(record) => {
                let name = self.state.borrow().routing.name(message.src).map(str::to_owned);
                if let Some(logs) = &self.logs {
                    logs.emit(record.made_by(message.src, name));
                }
            }
            Err(why) if self.may_complain(from, Fault::Record) => {
                log_later!(self, WARN, "bad log record from context {}: {why}", message.src);
            }
            Err(_) => {}
        }
    }

    /// Runs a built-in function as a task of the I/O thread.
    pub(crate) fn spawn_answer(self: &Rc<Self>, work: impl Future<Output = Request> + 'static) {
        let io = Rc::clone(self);
        self.tasks.spawn(async move {
            let answer = work.await;
            io.carry_out(answer);
        });
    }
}
