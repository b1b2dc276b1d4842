//! The end of a router. First it ends its children, then the processes below this one. Then it sends the last
//! output and records of this context.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};

use crate::engine::dispatch::Dispatcher;
use crate::engine::inboxes::Target;
use crate::engine::io::Io;
use crate::engine::io::line_splitter;
use crate::engine::log::{LogSource, log_later};
use crate::engine::task_set::{self, TaskSet};
use crate::sys::blocking::on_other_thread;
use crate::sys::deadline::deadline;
use crate::sys::pipe::Input;
use crate::sys::process;
use crate::wire::error::DeadReason;
use crate::wire::message::Message;

/// Time for the last output lines to arrive.
const LAST_LINES: Duration = Duration::from_millis(100);
/// Time for processes to be reaped after everything else has ended.
const REAP: Duration = Duration::from_secs(2);

/// The progress of the end of a router.
#[derive(Default)]
pub(crate) struct Ending {
    /// Notified when the router has ended.
    waiters: RefCell<Vec<oneshot::Sender<()>>>,
    is_over: Cell<bool>,
    /// Whether the processes below this one end with it.
    ends_descendants: bool,
    /// The tasks that forward the output of this process and its descendants.
    printing: TaskSet,
}

impl Ending {
    pub(super) fn new(ends_descendants: bool, printed: Vec<(Input, &'static str, LogSource)>) -> Self {
        let this = Self { ends_descendants, ..Self::default() };
        for (pipe, name, log) in printed {
            this.printing.spawn(line_splitter::forward(pipe, name, log));
        }
        this
    }

    /// Whether the router has ended.
    pub(super) fn is_over(&self) -> bool {
        self.is_over.get()
    }

    /// Notifies all that wait for the end.
    pub(super) fn tell(&self) {
        for waiter in self.waiters.take() {
            let _ = waiter.send(());
        }
    }

    /// Starts the end, unless it has started. Children have the time `grace` to end, and are then killed.
    pub(super) fn begin(&self, io: &Rc<Io>, grace: Duration, done: Option<oneshot::Sender<()>>) {
        self.waiters.borrow_mut().extend(done);
        if io.stop.is_cancelled() {
            return;
        }
        io.stop.cancel();
        io.dispatchers().for_each(Dispatcher::stop);
        let (io, guard) = (Rc::clone(io), Guard::new(io));
        task_set::spawn(async move {
            io.ending().end(&io, grace).await;
            guard.done();
        });
    }

    async fn end(&self, io: &Rc<Io>, grace: Duration) {
        let deadline = deadline(grace).into();
        end_children(io, grace, deadline).await;
        for closing in io.dispatchers().filter_map(Dispatcher::closing) {
            let _ = timeout_at(deadline, on_other_thread(closing)).await;
        }
        if io.dispatcher.is_some() {
            // All calls, and the commands that they run, are being cancelled.
            process::groups_ended().await;
        }
        if self.ends_descendants {
            process::end_descendants().await;
        }
        // The last output and records of this context are sent to its parent before it ends.
        if io.dispatcher.is_some() && !io.neighbours().parent_gone() {
            process::close_stdio();
            // Subprocesses may keep the other ends of the pipes open for a long time.
            let _ = timeout(LAST_LINES, self.printing.ended()).await;
            // The lines are requests in the queue. This lets the loop handle them first.
            tokio::task::yield_now().await;
            io.observer().tell_profile(io);
            io.flush_parent(deadline).await;
        } else if io.dispatcher.is_none() {
            // What a program that has joined has cancelled is still sent to the one that it has joined.
            io.flush_parent(deadline).await;
        }
        // Reaping has a time limit. All other tasks end when `stop` is cancelled.
        let _ = timeout(REAP, io.tasks.ended()).await;
        tell_handlers(io);
        if io.dispatcher.is_none() {
            io.observer().tell_profile(io);
        }
        io.logs().close().await;
        self.is_over.set(true);
        io.ring();
    }

    /// Ends everything immediately. Notifies all waiters, and kills the children.
    fn crash(&self, io: &Rc<Io>) {
        io.stop.cancel();
        io.dispatchers().for_each(Dispatcher::stop);
        tell_handlers(io);
        io.with_links(|links| links.abandon());
        io.neighbours().drop_watchers();
        io.ids().drop_waiters();
        self.waiters.take();
        self.is_over.set(true);
        io.ring();
    }
}

/// Orders all children to end. Kills those that have not ended by the deadline.
async fn end_children(io: &Rc<Io>, grace: Duration, deadline: Instant) {
    let neighbours = io.neighbours();
    let children = || io.with_routing(|routing| routing.children());
    let all = children();
    for (_, child) in &all {
        neighbours.order_shutdown(io, *child);
    }
    loop {
        let changed = neighbours.link_gone();
        if children().is_empty() || timeout_at(deadline, changed).await.is_err() {
            break;
        }
    }
    for (link, child) in children() {
        let name = io.with_routing(|routing| routing.name(child).unwrap_or_default().to_owned());
        log_later!(
            io,
            ERROR,
            "pending work still existed {grace:?} after shutdown began: context {child} ({name}) has not ended and is killed"
        );
        io.with_links(|links| links.kill(link));
    }
    for (link, _) in all {
        neighbours.lost(io, link, None);
    }
}

/// Sends a dead message to all targets that wait for messages, since no further messages arrive.
fn tell_handlers(io: &Rc<Io>) {
    let targets = io.with_inboxes(|inboxes| inboxes.drain());
    let dead = Message { src: io.shared.me, ..DeadReason::BROKER_EXITED.to_message() };
    for target in targets {
        if matches!(target, Target::Reply { .. } | Target::Queue(_) | Target::User(_)) {
            io.hand_over_last(target, dead.clone());
        }
    }
}

/// Ends a router immediately if its own code or its thread has panicked. Otherwise its waiters would wait
/// forever.
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
            io.ending().crash(&io);
        }
    }
}
