//! The loop of a router on the I/O thread. It receives requests, frames and timers, and passes each to the
//! object that handles it.

use std::cell::{OnceCell, RefCell};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use crate::engine::broker::Thread;
use crate::engine::callee::Functions;
use crate::engine::dispatch::Dispatcher;
use crate::engine::inboxes::{Inboxes, Target};
use crate::engine::io::control_handles::{self, Kind};
use crate::engine::io::detaching::Detaching;
use crate::engine::io::end_of_pass::EndOfPass;
use crate::engine::io::ending::{Ending, Guard};
use crate::engine::io::ids::Ids;
use crate::engine::io::image_exchange::ImageExchange;
use crate::engine::io::logs::Logs;
use crate::engine::io::neighbours::Neighbours;
use crate::engine::io::observer::Observer;
use crate::engine::io::outgoing::Outgoing;
use crate::engine::io::switch::Switch;
use crate::engine::links::{Fault, Links};
use crate::engine::log::{LogSink, LogSource, OwnEvent, log_later};
use crate::engine::mailbox;
use crate::engine::shared::{Request, Shared};
use crate::engine::stats::Stats;
use crate::engine::task_set::TaskSet;
use crate::engine::timers::{Due, TimerKey, Timers};
use crate::routing::handles::Registration;
use crate::routing::table::{LinkId, Routing};
use crate::routing::window::Grant;
use crate::sys::pipe::{Input, Stream};
use crate::wire::error::{DeadReason, Error};
use crate::wire::frame::Frame;
use crate::wire::message::{ContextId, Handle, Lane, Message};

/// The initial parts of a new router.
pub(crate) struct Setup {
    pub(crate) shared: Arc<Shared>,
    pub(crate) queue: mailbox::Receiver<Request>,
    pub(crate) role: Role,
}

/// The parts that differ between a master, a child, and a client of another process.
pub(crate) enum Role {
    Master {
        logs: Box<dyn LogSink>,
        /// Runs the calls of programs that have joined, if the master takes any.
        dispatcher: Option<Box<Dispatcher>>,
    },
    Child(Box<Parent>),
    /// A program that has joined the tree of another process of its own accord. It runs no calls, and keeps its
    /// own log.
    Client {
        /// The link to the process that it has joined.
        stream: OwnedFd,
        logs: Box<dyn LogSink>,
    },
}

/// A child's link to its parent, and the part that runs its calls.
pub(crate) struct Parent {
    pub(crate) stream: Stream,
    pub(crate) dispatcher: Dispatcher,
    /// The output of this process and its descendants, which is sent as log records.
    pub(crate) printed: Vec<(Input, &'static str, LogSource)>,
    /// Notified when everything behind this context has ended.
    pub(crate) ended: oneshot::Sender<()>,
    /// Whether the processes below this one end with it.
    pub(crate) ends_descendants: bool,
}

/// An action at a certain time.
pub(crate) enum Timer {
    /// A call that was made here has reached its time limit.
    Reply(Handle),
    /// A call that runs or waits here has reached its time limit, or will reach it soon.
    Call(ContextId, Handle),
    /// A child that was ordered to end has not ended.
    Kill(LinkId),
    Wake(oneshot::Sender<()>),
}

impl Due for Timer {
    /// A wait that ends before its time limit leaves a void timer.
    fn is_void(&self) -> bool {
        matches!(self, Self::Wake(woken) if woken.is_closed())
    }
}

/// The I/O side of one router. It holds several objects, each with its own private part of the state. State
/// is never borrowed across an await.
pub(crate) struct Io {
    pub(crate) shared: Arc<Shared>,
    thread: Arc<Thread>,
    end: Rc<EndOfPass>,
    /// Set when the router begins to end.
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskSet,
    pub(crate) dispatcher: Option<Dispatcher>,
    /// Runs the methods of services, once there are any.
    services: OnceCell<Dispatcher>,
    switch: Switch,
    outgoing: Outgoing,
    neighbours: Neighbours,
    ids: Ids,
    images: ImageExchange,
    detaching: Detaching,
    ending: Ending,
    observer: Observer,
    logs: Logs,
    timers: RefCell<Timers<Timer>>,
    /// Notified when a timer was set, or when the router has ended.
    bell: Notify,
}

/// Creates the I/O side of a router, and the future that does its work. Run the future on this thread, the
/// I/O thread.
pub(crate) fn prepare(setup: Setup, thread: Arc<Thread>, end: Rc<EndOfPass>) -> (Rc<Io>, impl Future<Output = ()>) {
    let Setup { shared, queue, role } = setup;
    let (io, told, kind) = match role {
        Role::Master { logs, dispatcher } => {
            let kind = if dispatcher.is_some() { Kind::Server } else { Kind::Master };
            (Io::new(shared, (thread, end), dispatcher.map(|boxed| *boxed), Some(logs), Ending::default()), None, kind)
        }
        Role::Client { stream, logs } => {
            let io = Io::new(shared, (thread, end), None, Some(logs), Ending::default());
            match Stream::of_socket(stream) {
                Ok(stream) => io.neighbours.attach_parent(&io, stream),
                Err(error) => {
                    log_later!(io, WARN, "the link cannot be watched: {error}");
                    io.begin_shutdown(None);
                }
            }
            (io, None, Kind::Client)
        }
        Role::Child(parent) => {
            let Parent { stream, dispatcher, printed, ended, ends_descendants } = *parent;
            let ending = Ending::new(ends_descendants, printed);
            let io = Io::new(shared, (thread, end), Some(dispatcher), None, ending);
            io.neighbours.attach_parent(&io, stream);
            io.observer.dump_on_signal(&io);
            (io, Some(ended), Kind::Child)
        }
    };
    for (handle, registration) in control_handles::all(kind) {
        // The table is empty, so no handle can be in use yet.
        let _ = io.add_handler(handle, registration);
    }
    (Rc::clone(&io), run(io, queue, told))
}

async fn run(io: Rc<Io>, mut queue: mailbox::Receiver<Request>, told: Option<oneshot::Sender<()>>) {
    let guard = Guard::new(&io);
    let mut batch = Vec::new();
    let mut bell = std::pin::pin!(io.bell.notified());
    loop {
        let next = io.run_timers();
        tokio::select! {
            // The timers have just been served, and the bell only says that there is something to look at.
            biased;
            is_open = queue.take(&mut batch) => {
                if !is_open {
                    break;
                }
                for request in batch.drain(..) {
                    io.carry_out(request);
                }
                // Links are served in between.
                tokio::task::consume_budget().await;
            }
            () = sleep_until(next) => {}
            () = bell.as_mut() => bell.set(io.bell.notified()),
        }
        if io.ending.is_over() {
            break;
        }
    }
    // From here on every request fails. Everything that waits for an answer to an earlier request gets an
    // error.
    queue.close();
    io.ending.tell();
    if let Some(told) = told {
        let _ = told.send(());
    }
    guard.done();
}

/// A future that is ready at `when`, or never if that is `None`.
pub(crate) async fn sleep_until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when.into()).await,
        None => std::future::pending().await,
    }
}

impl Io {
    fn new(
        shared: Arc<Shared>,
        (thread, end): (Arc<Thread>, Rc<EndOfPass>),
        dispatcher: Option<Dispatcher>,
        logs: Option<Box<dyn LogSink>>,
        ending: Ending,
    ) -> Rc<Self> {
        Rc::new(Self {
            switch: Switch::new(&shared),
            shared,
            thread,
            end,
            stop: CancellationToken::new(),
            tasks: TaskSet::default(),
            dispatcher,
            services: OnceCell::new(),
            outgoing: Outgoing::default(),
            neighbours: Neighbours::default(),
            ids: Ids::default(),
            images: ImageExchange::default(),
            detaching: Detaching::default(),
            ending,
            observer: Observer::default(),
            logs: Logs::new(logs),
            timers: RefCell::default(),
            bell: Notify::new(),
        })
    }

    fn carry_out(self: &Rc<Self>, request: Request) {
        match request {
            Request::Send(message) => self.send(message),
            Request::SendMetered { message, accepted } => self.outgoing.send(self, message, accepted),
            Request::Call { message, reply, timeout, function } => {
                self.outgoing.call(self, message, reply, timeout, function);
            }
            Request::Cancel(handle) => self.outgoing.give_up(self, handle),
            Request::Answer { call, handle, chain, values, reply, grant } => {
                self.answered(call, handle, chain, grant);
                if let Some(reply) = reply {
                    self.outgoing.send_behind(self, values, reply);
                }
                self.detaching.end_if_useless(self);
            }
            Request::Grant(grant) => self.give(grant),
            Request::AddHandler { handle, registration, overwrite } => {
                if overwrite {
                    self.switch.del_handler(self, handle, None);
                }
                if let Err(error) = self.add_handler(handle, registration) {
                    log_later!(self, ERROR, "{error}");
                }
            }
            Request::DelHandler(handle, queue) => self.switch.del_handler(self, handle, queue.as_deref()),
            Request::Watch { context, gone } => self.neighbours.watch(self, context, gone),
            Request::End(context) => self.neighbours.order_shutdown(self, context),
            Request::Detach(done) => self.detaching.begin(self, done),
            Request::Do(work) => work(self),
            Request::Disconnect(context) => self.neighbours.disconnect(self, context),
            Request::Read { context, on } => self.neighbours.read(self, context, on),
            Request::Log(record) => self.logs.forward(self, record),
            Request::SetLogHook(hook) => self.logs.set_hook(hook),
            Request::Sleep { until, woken } => {
                self.set_timer(until, Timer::Wake(woken));
            }
            Request::Stats(reply) => drop(reply.send(self.observer.stats(self))),
            Request::Dump => self.observer.dump(self),
            Request::DumpOnSignal => self.observer.dump_on_signal(self),
            Request::Shutdown { done } => self.begin_shutdown(done),
            #[cfg(test)]
            Request::Crash => panic!("a crash was asked for"),
        }
    }

    /// Handles a message for a control handle. Not inlined: otherwise the stack frame of the caller, through
    /// which replies and data pass, would be larger.
    #[inline(never)]
    pub(super) fn on_control(self: &Rc<Self>, message: &Message, from: Option<LinkId>) {
        match message.handle {
            Handle::CALL_FUNCTION => {
                if let Some(dispatcher) = self.dispatcher.as_ref().filter(|_| !message.is_dead()) {
                    dispatcher.on_call(self, message, from);
                }
            }
            Handle::CALL_SERVICE if !message.is_dead() => self.on_service_call(message, from),
            Handle::CREDIT => self.outgoing.on_credit(self, message),
            Handle::CANCEL => self.on_cancel(message),
            Handle::WAITS => self.with_inboxes(|inboxes| inboxes.on_waits(message)),
            Handle::FORWARD_LOG => self.logs.on_record(self, message, from),
            Handle::ADD_ROUTE => self.neighbours.on_add_route(self, message, from),
            Handle::DEL_ROUTE => self.neighbours.on_del_route(self, message, from),
            Handle::ALLOCATE_ID => self.ids.on_allocate(self, message, from),
            Handle::GET_IMAGE => self.images.on_get_image(self, message, from),
            Handle::LOAD_IMAGE => self.images.on_load_image(self, message),
            Handle::STATS => self.observer.on_stats(self, message, from),
            Handle::DETACHING => self.detaching.on_detaching(self, message, from),
            Handle::SHUTDOWN if !message.is_dead() && !self.detaching.has_left() => self.begin_shutdown(None),
            _ => {}
        }
    }

    /// Only the context that made a call may cancel it. Calls are stored by the source of the message, which
    /// routing has verified.
    fn on_cancel(&self, message: &Message) {
        let Ok(handle) = <[u8; 4]>::try_from(&message.data[..]) else { return };
        let handle = Handle(u32::from_be_bytes(handle));
        match self.dispatchers().find(|dispatcher| dispatcher.knows(message.src, handle)) {
            Some(dispatcher) => dispatcher.cancel(message.src, handle),
            // The call has ended, or comes later.
            None => self.dispatchers().for_each(|dispatcher| dispatcher.cancel(message.src, handle)),
        }
    }

    /// What runs the calls that come here: of functions, and of services.
    pub(super) fn dispatchers(&self) -> impl Iterator<Item = &Dispatcher> {
        self.dispatcher.iter().chain(self.services.get())
    }

    /// What runs the calls that come to a handle.
    pub(super) fn dispatcher_of(&self, handle: Handle) -> Option<&Dispatcher> {
        self.dispatchers().find(|dispatcher| dispatcher.handle() == handle)
    }

    /// Handles a call of a service. The first call of a parent starts the services of a child.
    fn on_service_call(self: &Rc<Self>, message: &Message, from: Option<LinkId>) {
        if self.services.get().is_none() {
            let functions = self.dispatcher.as_ref().and_then(Dispatcher::services);
            let Some(functions) = functions else {
                return self.refuse(message, &DeadReason::INVALID_HANDLE, from);
            };
            self.serve(functions, None);
        }
        if let Some(services) = self.services.get() {
            services.on_call(self, message, from);
        }
    }

    /// Accepts calls of services from now on. At most `size` of them run at once.
    pub(crate) fn serve(&self, functions: Box<dyn Functions>, size: Option<usize>) {
        let services = self.services.get_or_init(|| Dispatcher::new(functions, Handle::CALL_SERVICE).0);
        if let Some(size) = size {
            services.set_size(size);
        }
        self.stop_serving();
        let _ = self.add_handler(Handle::CALL_SERVICE, control_handles::services());
    }

    /// Refuses calls of services from now on. Those that were accepted before still run.
    pub(crate) fn stop_serving(&self) {
        drop(self.remove_handler(Handle::CALL_SERVICE));
    }

    /// Handles the end of a call that ran here: it has a reply, or was cancelled.
    fn answered(
        self: &Rc<Self>,
        call: (ContextId, Handle),
        to: Handle,
        chain: Option<(ContextId, u32)>,
        grant: Option<Grant>,
    ) {
        if let Some(dispatcher) = self.dispatcher_of(to)
            && let Some(timer) = dispatcher.finished(self, call, chain)
        {
            self.clear_timer(timer);
        }
        if let Some(grant) = grant {
            self.give(grant);
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

    /// Starts the end of the router. Its children end first, with a grace period.
    pub(crate) fn begin_shutdown(self: &Rc<Self>, done: Option<oneshot::Sender<()>>) {
        self.ending.begin(self, self.thread.grace(), done);
    }

    /// Whether the router has to wait for something before it can end.
    pub(crate) fn is_busy(&self) -> bool {
        // The two tasks of the link to the parent end without help.
        self.with_routing(|routing| {
            let own = if routing.parent().is_some() { 2 } else { 0 };
            !routing.children().is_empty() || self.tasks.len() > own
        })
    }

    /// Waits until the frames that are queued for the parent have been sent, and closes that link.
    pub(super) async fn flush_parent(&self, deadline: tokio::time::Instant) {
        let Some(parent) = self.with_routing(|routing| routing.parent()) else { return };
        if let Some(flushed) = self.with_links(|links| links.begin_flush(parent)) {
            let _ = tokio::time::timeout_at(deadline, flushed.cancelled()).await;
        }
    }

    /// Makes the loop check its timers, and whether the router has ended.
    pub(super) fn ring(&self) {
        self.bell.notify_one();
    }

    pub(crate) fn set_timer(&self, when: Instant, timer: Timer) -> TimerKey {
        let key = self.thread.timer_key(when);
        self.timers.borrow_mut().insert(key, timer);
        self.ring();
        key
    }

    pub(crate) fn clear_timer(&self, key: TimerKey) {
        self.timers.borrow_mut().remove(key);
    }

    /// Handles the timers that are due. Returns the time of the next one.
    fn run_timers(self: &Rc<Self>) -> Option<Instant> {
        loop {
            let due = self.timers.borrow_mut().take_due();
            match due {
                Err(next) => return next,
                Ok(Timer::Reply(handle)) => self.outgoing.give_up(self, handle),
                Ok(Timer::Call(src, handle)) => {
                    if let Some(dispatcher) = self.dispatchers().find(|dispatcher| dispatcher.knows(src, handle)) {
                        dispatcher.on_timer(self, src, handle);
                    }
                }
                Ok(Timer::Kill(link)) => self.with_links(|links| links.kill(link)),
                Ok(Timer::Wake(woken)) => drop(woken.send(())),
            }
        }
    }
}

/// The functions that the objects of a router, and the layers above, call.
impl Io {
    /// Sends a message of this context's own, without a window.
    pub(crate) fn send(self: &Rc<Self>, message: Message) {
        self.switch.send(self, message, None);
    }

    /// The same for a message that a frame of a neighbour has caused. If such messages fill a queue, that
    /// neighbour is not read.
    pub(crate) fn send_because_of(self: &Rc<Self>, cause: LinkId, message: Message) {
        self.switch.send(self, message, Some(cause));
    }

    /// Handles a frame from a link.
    pub(crate) fn on_frame(self: &Rc<Self>, link: LinkId, frame: Frame) {
        self.switch.on_frame(self, link, frame);
    }

    /// Has [`Links::write_due`] called when the tasks that are ready have run.
    pub(super) fn will_write(self: &Rc<Self>) {
        self.end.write(self);
    }

    /// Hands the reply to a call to its caller when the tasks that are ready have run.
    pub(crate) fn hand(&self, caller: oneshot::Sender<Message>, reply: Message) {
        self.end.hand(caller, reply);
    }

    /// Hands the calls of the dispatchers to the main thread when the tasks that are ready have run.
    pub(crate) fn will_hand_calls(self: &Rc<Self>) {
        self.end.hand_calls(self);
    }

    /// Hands them over now.
    pub(super) fn hand_calls(&self) {
        self.dispatchers().for_each(Dispatcher::hand_calls);
    }

    /// The time, as it was early in this pass of the tasks.
    pub(crate) fn now(&self) -> Instant {
        self.end.now()
    }

    /// Returns room to a sender.
    pub(crate) fn give(self: &Rc<Self>, grant: Grant) {
        let message = Message::new(grant.to, Handle::CREDIT, grant.encode());
        self.send(Message { lane: Lane::Control, raw: true, ..message });
    }

    /// Answers a message with a dead message; see [`Switch::refuse`].
    pub(crate) fn refuse(self: &Rc<Self>, message: &Message, reason: &DeadReason, from: Option<LinkId>) {
        self.switch.refuse(self, message, reason, from);
    }

    /// Delivers the last message to a target whose handle was removed.
    pub(super) fn hand_over_last(self: &Rc<Self>, target: Target, message: Message) {
        self.switch.hand_over(self, target, message, None, true);
    }

    pub(super) fn add_handler(&self, handle: Handle, registration: Registration<Target>) -> Result<(), Error> {
        self.with_inboxes(|inboxes| inboxes.add(handle, registration))
    }

    pub(super) fn remove_handler(&self, handle: Handle) -> Option<Registration<Target>> {
        self.with_inboxes(|inboxes| inboxes.remove(handle))
    }

    /// The reason to report for a route or a context that does not exist. If the router is ending, that is
    /// the reason.
    pub(super) fn own_reason(&self, reason: DeadReason) -> DeadReason {
        if self.stop.is_cancelled() { DeadReason::ROUTER_ENDED } else { reason }
    }

    /// See [`log_later`].
    pub(crate) fn log_later(&self, bytes: usize, event: OwnEvent) {
        self.logs.own(bytes, event);
    }

    /// See [`Switch::may_complain`].
    pub(super) fn may_complain(&self, link: Option<LinkId>, about: Fault) -> bool {
        self.switch.may_complain(link, about)
    }

    pub(crate) fn with_routing<T>(&self, f: impl FnOnce(&mut Routing) -> T) -> T {
        self.switch.with_routing(f)
    }

    pub(crate) fn with_links<T>(&self, f: impl FnOnce(&mut Links) -> T) -> T {
        self.switch.with_links(f)
    }

    pub(crate) fn with_inboxes<T>(&self, f: impl FnOnce(&mut Inboxes) -> T) -> T {
        self.switch.with_inboxes(f)
    }

    pub(super) fn describe(&self, stats: &mut Stats) {
        self.switch.describe(stats);
    }

    pub(super) fn thread(&self) -> &Thread {
        &self.thread
    }

    pub(crate) fn outgoing(&self) -> &Outgoing {
        &self.outgoing
    }

    pub(crate) fn neighbours(&self) -> &Neighbours {
        &self.neighbours
    }

    pub(crate) fn ids(&self) -> &Ids {
        &self.ids
    }

    pub(crate) fn images(&self) -> &ImageExchange {
        &self.images
    }

    pub(super) fn detaching(&self) -> &Detaching {
        &self.detaching
    }

    pub(super) fn ending(&self) -> &Ending {
        &self.ending
    }

    pub(super) fn observer(&self) -> &Observer {
        &self.observer
    }

    pub(super) fn logs(&self) -> &Logs {
        &self.logs
    }
}
