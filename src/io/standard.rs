//! The handlers of the standard handles.

use std::rc::Rc;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};
use tokio::sync::oneshot;

use super::{Asked, Io, Target};
use crate::error::Error;
use crate::log::Record;
use crate::message::{ContextId, Handle, Lane, Message};
use crate::payload;
use crate::policy;
use crate::router::Command;
use crate::routing::{LinkId, Policy, Registration};

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
                policy: policy.clone(),
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
                    self.send(add_route(parent, target, &name));
                }
            }
            Err(why) => tracing::error!("{why}: ignored"),
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

    /// A neighbour asks for a block of ids for itself or for someone behind
    /// it. The master has them; everyone else asks on.
    fn on_allocate_id(self: &Rc<Self>, message: &Message, from: Option<LinkId>) {
        let (Some(link), Ok(owner)) = (from, <[u8; 4]>::try_from(&message.data[..])) else {
            return;
        };
        let owner = ContextId(u32::from_be_bytes(owner));
        let mut state = self.state.borrow_mut();
        let knows_owner = state.routing.link_to(owner) == Some(link);
        if !knows_owner || !state.routing.may_have_block(link, owner) {
            drop(state);
            return self.refuse(message, "a context may not hold so many unused ids", from);
        }
        if self.shared.parent().is_none() {
            let ids = state.routing.take_block();
            state.routing.hand_out(link, owner, ids.clone());
            drop(state);
            return self.send(block_reply(message, &ids));
        }
        drop(state);
        let (io, message) = (Rc::clone(self), message.clone());
        let upstream = self.ask_parent(Handle::ALLOCATE_ID, owner.0.to_be_bytes().to_vec());
        self.tasks.spawn_local(async move {
            match upstream.await.as_ref().map(parse_block) {
                Ok(Some(ids)) => {
                    io.state.borrow_mut().routing.hand_out(link, owner, ids.clone());
                    io.send(block_reply(&message, &ids));
                }
                _ => io.refuse(&message, "no ids to be had", Some(link)),
            }
        });
    }

    /// An id for a new child of this context.
    ///
    /// # Errors
    ///
    /// [`Error::Channel`] if the parent gives none.
    pub(crate) async fn allocate_id(self: &Rc<Self>) -> Result<ContextId, Error> {
        let first = self.state.borrow_mut().routing.take_id();
        if let Some(id) = first {
            return Ok(id);
        }
        let (give, given) = oneshot::channel();
        self.state.borrow_mut().id_waiters.push(give);
        self.request_ids();
        given.await.map_err(|_| Error::Channel { context: self.shared.me, reason: "no ids to be had".into() })
    }

    /// Makes sure that [`Io::allocate_id`] will not have to wait long.
    pub(crate) fn stock_ids(self: &Rc<Self>) {
        if !self.state.borrow().routing.has_id() {
            self.request_ids();
        }
    }

    fn request_ids(self: &Rc<Self>) {
        if std::mem::replace(&mut self.state.borrow_mut().ids_requested, true) {
            return;
        }
        let reply = self.ask_parent(Handle::ALLOCATE_ID, self.shared.me.0.to_be_bytes().to_vec());
        let io = Rc::clone(self);
        self.tasks.spawn_local(async move {
            let ids = reply.await.ok().as_ref().and_then(parse_block);
            let mut state = io.state.borrow_mut();
            state.ids_requested = false;
            let Some(ids) = ids else {
                // Whoever waits learns it by the end of its channel.
                state.id_waiters.clear();
                return;
            };
            state.routing.give_block(ids);
            while !state.id_waiters.is_empty() {
                let Some(id) = state.routing.take_id() else { break };
                let _ = state.id_waiters.remove(0).send(id);
            }
            let more = !state.id_waiters.is_empty();
            drop(state);
            if more {
                io.request_ids();
            }
        });
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
    pub(crate) fn answer(
        self: &Rc<Self>,
        (src, handle): (ContextId, Handle),
        chain: u32,
        reply: Option<Message>,
        grant: Option<crate::flow::Grant>,
    ) {
        if let Some(dispatcher) = &self.dispatcher
            && let Some(timer) = dispatcher.finished(self, src, handle, chain)
        {
            self.clear_timer(timer);
        }
        if let Some(grant) = grant {
            self.give(grant);
        }
        if let Some(reply) = reply {
            self.send(reply);
        }
        self.end_if_useless();
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
            && let Ok(data) = payload::encode(&record)
        {
            let data = Bytes::from(data);
            self.send(Message { lane: Lane::Log, ..Message::new(ContextId::MASTER, Handle::FORWARD_LOG, data) });
        }
        record.sent();
    }

    fn on_log(self: &Rc<Self>, message: &Message, _: Option<LinkId>) {
        match payload::decode::<Record>(&message.data, None) {
            Ok(record) => {
                let name = self.state.borrow().routing.name(message.src).map(str::to_owned);
                if let Some(logs) = &self.logs {
                    logs.emit(record.made_by(message.src, name));
                }
            }
            Err(why) => tracing::warn!("bad log record from context {}: {why}", message.src),
        }
    }

    /// Runs a built-in function as a task of the I/O thread.
    pub(crate) fn spawn_answer(self: &Rc<Self>, work: impl Future<Output = Command> + 'static) {
        let io = Rc::clone(self);
        self.tasks.spawn_local(async move {
            let answer = work.await;
            io.command(answer);
        });
    }
}

fn block_reply(request: &Message, ids: &std::ops::Range<u32>) -> Message {
    let mut data = Vec::with_capacity(8);
    data.put_u32(ids.start);
    data.put_u32(ids.end);
    Message { lane: Lane::Control, raw: true, ..Message::new(request.src, request.reply_to, data) }
}

fn parse_block(message: &Message) -> Option<std::ops::Range<u32>> {
    let mut data: &[u8] = <&[u8; 8]>::try_from(&message.data[..]).ok().filter(|_| !message.is_dead())?;
    let (start, end) = (data.get_u32(), data.get_u32());
    (start < end).then_some(start..end)
}
