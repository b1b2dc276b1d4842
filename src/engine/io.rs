//! The I/O side of one router: the owner of its state.
//!
//! Everything here runs on the I/O thread. Reader tasks hand in frames,
//! [`Command`]s come from everywhere else, and what is to leave goes into the
//! outbox of a link, whose writer task is woken. State is borrowed only
//! between two awaits.

mod control_handlers;
mod detach;
mod ids;
mod images;
mod lifecycle;
mod line_splitter;
mod manual_routes;
mod observe;
mod timers;
mod windows;

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::engine::broker::Thread;
use crate::engine::dispatch::Dispatcher;
use crate::engine::link::{Fault, LastWords, LinkState};
use crate::engine::log::log_later;
use crate::engine::log::{LogSink, LogSource, OwnEvent};
use crate::engine::ports::Callback;
use crate::engine::queue::Queue;
use crate::engine::shared::{Request, Shared};
use crate::engine::task_set::TaskSet;
use crate::routing::handles::{Handles, Registration, Sink};
use crate::routing::outbox::Left;
use crate::routing::table::{LinkId, Routing, Verdict};
use crate::sys::pipe::{Input, Stream};
use crate::wire::error::{ChannelErrorKind, DeadReason, Error};
use crate::wire::frame::Frame;
use crate::wire::message::{Arrival, ContextId, Handle, Message};
use crate::wire::reassembly::{Added, MAX_RUNS, Runs};
use control_handlers::Handler;
use images::Images;
pub(crate) use images::Missing;
use lifecycle::Guard;
use timers::Timers;
pub(crate) use timers::{Timer, TimerKey};
use windows::Windows;

/// A link whose frames fill more than this in other links' queues is not read.
const MAX_HELD: usize = 8 * 1024 * 1024;
/// What is longer than the handles of the router take.
const TOO_LARGE_FOR_HANDLE: DeadReason =
    DeadReason::fixed(ChannelErrorKind::TooLarge, "message too large for its handle");
/// What a frame in a queue costs besides its payload.
const QUEUED_FRAME: usize = 128;

/// What a new router starts with.
pub(crate) struct Setup {
    pub(crate) shared: Arc<Shared>,
    pub(crate) queue: mpsc::UnboundedReceiver<Request>,
    pub(crate) role: Role,
}

/// What differs between the master and all others.
pub(crate) enum Role {
    Master { logs: Box<dyn LogSink> },
    Child(Box<Parent>),
}

/// A child's link to its parent, and what runs its calls.
pub(crate) struct Parent {
    pub(crate) stream: Stream,
    pub(crate) dispatcher: Dispatcher,
    /// What this process and its descendants print, to be sent as log
    /// records.
    pub(crate) printed: Vec<(Input, &'static str, LogSource)>,
    /// Told when everything behind this context has ended.
    pub(crate) ended: oneshot::Sender<()>,
    /// Whether processes below this one end with it.
    pub(crate) ends_descendants: bool,
}

/// Where a message for a handle goes.
pub(crate) enum Target {
    /// To whoever awaits this one reply.
    Reply { to: oneshot::Sender<Message>, timer: Option<TimerKey>, asked: Asked },
    /// Into a receiver's queue.
    Queue(Arc<Queue>),
    /// To the user's handler.
    User(Arc<Callback>),
    /// To one of the standard handlers.
    Standard(Handler),
    /// To the window that the dead message concerns.
    Window { dst: ContextId, handle: Handle },
}

impl Target {
    /// What accounts for the messages of a handle that the user holds.
    fn queue(&self) -> Option<&Arc<Queue>> {
        match self {
            Self::Queue(queue) => Some(queue),
            Self::User(handler) => Some(&handler.queue),
            _ => None,
        }
    }
}

/// What a reply answers.
pub(crate) struct Asked {
    pub(crate) function: &'static str,
    pub(crate) since: Instant,
}

impl Asked {
    pub(crate) fn now(function: &'static str) -> Self {
        Self { function, since: Instant::now() }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reply { .. } => "Reply",
            Self::Queue(_) => "Queue",
            Self::User(_) => "User",
            Self::Standard(_) => "Standard",
            Self::Window { .. } => "Window",
        })
    }
}

pub(crate) struct Io {
    pub(crate) shared: Arc<Shared>,
    thread: Arc<Thread>,
    state: RefCell<State>,
    /// Set when the router begins to end.
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskSet,
    /// The tasks that forward what is printed here.
    printing: TaskSet,
    pub(crate) dispatcher: Option<Dispatcher>,
    /// Set in the master.
    logs: Option<Box<dyn LogSink>>,
    /// Rung when a timer was set, a link has gone, or the end has come.
    bell: Notify,
    link_gone: Notify,
}

struct State {
    routing: Routing,
    handles: Handles<Target>,
    links: HashMap<LinkId, LinkState>,
    /// Children that were lost, and what their launchers have said last.
    lost: VecDeque<(ContextId, Rc<LastWords>)>,
    windows: Windows,
    images: Images,
    queues: HashMap<Handle, Weak<Queue>>,
    runs: Runs,
    timers: Timers,
    next_link: u32,
    watchers: HashMap<ContextId, Vec<oneshot::Sender<()>>>,
    /// Connects that wait for an id of their child, and whether more ids are
    /// on their way.
    id_waiters: Vec<oneshot::Sender<ContextId>>,
    ids_requested: bool,
    end_waiters: Vec<oneshot::Sender<()>>,
    ended: bool,
    parent_gone: bool,
    ends_descendants: bool,
    dumps_on_signal: bool,
    /// This context is on its own, or on its way there.
    detached: bool,
    detach_waiters: Vec<oneshot::Sender<Result<(), Error>>>,
}

/// The I/O side of a router, and its work, which is to be run on this, the
/// I/O thread.
pub(crate) fn prepare(setup: Setup, thread: Arc<Thread>) -> (Rc<Io>, impl Future<Output = ()>) {
    let Setup { shared, queue, role } = setup;
    let (io, told) = match role {
        Role::Master { logs } => (Rc::new(Io::new(shared, thread, None, Some(logs))), None),
        Role::Child(parent) => {
            let Parent { stream, dispatcher, printed, ended, ends_descendants } = *parent;
            let io = Rc::new(Io::new(shared, thread, Some(dispatcher), None));
            for (pipe, name, log) in printed {
                io.printing.spawn(line_splitter::forward(pipe, name, log));
            }
            io.state.borrow_mut().ends_descendants = ends_descendants;
            io.attach_parent(stream);
            io.dump_on_signal();
            (io, Some(ended))
        }
    };
    io.add_standard_handlers();
    (Rc::clone(&io), run(io, queue, told))
}

async fn run(io: Rc<Io>, mut queue: mpsc::UnboundedReceiver<Request>, told: Option<oneshot::Sender<()>>) {
    let guard = Guard::new(&io);
    let mut batch = Vec::new();
    loop {
        let next = io.run_timers();
        tokio::select! {
            count = queue.recv_many(&mut batch, 256) => {
                if count == 0 {
                    break;
                }
                for request in batch.drain(..) {
                    io.carry_out(request);
                }
            }
            () = sleep_until(next) => {}
            () = io.bell.notified() => {}
        }
        if io.state.borrow().ended {
            break;
        }
    }
    // From here on every request fails, and everyone who waited for an answer
    // to an earlier one is told.
    queue.close();
    while queue.try_recv().is_ok() {}
    let waiters = std::mem::take(&mut io.state.borrow_mut().end_waiters);
    for waiter in waiters {
        let _ = waiter.send(());
    }
    if let Some(told) = told {
        let _ = told.send(());
    }
    guard.done();
}

/// Ends at `when`, if ever.
pub(crate) async fn sleep_until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when.into()).await,
        None => std::future::pending().await,
    }
}

impl Io {
    fn new(
        shared: Arc<Shared>,
        thread: Arc<Thread>,
        dispatcher: Option<Dispatcher>,
        logs: Option<Box<dyn LogSink>>,
    ) -> Self {
        let routing = Routing::new(shared.me, shared.parent_ids(), shared.unidirectional)
            .listed_in(Arc::clone(shared.directory()));
        let state = State {
            routing,
            handles: Handles::default(),
            links: HashMap::new(),
            lost: VecDeque::new(),
            windows: Windows::default(),
            images: Images::default(),
            queues: HashMap::new(),
            runs: Runs::new(shared.max_message_size),
            timers: Timers::default(),
            next_link: 1,
            watchers: HashMap::new(),
            id_waiters: Vec::new(),
            ids_requested: false,
            end_waiters: Vec::new(),
            ended: false,
            parent_gone: false,
            ends_descendants: false,
            dumps_on_signal: false,
            detached: false,
            detach_waiters: Vec::new(),
        };
        Self {
            shared,
            thread,
            state: RefCell::new(state),
            stop: CancellationToken::new(),
            tasks: TaskSet::default(),
            printing: TaskSet::default(),
            dispatcher,
            logs,
            bell: Notify::new(),
            link_gone: Notify::new(),
        }
    }

    fn carry_out(self: &Rc<Self>, request: Request) {
        match request {
            Request::Send(message) => self.send(message),
            Request::SendMetered { message, accepted } => self.send_metered(message, accepted),
            Request::Call { message, reply, timeout, function } => self.call(message, reply, timeout, function),
            Request::Cancel(handle) => self.cancel(handle),
            Request::Answer { call, chain, values, reply, grant } => {
                self.answered(call, chain, grant);
                if let Some(reply) = reply {
                    self.send_behind(values, reply);
                }
                self.end_if_useless();
            }
            Request::Grant(grant) => self.give(grant),
            Request::AddHandler { handle, registration, overwrite } => {
                if overwrite {
                    self.del_handler(handle, None);
                }
                if let Err(error) = self.add_handler(handle, registration) {
                    log_later!(self, ERROR, "{error}");
                }
            }
            Request::DelHandler(handle, queue) => self.del_handler(handle, queue.as_deref()),
            Request::Watch { context, gone } => {
                let mut state = self.state.borrow_mut();
                if state.routing.link_to(context).is_some() {
                    state.watchers.entry(context).or_default().push(gone);
                }
            }
            Request::End(context) => self.order_shutdown(context),
            Request::Detach(done) => self.detach(done),
            Request::Do(work) => work(self),
            Request::Disconnect(context) => {
                if let Some(link) = self.child_link(context) {
                    self.link_lost(link, None);
                }
            }
            Request::Read { context, on } => {
                if let Some(link) = self.child_link(context) {
                    self.with_link(link, |link| link.read(on));
                }
            }
            Request::Log(record) => self.forward_log(record),
            Request::SetLogHook(hook) => self.logs.iter().for_each(|logs| logs.set_hook(Arc::clone(&hook))),
            Request::Sleep { until, woken } => {
                self.set_timer(until, Timer::Wake(woken));
            }
            Request::Stats(reply) => {
                let _ = reply.send(self.stats());
            }
            Request::Dump => self.dump(),
            Request::DumpOnSignal => self.dump_on_signal(),
            Request::Shutdown { done } => self.begin_shutdown(done),
            #[cfg(test)]
            Request::Crash => panic!("a crash was asked for"),
        }
    }

    /// Sends a message of this context's own, without a window.
    pub(crate) fn send(self: &Rc<Self>, mut message: Message) {
        message.src = self.shared.me;
        message.auth = match message.on_behalf.take() {
            None => self.shared.me,
            Some(of) => self.state.borrow().routing.authority(of, message.dst),
        };
        let size = message.data.len() as u64;
        if size > self.shared.max_message_size {
            let max = self.shared.max_message_size;
            let reason = DeadReason::too_large(max);
            if message.wants_reply() || message.is_dead() {
                return self.refuse(&message, &reason, None);
            }
            // Whoever waits for this message, as for an answer, must not wait
            // for ever.
            let Message { dst, handle, .. } = message;
            message = Message { dst, handle, src: self.shared.me, auth: self.shared.me, ..reason.to_message() };
        }
        self.route(message, false, None, None);
    }

    /// Takes in a frame from a link.
    pub(crate) fn on_frame(self: &Rc<Self>, link: LinkId, frame: Frame) {
        self.trace("in from", link, &frame.part, frame.more);
        self.route(frame.part, frame.more, Some(link), Some(link));
    }

    /// `from` is the link that a frame came in by. `origin` is the link that
    /// has caused it, and is not read while too much of that is queued.
    fn route(self: &Rc<Self>, mut part: Message, more: bool, from: Option<LinkId>, origin: Option<LinkId>) {
        let verdict = self.state.borrow_mut().routing.route(&mut part, from);
        match verdict {
            Verdict::Local if !more && !self.state.borrow().runs.continues(&part) => {
                self.deliver(part, from);
            }
            Verdict::Local => self.assemble(part, more, from),
            Verdict::Forward(out) => self.push(out, part, more, origin),
            // A long message is refused once, at its end.
            Verdict::Refuse(reason) if !more => {
                let reason = if from.is_none() { self.own_reason(reason) } else { reason };
                self.refuse(&part, &reason, from);
            }
            Verdict::Refuse(_) => {}
            Verdict::Forged(why) => self.forged(from, &why),
        }
    }

    /// Whether to log what a link has done wrong. It may go on without end, so
    /// that is done the first, second, fourth, eighth time.
    pub(crate) fn may_complain(&self, link: Option<LinkId>, about: Fault) -> bool {
        let Some(link) = link else { return true };
        let count = self.with_link(link, |link| {
            let count = &mut link.faults[about as usize];
            *count += 1;
            *count
        });
        // Of a link that has just gone, more may have been read.
        count.is_some_and(u64::is_power_of_two)
    }

    /// See [`log_later`].
    pub(crate) fn log_later(&self, bytes: usize, event: OwnEvent) {
        match &self.logs {
            Some(logs) => logs.own(bytes, event),
            None => event(),
        }
    }

    /// Takes in a fragment of a message for this context.
    fn assemble(self: &Rc<Self>, part: Message, more: bool, from: Option<LinkId>) {
        let Added { whole, refusal, too_many } = {
            let State { runs, routing, handles, .. } = &mut *self.state.borrow_mut();
            runs.add(&part, more, || match part.handle {
                // Nothing else that is standard is longer than a frame.
                Handle(101 | 107 | 1000..) => {
                    handles.check(&part, || routing.peer(from), |of| routing.is_way_to(of, from))
                }
                _ => Err(TOO_LARGE_FOR_HANDLE),
            })
        };
        if too_many {
            return self.too_many_runs(part.src, from);
        }
        if let Some(reason) = refusal {
            self.refuse(&part, &reason, from);
            // A reply that is too large must still end the wait for it.
            if part.reply_to == Handle::NONE {
                let dead = Message { dst: part.dst, src: part.src, handle: part.handle, ..reason.to_message() };
                self.deliver(dead, from);
            }
        }
        if let Some(data) = whole {
            self.deliver(Message { data, ..part }, from);
        }
    }

    /// A context has more messages under way at once than anybody who is
    /// honest. A child loses its link by that; one behind it just is not heard,
    /// as the link is others' as well.
    fn too_many_runs(self: &Rc<Self>, src: ContextId, from: Option<LinkId>) {
        let state = self.state.borrow();
        let own = from.filter(|from| Some(*from) != state.routing.parent() && state.routing.remote(*from) == src);
        drop(state);
        let why = format!("context {src} has more than {MAX_RUNS} messages unfinished at once");
        match own {
            Some(link) => self.link_lost(link, Some(&why)),
            None => self.forged(from, &why),
        }
    }

    /// A frame is dropped that nobody honest sends.
    fn forged(&self, from: Option<LinkId>, why: &str) {
        if self.may_complain(from, Fault::Forged) {
            log_later!(self, WARN, "{why}: dropped");
        }
    }

    /// Hands a complete message to its handle.
    pub(crate) fn deliver(self: &Rc<Self>, message: Message, from: Option<LinkId>) {
        let mut state = self.state.borrow_mut();
        let State { handles, routing, .. } = &*state;
        let checked = handles.check(&message, || routing.peer(from), |of| routing.is_way_to(of, from));
        if let Err(reason) = checked {
            drop(state);
            return self.refuse(&message, &reason, from);
        }
        let (target, last) = match state.handles.sink(message.handle) {
            None => return,
            Some(Sink::Taken(target)) => (target, true),
            Some(Sink::Kept(Target::Queue(queue))) => (Target::Queue(Arc::clone(queue)), false),
            Some(Sink::Kept(Target::User(handler))) => (Target::User(Arc::clone(handler)), false),
            Some(Sink::Kept(Target::Standard(handler))) => (Target::Standard(*handler), false),
            Some(Sink::Kept(Target::Window { dst, handle })) => (Target::Window { dst: *dst, handle: *handle }, false),
            Some(Sink::Kept(Target::Reply { .. })) => return,
        };
        if let Target::Reply { timer: Some(timer), .. } = &target {
            state.timers.remove(timer);
        }
        drop(state);
        self.hand_over(target, message, from, last);
    }

    /// `last`: the handle has been given up, so nothing follows.
    fn hand_over(self: &Rc<Self>, target: Target, message: Message, from: Option<LinkId>, last: bool) {
        match target {
            // Whoever awaited it may just have lost interest.
            Target::Reply { to, .. } => drop(to.send(message)),
            Target::Queue(queue) => {
                let header = Message { data: Bytes::new(), ..message.clone() };
                if let Err(why) = queue.push(message) {
                    self.refuse(&header, &why, from);
                }
                if last {
                    self.retire(&queue);
                }
            }
            Target::User(handler) => {
                self.call_handler(&handler, message, from);
                if last {
                    self.retire(&handler.queue);
                }
            }
            Target::Standard(handler) => {
                let began = self.shared.profile_clock();
                handler(self, &message, from);
                self.shared.profile(began, |profile, took| profile.handler(message.handle, took));
            }
            Target::Window { dst, handle } => {
                let error = message.dead_error(self.shared.me);
                self.fail_window(dst, handle, error, true);
            }
        }
    }

    /// Runs a user's handler. It takes a message at once, so its sender gets
    /// the room back at once.
    fn call_handler(self: &Rc<Self>, handler: &Callback, mut message: Message, from: Option<LinkId>) {
        if let Err(why) = handler.queue.admit(&message) {
            return self.refuse(&message, &why, from);
        }
        let (src, size, dead) = (message.src, message.data.len(), message.is_dead());
        message.arrival = Arrival(Some(Arc::clone(&self.shared) as _));
        let call = std::panic::AssertUnwindSafe(|| (handler.call)(message));
        if std::panic::catch_unwind(call).is_err() {
            log_later!(self, ERROR, "a handler panicked");
        }
        if let Some(grant) = handler.queue.taken(src, size, dead) {
            self.give(grant);
        }
    }

    /// Nothing more will come to this queue: its handle has been given up.
    fn retire(self: &Rc<Self>, queue: &Arc<Queue>) {
        self.shared.ports().release(queue.handle, Some(queue));
        self.state.borrow_mut().queues.remove(&queue.handle);
        queue.latch.finish();
        queue.farewells().into_iter().for_each(|grant| self.give(grant));
    }

    /// Tells whoever awaits an answer to `message` that there will be none.
    /// Dead messages are never answered. `from` is the link that the message
    /// came in by: a neighbour that provokes refusals and does not read them
    /// is not read either.
    pub(crate) fn refuse(self: &Rc<Self>, message: &Message, reason: &DeadReason, from: Option<LinkId>) {
        let Message { dst, src, handle, .. } = message;
        let is_log = *handle == Handle::FORWARD_LOG;
        // (A log record that cannot go on must not cause another one.)
        if reason.kind == ChannelErrorKind::Refused && !is_log && self.may_complain(from, Fault::Refused) {
            log_later!(self, ERROR, "message of {src} for handle {handle} of {dst}: {reason}");
        }
        if message.wants_reply() {
            let (src, auth) = (self.shared.me, self.shared.me);
            let dead = Message { dst: message.src, src, auth, handle: message.reply_to, ..reason.to_message() };
            self.route(dead, false, None, from);
        } else if !message.is_dead() && !is_log {
            log_later!(self, DEBUG, "message of {src} for handle {handle} dropped: {reason}");
        }
    }

    /// What this context says of a route or a context that is not there: when
    /// its router ends, that is why.
    pub(crate) fn own_reason(&self, reason: DeadReason) -> DeadReason {
        if self.stop.is_cancelled() { DeadReason::ROUTER_ENDED } else { reason }
    }

    /// Puts a message or frame into a link's outbox.
    fn push(&self, out: LinkId, part: Message, more: bool, origin: Option<LinkId>) {
        self.trace("out to", out, &part, more);
        let mut state = self.state.borrow_mut();
        let bytes = part.data.len() + QUEUED_FRAME;
        let (src, ends_it) = (part.src, part.handle == Handle::SHUTDOWN && part.dst == state.routing.remote(out));
        let Some(link) = state.links.get_mut(&out) else {
            return;
        };
        link.told_to_end |= ends_it;
        if link.outbox.push(part, more, origin) {
            link.wake.notify_one();
            if let Some(origin) = origin.and_then(|origin| state.links.get_mut(&origin)) {
                origin.held += bytes;
            }
        } else {
            link.logs_dropped += 1;
            if link.logs_dropped.is_power_of_two() {
                log_later!(self, WARN, "log records of context {src} come too fast: {} dropped", link.logs_dropped);
            }
        }
    }

    /// Tells of a frame that came in or is queued to go out.
    fn trace(&self, way: &str, link: LinkId, part: &Message, more: bool) {
        if tracing::enabled!(target: "offshoot::io", tracing::Level::TRACE) {
            let remote = self.state.borrow().routing.remote(link);
            let Message { dst, src, auth, handle, reply_to, lane, data, .. } = part;
            let (bytes, more) = (data.len(), if more { ", more to come" } else { "" });
            log_later!(
                self,
                target: "offshoot::io",
                TRACE,
                "{way} {remote}: {src} to {dst}, handle {handle}, reply to {reply_to}, auth {auth}, {lane:?}, {bytes} bytes{more}"
            );
        }
    }

    /// Accounts for what has left a link's outbox: the links that it had come
    /// in by may be read again.
    pub(crate) fn account(&self, left: &[Left]) {
        let mut state = self.state.borrow_mut();
        for left in left {
            if let Some(link) = left.origin.and_then(|origin| state.links.get_mut(&origin)) {
                link.held -= left.bytes + QUEUED_FRAME;
                if link.held <= MAX_HELD {
                    link.resume.notify_one();
                }
            }
        }
    }

    /// Runs `f` on the state of a link that still exists.
    pub(crate) fn with_link<T>(&self, link: LinkId, f: impl FnOnce(&mut LinkState) -> T) -> Option<T> {
        self.state.borrow_mut().links.get_mut(&link).map(f)
    }

    /// Whether a link may be read now: by what its frames already fill, and by
    /// what the user wants.
    pub(crate) fn may_read(&self, link: LinkId) -> bool {
        self.state.borrow().links.get(&link).is_none_or(|link| link.held <= MAX_HELD && !link.paused)
    }

    fn add_handler(&self, handle: Handle, registration: Registration<Target>) -> Result<(), Error> {
        let mut state = self.state.borrow_mut();
        let queue = registration.sink.queue().cloned();
        match state.handles.add(handle, registration) {
            Ok(()) => {
                if let Some(queue) = queue {
                    state.queues.insert(handle, Arc::downgrade(&queue));
                }
                Ok(())
            }
            Err(_) => {
                if let Some(queue) = queue {
                    queue.latch.close();
                }
                Err(Error::Handle { handle, reason: "cannot register a handle that already exists".into() })
            }
        }
    }

    /// Gives up a handle; if a queue is named, only if it still stands behind
    /// it.
    fn del_handler(self: &Rc<Self>, handle: Handle, queue: Option<&Queue>) {
        let mut state = self.state.borrow_mut();
        let is_other =
            |target: &Target| !target.queue().is_some_and(|held| queue.is_none_or(|q| std::ptr::eq(&**held, q)));
        if state.handles.get(handle).is_none_or(is_other) {
            return;
        }
        let registration = state.handles.remove(handle);
        state.queues.remove(&handle);
        drop(state);
        if let Some(queue) = registration.as_ref().and_then(|registration| registration.sink.queue()) {
            queue.latch.finish();
            queue.farewells().into_iter().for_each(|grant| self.give(grant));
        }
    }
}
