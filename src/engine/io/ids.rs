//! Ids for new contexts. The master allocates them in blocks. Each context passes requests and blocks on.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;

use bytes::{Buf, BufMut};
use tokio::sync::oneshot;

use crate::engine::io::Io;
use crate::routing::table::LinkId;
use crate::sys::hash::HashSet;
use crate::wire::error::{DeadReason, Error};
use crate::wire::message::{ContextId, Handle, Lane, Message};

/// The reason if the parent supplies no ids.
const NO_IDS: &str = "no ids to be had";
/// The reason if a context asks for more than it needs.
const TOO_MANY: &str = "a context may not hold so many unused ids";

/// The connects of this context that wait for an id for their child.
#[derive(Default)]
pub(crate) struct Ids {
    waiters: RefCell<VecDeque<oneshot::Sender<ContextId>>>,
    /// More ids were requested from the parent, and it has not answered.
    is_asked: Cell<bool>,
    /// The contexts below for which ids were requested from the parent. An honest context waits for the answer
    /// before it asks again.
    asked_for: RefCell<HashSet<ContextId>>,
}

impl Ids {
    /// Returns an id for a new child of this context.
    ///
    /// # Errors
    ///
    /// [`Error::Channel`] if the parent supplies no ids.
    pub(crate) async fn allocate(&self, io: &Rc<Io>) -> Result<ContextId, Error> {
        if let Some(id) = io.with_routing(|routing| routing.take_id()) {
            return Ok(id);
        }
        let (give, given) = oneshot::channel();
        self.waiters.borrow_mut().push_back(give);
        self.request(io);
        given.await.map_err(|_| io.own_reason(DeadReason::refused(NO_IDS)).at(io.shared.me))
    }

    /// Requests ids in advance if few are left, so that [`Ids::allocate`] does not have to wait long.
    pub(crate) fn stock(&self, io: &Rc<Io>) {
        if !io.with_routing(|routing| routing.has_id()) {
            self.request(io);
        }
    }

    /// Gives ids to a context that is about to start its first child, before it requests them. This saves a
    /// round trip. Only the master does this.
    pub(crate) fn give_first(&self, io: &Rc<Io>, owner: ContextId) {
        if io.shared.parent().is_some() {
            return;
        }
        let given = io.with_routing(|routing| {
            let link = routing.link_to(owner).filter(|link| !routing.has_block(*link, owner))?;
            Some((link, routing.take_block()))
        });
        if let Some((link, ids)) = given {
            pass_on(io, link, owner, &ids);
        }
    }

    /// Drops all waiters, which notifies them.
    pub(super) fn drop_waiters(&self) {
        self.waiters.take();
    }

    /// Handles a request of a neighbour for a block of ids, for itself or for a context behind it. The master
    /// supplies the ids; all other contexts request them from their parents. Also handles ids that the parent
    /// sends without a request.
    pub(super) fn on_allocate(&self, io: &Rc<Io>, message: &Message, from: Option<LinkId>) {
        let Some(link) = from else { return };
        if let Some((owner, ids)) = parse_grant(&message.data) {
            // Only the parent may send ids.
            if io.with_routing(|routing| routing.parent()) == Some(link) {
                self.on_ids(io, owner, ids);
            }
            return;
        }
        let Ok(owner) = <[u8; 4]>::try_from(&message.data[..]) else { return };
        let owner = ContextId(u32::from_be_bytes(owner));
        let may_have =
            io.with_routing(|routing| routing.link_to(owner) == Some(link) && routing.may_have_block(link, owner));
        if !may_have {
            return io.refuse(message, &DeadReason::refused(TOO_MANY), from);
        }
        if io.shared.parent().is_none() {
            let ids = io.with_routing(|routing| {
                let ids = routing.take_block();
                routing.hand_out(link, owner, ids.clone());
                ids
            });
            return io.send(block_reply(message, &ids));
        }
        if !self.asked_for.borrow_mut().insert(owner) {
            return io.refuse(message, &DeadReason::refused(TOO_MANY), from);
        }
        let upstream = io.outgoing().ask_parent(io, Handle::ALLOCATE_ID, owner.0.to_be_bytes().to_vec());
        let (this, message) = (Rc::clone(io), message.clone());
        io.tasks.spawn(async move {
            let io = this;
            let answer = upstream.await;
            io.ids().asked_for.borrow_mut().remove(&owner);
            match answer.as_ref().map(parse_block) {
                Ok(Some(ids)) => {
                    io.with_routing(|routing| {
                        // (A context that has gone in the meantime gets no ids, and its route is not
                        // announced.)
                        if routing.link_to(owner) == Some(link) {
                            routing.hand_out(link, owner, ids.clone());
                        }
                    });
                    io.send(block_reply(&message, &ids));
                }
                _ => io.refuse(&message, &DeadReason::refused(NO_IDS), Some(link)),
            }
        });
    }

    /// Handles ids that arrived without a request.
    fn on_ids(&self, io: &Rc<Io>, owner: ContextId, ids: Range<u32>) {
        if owner == io.shared.me {
            return self.take_in(io, ids);
        }
        if let Some(link) = io.with_routing(|routing| routing.link_to(owner)) {
            pass_on(io, link, owner, &ids);
        }
    }

    /// Adds a block of ids for this context itself.
    fn take_in(&self, io: &Rc<Io>, ids: Range<u32>) {
        io.with_routing(|routing| {
            let mut waiters = self.waiters.borrow_mut();
            routing.give_block(ids);
            while !waiters.is_empty()
                && let Some(id) = routing.take_id()
            {
                let _ = waiters.pop_front().map(|waiter| waiter.send(id));
            }
        });
        if !self.waiters.borrow().is_empty() {
            self.request(io);
        }
    }

    /// Requests a block from the parent, unless a request is in progress.
    fn request(&self, io: &Rc<Io>) {
        if self.is_asked.replace(true) {
            return;
        }
        let reply = io.outgoing().ask_parent(io, Handle::ALLOCATE_ID, io.shared.me.0.to_be_bytes().to_vec());
        let this = Rc::clone(io);
        io.tasks.spawn(async move {
            let ids = reply.await.ok().as_ref().and_then(parse_block);
            this.ids().is_asked.set(false);
            match ids {
                Some(ids) => this.ids().take_in(&this, ids),
                // The waiters notice it when their channels close.
                None => this.ids().drop_waiters(),
            }
        });
    }
}

/// Passes a block on to its owner, which has not requested it.
fn pass_on(io: &Rc<Io>, link: LinkId, owner: ContextId, ids: &Range<u32>) {
    let next = io.with_routing(|routing| {
        routing.hand_out(link, owner, ids.clone());
        routing.remote(link)
    });
    let mut data = Vec::with_capacity(12);
    data.put_u32(owner.0);
    data.put_u32(ids.start);
    data.put_u32(ids.end);
    io.send(Message { lane: Lane::Control, raw: true, ..Message::new(next, Handle::ALLOCATE_ID, data) });
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
