//! Beginnings and ends: of links, of contexts, of the router itself.

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::engine::io::control_handlers;
use crate::engine::io::{Io, Target, Timer};
use crate::engine::last_words::LastWords;
use crate::engine::log::log_later;
use crate::engine::task_set;
use crate::routing::table::{Gone, LinkId};
use crate::sys::pipe::Stream;
use crate::sys::process::{self, Launched};
use crate::wire::error::DeadReason;
use crate::wire::message::{ContextId, Handle, Lane, Message};

/// Time that children have to end when the parent has vanished.
const ORPHAN_GRACE: Duration = Duration::from_millis(500);
/// A child that has had its time to end is given this much more before it is
/// killed, since it learnt later that it was to end.
const KILL_DELAY: Duration = Duration::from_millis(500);
/// Time for what was printed last to arrive.
const LAST_LINES: Duration = Duration::from_millis(100);
/// Time for what is logged last to be handed on.
const LAST_RECORDS: Duration = Duration::from_secs(1);
/// A launcher whose connection was lost has this long to say why.
#[cfg(feature = "cli")]
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Time for processes to be reaped when all else has ended.
const REAP: Duration = Duration::from_secs(2);

/// A neighbour that is to be attached.
pub(crate) struct Neighbour<'a> {
    pub(crate) context: ContextId,
    pub(crate) name: &'a str,
    /// What comes from it acts under this authority, if there is one.
    pub(crate) authority: Option<ContextId>,
    pub(crate) stream: Stream,
    /// What was read behind the handshake.
    pub(crate) rest: Vec<u8>,
    /// The process behind it, if this context has started it, and what that says last.
    pub(crate) process: Option<(Launched, Rc<LastWords>)>,
}

impl Io {
    pub(super) fn attach_parent(self: &Rc<Self>, stream: Stream) {
        let Some(parent) = self.shared.parent() else {
            return;
        };
        let (id, closed) = self.with_links(|links| links.open(None, None));
        self.state.borrow_mut().routing.add_parent(id, parent);
        crate::engine::link::start(self, id, closed, stream, Vec::new());
    }

    /// Attaches a child that has said hello, or another neighbour on the far side of the parent, and announces it
    /// upstream.
    pub(crate) fn attach(self: &Rc<Self>, neighbour: Neighbour<'_>) {
        let Neighbour { context, name, authority, stream, rest, process } = neighbour;
        let (process, last_words) = process.unzip();
        let (id, closed) = self.with_links(|links| links.open(process, last_words));
        self.state.borrow_mut().routing.add_child(id, context, name.to_owned(), authority);
        if let Some(parent) = self.shared.parent() {
            self.send(control_handlers::add_route(parent, context, name));
        }
        crate::engine::link::start(self, id, closed, stream, rest);
    }

    /// Tells what the launcher of a child that was lost has said last.
    #[cfg(feature = "cli")]
    pub(crate) fn tell_last_words(&self, child: ContextId, to: oneshot::Sender<Vec<String>>) {
        let Some(words) = self.with_links(|links| links.last_words(child)) else { return };
        task_set::spawn(async move {
            let _ = tokio::time::timeout(LAST_WORDS, words.ended.cancelled()).await;
            let _ = to.send(words.lines());
        });
    }

    /// Waits until any link has ended.
    pub(crate) async fn link_has_gone(&self) {
        self.link_gone.notified().await;
    }

    /// A link has ended, for the reason given if it was not a clean end.
    pub(crate) fn link_lost(self: &Rc<Self>, link: LinkId, why: Option<&str>) {
        let mut state = self.state.borrow_mut();
        let child = state.routing.remote(link);
        let Some(closed) = state.links.close(link, child) else {
            return;
        };
        // What a context prints that was told to end, or another one behind it, does no harm.
        if let Some(why) = why.filter(|_| !closed.told_to_end) {
            log_later!(self, WARN, "link to context {child} lost: {why}");
        }
        let was_parent = state.routing.parent() == Some(link);
        let gone = state.routing.del_link(link);
        drop(state);
        if was_parent {
            self.state.borrow_mut().parent_gone = true;
        }
        if let Some(process) = closed.process {
            // Whoever waits for the end of this child waits until it is
            // reaped.
            let watchers = self.state.borrow_mut().watchers.remove(&child).unwrap_or_default();
            self.tasks.spawn(async move {
                process.reap().await;
                for watcher in watchers {
                    let _ = watcher.send(());
                }
            });
        }
        self.contexts_gone(&gone);
        self.link_gone.notify_waiters();
        if was_parent && !self.state.borrow().detached {
            self.begin_end(ORPHAN_GRACE, None);
        }
    }

    /// Wakes everyone who waits for a context that has gone, and tells the
    /// neighbours that have dealt with it.
    pub(super) fn contexts_gone(self: &Rc<Self>, gone: &Gone) {
        for &(link, context) in &gone.tell {
            let mut state = self.state.borrow_mut();
            let mut notice = control_handlers::del_route(state.routing.remote(link), context);
            notice.src = self.shared.me;
            notice.auth = self.shared.me;
            state.links.push_farewell(link, context, notice);
        }
        for &context in &gone.contexts {
            let mut state = self.state.borrow_mut();
            let orphans = state.handles.orphans(context);
            let watchers = state.watchers.remove(&context).unwrap_or_default();
            state.runs.forget(context);
            state.queues.retain(|_, queue| queue.upgrade().inspect(|queue| queue.forget(context)).is_some());
            for orphan in &orphans {
                if let Target::Reply { timer: Some(timer), .. } = &orphan.sink {
                    state.timers.remove(*timer);
                }
            }
            drop(state);
            if let Some(dispatcher) = &self.dispatcher
                && !self.outlives(context)
            {
                dispatcher.forget(context);
            }
            self.drop_windows(context);
            let dead = self.own_reason(DeadReason::DISCONNECTED).to_message();
            for orphan in orphans {
                self.hand_over(orphan.sink, Message { src: self.shared.me, ..dead.clone() }, None, true);
            }
            for watcher in watchers {
                let _ = watcher.send(());
            }
        }
    }

    /// Orders a context, and so everything behind it, to end.
    pub(crate) fn order_shutdown(self: &Rc<Self>, context: ContextId) {
        if let Some(id) = self.child_link(context)
            && self.with_links(|links| links.order_to_end(id))
        {
            self.set_timer(Instant::now() + self.thread.child_grace() + KILL_DELAY, Timer::Kill(id));
        }
        let order = Message { lane: Lane::Control, ..Message::new(context, Handle::SHUTDOWN, Bytes::new()) };
        self.send(order);
    }

    /// The link to a direct child.
    pub(super) fn child_link(&self, context: ContextId) -> Option<LinkId> {
        let routing = &self.state.borrow().routing;
        routing.link_to(context).filter(|link| routing.remote(*link) == context)
    }

    /// Ends the router: children first, which have their grace to do so.
    pub(crate) fn begin_shutdown(self: &Rc<Self>, done: Option<oneshot::Sender<()>>) {
        self.begin_end(self.thread.grace(), done);
    }

    fn begin_end(self: &Rc<Self>, grace: Duration, done: Option<oneshot::Sender<()>>) {
        self.state.borrow_mut().end_waiters.extend(done);
        if self.stop.is_cancelled() {
            return;
        }
        self.stop.cancel();
        if let Some(dispatcher) = &self.dispatcher {
            dispatcher.stop();
        }
        let (io, guard) = (Rc::clone(self), Guard::new(self));
        task_set::spawn(async move {
            io.end(grace).await;
            guard.done();
        });
    }

    async fn end(self: &Rc<Self>, grace: Duration) {
        let deadline = tokio::time::Instant::now() + grace;
        let children = self.state.borrow().routing.children();
        for (_, child) in &children {
            self.order_shutdown(*child);
        }
        loop {
            let changed = self.link_gone.notified();
            if self.state.borrow().routing.children().is_empty() {
                break;
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                break;
            }
        }
        // Not in the head of the loop, where it would stay borrowed.
        let left = self.state.borrow().routing.children();
        for (link, child) in left {
            log_later!(
                self,
                ERROR,
                "pending work still existed {grace:?} after shutdown began: context {child} has not ended and is killed"
            );
            self.with_links(|links| links.kill(link));
        }
        for (link, _) in &children {
            self.link_lost(*link, None);
        }
        if self.dispatcher.is_some() {
            // All calls are being cancelled, and with them their commands.
            process::groups_ended().await;
        }
        if self.state.borrow().ends_descendants {
            process::end_descendants().await;
        }
        // What this context has said reaches its parent before it ends.
        if self.dispatcher.is_some() && !self.state.borrow().parent_gone {
            process::close_stdio();
            // Subprocesses may hold their ends for longer than anyone cares.
            let _ = tokio::time::timeout(LAST_LINES, self.printing.ended()).await;
            // The lines are in the queue of requests, behind this moment.
            tokio::task::yield_now().await;
            self.tell_profile();
            self.flush_parent(deadline).await;
        }
        // Reaping is bounded; nothing else outlives the stop.
        let _ = tokio::time::timeout(REAP, self.tasks.ended()).await;
        self.tell_handlers();
        if let Some(logs) = &self.logs {
            self.tell_profile();
            // A reader that does not take them does not hold up the end.
            let _ = tokio::time::timeout(LAST_RECORDS, logs.close()).await;
        }
        self.state.borrow_mut().ended = true;
        self.bell.notify_one();
    }

    /// Everyone who waits for a message learns that there will be none.
    fn tell_handlers(self: &Rc<Self>) {
        let handlers = self.state.borrow_mut().handles.drain();
        let dead = Message { src: self.shared.me, ..DeadReason::BROKER_EXITED.to_message() };
        for handler in handlers {
            if matches!(handler.sink, Target::Reply { .. } | Target::Queue(_) | Target::User(_)) {
                self.hand_over(handler.sink, dead.clone(), None, true);
            }
        }
    }

    /// Whether something has to end before this router can.
    pub(crate) fn is_busy(&self) -> bool {
        // The two tasks of the link to the parent end by themselves.
        let state = self.state.borrow();
        let own = if state.routing.parent().is_some() { 2 } else { 0 };
        !state.routing.children().is_empty() || self.tasks.len() > own
    }

    /// Ends everything at once: whoever waits is told, children are killed.
    fn crash(self: &Rc<Self>) {
        self.stop.cancel();
        if let Some(dispatcher) = &self.dispatcher {
            dispatcher.stop();
        }
        self.tell_handlers();
        let mut state = self.state.borrow_mut();
        state.links.abandon();
        let dropped = (std::mem::take(&mut state.watchers), std::mem::take(&mut state.id_waiters));
        let waiters = std::mem::take(&mut state.end_waiters);
        state.ended = true;
        drop(state);
        drop((dropped, waiters));
        self.bell.notify_one();
    }

    /// Lets what is queued for the parent leave, and ends that link.
    pub(super) async fn flush_parent(&self, deadline: tokio::time::Instant) {
        let parent = self.state.borrow().routing.parent();
        let Some(parent) = parent else { return };
        if let Some(flushed) = self.with_links(|links| links.begin_flush(parent)) {
            let _ = tokio::time::timeout_at(deadline, flushed.cancelled()).await;
        }
    }
}

/// Sees to it that nobody waits for ever for a router whose own code has
/// panicked, or whose thread has.
pub(super) struct Guard {
    io: Option<Rc<Io>>,
}

impl Guard {
    pub(super) fn new(io: &Rc<Io>) -> Self {
        Self { io: Some(Rc::clone(io)) }
    }

    pub(super) fn done(mut self) {
        self.io = None;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(io) = self.io.take() {
            if std::thread::panicking() {
                tracing::error!("broker crashed");
            }
            io.crash();
        }
    }
}
