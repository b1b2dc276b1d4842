//! Leaving the tree, seen from both ends.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use crate::engine::io::Io;
use crate::engine::links::Fault;
use crate::engine::log::log_later;
use crate::engine::task_set;
use crate::routing::table::LinkId;
use crate::sys::process;
use crate::wire::error::{DeadReason, Error};
use crate::wire::message::{ContextId, Handle, Lane, Message};

/// The parent has this long to let go.
const ANSWER: Duration = Duration::from_secs(5);
/// What is queued for the parent has this long to leave.
const DRAIN: Duration = Duration::from_secs(2);

impl Io {
    /// Takes this context out of the tree, and tells how that went.
    pub(super) fn detach(self: &Rc<Self>, done: oneshot::Sender<Result<(), Error>>) {
        if self.shared.parent().is_none() {
            let _ = done.send(Ok(()));
            return;
        }
        let waiters = &mut self.state.borrow_mut().detach_waiters;
        waiters.push(done);
        if waiters.len() > 1 {
            return;
        }
        let io = Rc::clone(self);
        self.tasks.spawn(async move {
            let result = io.leave().await;
            let waiters = std::mem::take(&mut io.state.borrow_mut().detach_waiters);
            for waiter in waiters {
                let _ = waiter.send(result.clone());
            }
            io.end_if_useless();
        });
    }

    async fn leave(self: &Rc<Self>) -> Result<(), Error> {
        process::outlive_parent();
        let answer = timeout(ANSWER, self.ask_parent(Handle::DETACHING, Vec::new())).await;
        let answer =
            answer.map_err(|_| Error::Timeout { after: ANSWER, what: "the parent's leave to detach".into() })?;
        let answer = answer.map_err(|_| Error::router_ended(self.shared.me))?;
        if answer.is_dead() {
            return Err(answer.dead_error(self.shared.me));
        }
        process::mark_detached();
        self.state.borrow_mut().detached = true;
        // The last that it hears of us, behind all that is queued: whoever is
        // in between, such as sudo, may hold the link open as long as we live.
        if let Some(parent) = self.shared.parent() {
            let farewell = Message::new(parent, Handle::DETACHING, Vec::new());
            self.send(Message { lane: Lane::Log, raw: true, ..farewell });
        }
        self.flush_parent(Instant::now() + DRAIN).await;
        // Bound, since the writer may be stuck.
        let parent = self.state.borrow().routing.parent();
        if let Some(link) = parent {
            self.link_lost(link, None);
        }
        self.shared.forget_parents();
        self.state.borrow_mut().routing.become_root();
        let timers = self.dispatcher.as_ref().map(crate::engine::dispatch::Dispatcher::lift_deadlines);
        for timer in timers.into_iter().flatten() {
            self.clear_timer(timer);
        }
        Ok(())
    }

    /// Whether the calls of `context`, which has gone, go on all the same.
    pub(super) fn outlives(&self, context: ContextId) -> bool {
        self.state.borrow().detached && self.shared.parent_ids().contains(&context)
    }

    /// Nobody can call a context that has detached: it ends with its calls.
    pub(super) fn end_if_useless(self: &Rc<Self>) {
        let is_idle = self.dispatcher.as_ref().is_some_and(|dispatcher| dispatcher.is_idle());
        if is_idle && self.state.borrow().detached && self.shared.parent().is_none() {
            self.begin_shutdown(None);
        }
    }

    /// A child leaves: it is not ours to end any more.
    pub(super) fn on_detaching(self: &Rc<Self>, message: &Message, from: Option<LinkId>) {
        let Some(from) = from.filter(|_| !message.is_dead()) else { return };
        let is_child = self.child_link(message.src) == Some(from);
        if is_child && message.reply_to == Handle::NONE && self.with_links(|links| links.is_leaving(from)) {
            return self.link_lost(from, None);
        }
        if !is_child || !self.with_links(|links| links.begin_leave(from)) {
            if self.may_complain(Some(from), Fault::Detaching) {
                log_later!(self, WARN, "bad DETACHING received from context {}", message.src);
            }
            return self.refuse(message, &DeadReason::refused("bad DETACHING received"), Some(from));
        }
        let process = self.with_links(|links| links.take_process(from));
        if let Some(process) = process {
            // Nobody waits for it, not even the end of this router. If it is a
            // launcher, it ends when its work does, or when the link has.
            task_set::spawn(process.let_go());
        }
        let reply = Message::new(message.src, message.reply_to, Vec::new());
        self.send(Message { lane: Lane::Control, raw: true, ..reply });
    }
}
