//! How a context leaves the tree: the part of the context, and the part of its parent.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use crate::engine::dispatch::Dispatcher;
use crate::engine::io::Io;
use crate::engine::links::Fault;
use crate::engine::log::log_later;
use crate::engine::task_set;
use crate::routing::table::LinkId;
use crate::sys::process;
use crate::wire::error::{DeadReason, Error};
use crate::wire::message::{ContextId, Handle, Lane, Message};

/// Time limit for the parent's consent.
const ANSWER: Duration = Duration::from_secs(5);
/// Time limit for sending the messages that are queued for the parent.
const DRAIN: Duration = Duration::from_secs(2);

/// Whether this context is leaving the tree, or has left it.
#[derive(Default)]
pub(crate) struct Detaching {
    /// Receive the result. The first waiter has started the detaching.
    waiters: RefCell<Vec<oneshot::Sender<Result<(), Error>>>>,
    /// The parent has consented. This context has left the tree, or is about to.
    has_left: Cell<bool>,
}

impl Detaching {
    /// Takes this context out of the tree, and reports the result.
    pub(super) fn begin(&self, io: &Rc<Io>, done: oneshot::Sender<Result<(), Error>>) {
        if io.shared.parent().is_none() {
            let _ = done.send(Ok(()));
            return;
        }
        let mut waiters = self.waiters.borrow_mut();
        waiters.push(done);
        if waiters.len() > 1 {
            return;
        }
        let this = Rc::clone(io);
        io.tasks.spawn(async move {
            let detaching = this.detaching();
            let result = detaching.leave(&this).await;
            for waiter in detaching.waiters.take() {
                let _ = waiter.send(result.clone());
            }
            detaching.end_if_useless(&this);
        });
    }

    async fn leave(&self, io: &Rc<Io>) -> Result<(), Error> {
        process::outlive_parent();
        let answer = timeout(ANSWER, io.outgoing().ask_parent(io, Handle::DETACHING, Vec::new())).await;
        let answer =
            answer.map_err(|_| Error::Timeout { after: ANSWER, what: "the parent's leave to detach".into() })?;
        let answer = answer.map_err(|_| Error::router_ended(io.shared.me))?;
        if answer.is_dead() {
            return Err(answer.dead_error(io.shared.me));
        }
        process::mark_detached();
        self.has_left.set(true);
        // This is the last frame to the parent, after all queued frames. The parent closes the link when it
        // gets it. It cannot wait for the end of the link, because a process between the two contexts, such
        // as sudo, may keep the link open as long as this process lives.
        if let Some(parent) = io.shared.parent() {
            let farewell = Message::new(parent, Handle::DETACHING, Vec::new());
            io.send(Message { lane: Lane::Log, raw: true, ..farewell });
        }
        io.flush_parent(Instant::now() + DRAIN).await;
        // The writer may be blocked, so the link is closed in any case.
        if let Some(link) = io.with_routing(|routing| routing.parent()) {
            io.neighbours().lost(io, link, None);
        }
        io.shared.forget_parents();
        io.with_routing(|routing| routing.become_root());
        let timers: Vec<_> = io.dispatchers().flat_map(Dispatcher::lift_deadlines).collect();
        timers.into_iter().for_each(|timer| io.clear_timer(timer));
        Ok(())
    }

    /// Whether the parent has consented.
    pub(super) fn has_left(&self) -> bool {
        self.has_left.get()
    }

    /// Whether the calls of `context`, which has gone, continue to run.
    pub(super) fn outlives(&self, io: &Io, context: ContextId) -> bool {
        self.has_left() && io.shared.parent_ids().contains(&context)
    }

    /// Ends the router if it has detached and runs no call. No other context can call a detached context.
    pub(super) fn end_if_useless(&self, io: &Rc<Io>) {
        let is_idle = io.dispatcher.is_some() && io.dispatchers().all(Dispatcher::is_idle);
        if is_idle && self.has_left() && io.shared.parent().is_none() {
            io.begin_shutdown(None);
        }
    }

    /// Handles the DETACHING messages of a child that leaves. From then on, this context must not end the
    /// child.
    pub(super) fn on_detaching(&self, io: &Rc<Io>, message: &Message, from: Option<LinkId>) {
        let Some(from) = from.filter(|_| !message.is_dead()) else { return };
        let is_child = io.neighbours().child_link(io, message.src) == Some(from);
        if is_child && message.reply_to == Handle::NONE && io.with_links(|links| links.is_leaving(from)) {
            return io.neighbours().lost(io, from, None);
        }
        if !is_child || !io.with_links(|links| links.begin_leave(from)) {
            if io.may_complain(Some(from), Fault::Detaching) {
                log_later!(io, WARN, "bad DETACHING received from context {}", message.src);
            }
            return io.refuse(message, &DeadReason::refused("bad DETACHING received"), Some(from));
        }
        if let Some(process) = io.with_links(|links| links.take_process(from)) {
            // The end of this router does not wait for the process. If the process is a launcher, it ends
            // with its child or with the link.
            task_set::spawn(process.let_go());
        }
        let reply = Message::new(message.src, message.reply_to, Vec::new());
        io.send(Message { lane: Lane::Control, raw: true, ..reply });
    }
}
