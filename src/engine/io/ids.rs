//! Ids for new contexts. The master has them; they come in blocks, hop by hop.

use std::ops::Range;
use std::rc::Rc;

use bytes::{Buf, BufMut};
use tokio::sync::oneshot;

use crate::engine::io::Io;
use crate::routing::table::LinkId;
use crate::wire::error::{DeadReason, Error};
use crate::wire::message::{ContextId, Handle, Lane, Message};

/// What is said where the parent gives no ids.
const NO_IDS: &str = "no ids to be had";

impl Io {
    /// Gives a context that is about to start its first child ids before it
    /// asks for them, which saves a round trip. The master alone has any.
    pub(crate) fn give_ids(self: &Rc<Self>, owner: ContextId) {
        if self.shared.parent().is_some() {
            return;
        }
        let mut state = self.state.borrow_mut();
        let Some(link) = state.routing.link_to(owner).filter(|link| !state.routing.has_block(*link, owner)) else {
            return;
        };
        let ids = state.routing.take_block();
        drop(state);
        self.pass_ids(link, owner, &ids);
    }

    /// The time, as [`Io::claim`] counts it.
    pub(crate) fn routing_clock(&self) -> u64 {
        self.state.borrow().routing.clock()
    }

    /// Takes `child` for the one that `via` was asked for at `since`; refused
    /// with the reason if it cannot be that one. Returns its name.
    pub(crate) fn claim(&self, child: ContextId, via: ContextId, since: u64) -> Result<String, &'static str> {
        self.state.borrow_mut().routing.claim(child, via, since)
    }

    /// Ids have come that nobody has asked for.
    fn on_ids(self: &Rc<Self>, owner: ContextId, ids: Range<u32>) {
        if owner == self.shared.me {
            return self.take_in(ids);
        }
        let link = self.state.borrow().routing.link_to(owner);
        if let Some(link) = link {
            self.pass_ids(link, owner, &ids);
        }
    }

    fn pass_ids(self: &Rc<Self>, link: LinkId, owner: ContextId, ids: &Range<u32>) {
        let mut state = self.state.borrow_mut();
        state.routing.hand_out(link, owner, ids.clone());
        let next = state.routing.remote(link);
        drop(state);
        let mut data = Vec::with_capacity(12);
        data.put_u32(owner.0);
        data.put_u32(ids.start);
        data.put_u32(ids.end);
        self.send(Message { lane: Lane::Control, raw: true, ..Message::new(next, Handle::ALLOCATE_ID, data) });
    }

    /// A block for this context itself.
    fn take_in(self: &Rc<Self>, ids: Range<u32>) {
        let mut state = self.state.borrow_mut();
        state.routing.give_block(ids);
        while !state.id_waiters.is_empty() {
            let Some(id) = state.routing.take_id() else { break };
            let _ = state.id_waiters.remove(0).send(id);
        }
        let more = !state.id_waiters.is_empty();
        drop(state);
        if more {
            self.request_ids();
        }
    }

    /// A neighbour asks for a block of ids for itself or for someone behind
    /// it. The master has them; everyone else asks on.
    pub(super) fn on_allocate_id(self: &Rc<Self>, message: &Message, from: Option<LinkId>) {
        let Some(link) = from else { return };
        if let Some((owner, ids)) = parse_grant(&message.data) {
            // Only from where ids come.
            if self.state.borrow().routing.parent() == Some(link) {
                self.on_ids(owner, ids);
            }
            return;
        }
        let Ok(owner) = <[u8; 4]>::try_from(&message.data[..]) else { return };
        let owner = ContextId(u32::from_be_bytes(owner));
        let mut state = self.state.borrow_mut();
        let knows_owner = state.routing.link_to(owner) == Some(link);
        if !knows_owner || !state.routing.may_have_block(link, owner) {
            drop(state);
            return self.refuse(message, &DeadReason::refused("a context may not hold so many unused ids"), from);
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
        self.tasks.spawn(async move {
            match upstream.await.as_ref().map(parse_block) {
                Ok(Some(ids)) => {
                    let mut state = io.state.borrow_mut();
                    // (Who has gone meanwhile announces nobody.)
                    if state.routing.link_to(owner) == Some(link) {
                        state.routing.hand_out(link, owner, ids.clone());
                    }
                    drop(state);
                    io.send(block_reply(&message, &ids));
                }
                _ => io.refuse(&message, &DeadReason::refused(NO_IDS), Some(link)),
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
        given.await.map_err(|_| self.own_reason(DeadReason::refused(NO_IDS)).at(self.shared.me))
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
        self.tasks.spawn(async move {
            let ids = reply.await.ok().as_ref().and_then(parse_block);
            io.state.borrow_mut().ids_requested = false;
            match ids {
                Some(ids) => io.take_in(ids),
                // Whoever waits learns it by the end of its channel.
                None => io.state.borrow_mut().id_waiters.clear(),
            }
        });
    }
}

fn block_reply(request: &Message, ids: &Range<u32>) -> Message {
    let mut data = Vec::with_capacity(8);
    data.put_u32(ids.start);
    data.put_u32(ids.end);
    Message { lane: Lane::Control, raw: true, ..Message::new(request.src, request.reply_to, data) }
}

fn parse_block(message: &Message) -> Option<Range<u32>> {
    let mut data: &[u8] = <&[u8; 8]>::try_from(&message.data[..]).ok().filter(|_| !message.is_dead())?;
    let (start, end) = (data.get_u32(), data.get_u32());
    (start < end).then_some(start..end)
}

fn parse_grant(data: &[u8]) -> Option<(ContextId, Range<u32>)> {
    let mut data: &[u8] = <&[u8; 12]>::try_from(data).ok()?;
    let (owner, start, end) = (data.get_u32(), data.get_u32(), data.get_u32());
    (start < end).then_some((ContextId(owner), start..end))
}
