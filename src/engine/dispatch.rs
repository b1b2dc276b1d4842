//! Received calls: which thread runs them, and how they are cancelled.
//!
//! Functions, plain or async, run on the main thread, one at a time, in the order of the calls. Concurrent
//! functions run on a bounded pool of threads. Built-in functions are tasks of the I/O thread.
//!
//! - `pool`: these threads

mod pool;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;

use self::pool::Pool;
use crate::engine::callee::{CallState, Callee, Failure, Functions, IncomingCall, Outcome, Running, Unavailable};
use crate::engine::io::{Io, Timer};
use crate::engine::log::MAX_NAME;
use crate::engine::log::cut;
use crate::engine::mailbox;
use crate::engine::shared::{Request, Shared};
use crate::engine::stats::ServedCall;
use crate::engine::timers::TimerKey;
use crate::routing::chains::{Chains, Failed};
use crate::routing::runs_on::RunsOn;
use crate::routing::table::LinkId;
use crate::routing::window::{MAX_CALLS, ReceiveWindows};
use crate::sys::hash::HashMap;
use crate::sys::panic;
use crate::wire::call_payload::{CALL_ERROR, CallHeader, OTHER_ERROR, encode_error};
use crate::wire::error::{DeadReason, Error};
use crate::wire::message::{ContextId, Handle, Lane, Message};

/// Maximum number of remembered cancellations of one caller: as many as it may have calls of functions and of services under
/// way, since a cancellation does not say which it is about.
const MAX_EARLY: usize = 2 * MAX_CALLS as usize;

/// The I/O side's record of the calls that run here.
pub(crate) struct Dispatcher {
    functions: Box<dyn Functions>,
    /// The handle that its calls come to.
    handle: Handle,
    queue: mailbox::Sender<Invocation>,
    /// The calls that go to that queue at the end of this pass of the tasks.
    ready: RefCell<Vec<Invocation>>,
    pool: Arc<Pool>,
    inlets: Arc<Mutex<ReceiveWindows>>,
    /// Every call that was received and has not ended, by its caller and the handle for its reply.
    calls: RefCell<HashMap<(ContextId, Handle), Call>>,
    /// The number of calls that were received.
    received: Cell<u64>,
    chains: RefCell<Chains<Invocation>>,
    /// Cancellations that arrived before their calls, as control messages overtake calls. Such a call does not run. Those that
    /// arrived after the answers are among them, until newer ones take their places.
    early: RefCell<HashMap<ContextId, VecDeque<Handle>>>,
    /// Set when the context begins to end.
    stopped: Cell<bool>,
}

struct Call {
    state: Arc<CallState>,
    /// Calls are numbered in the order of their arrival.
    number: u64,
    timer: Option<TimerKey>,
    /// The time limit, as long as the timer is set to an earlier time.
    deadline: Option<Instant>,
}

/// A call that is about to run.
pub(crate) struct Invocation {
    shared: Arc<Shared>,
    callee: Box<dyn Callee>,
    args: Bytes,
    /// The size that the message occupies in the window of its sender.
    size: usize,
    /// The key of the call in [`Dispatcher::calls`]. If no reply is wanted, it is a handle of this context that nothing is
    /// sent to.
    key: (ContextId, Handle),
    reply_to: Handle,
    /// The handle of the caller that receives the values that the function sends.
    values: Handle,
    /// The number of the chain that the call belongs to, and the reason why that chain has failed, if it has.
    chain: Option<(u32, Failed)>,
    call: IncomingCall,
    inlets: Arc<Mutex<ReceiveWindows>>,
    /// The handle that the call came to.
    handle: Handle,
}

/// The header of a call, and what it calls, or the reason why it cannot be called.
type Found<'a> = (CallHeader<'a>, Result<Box<dyn Callee>, Error>);

/// The outcome of a call.
enum Ended {
    Outcome(Outcome),
    /// The call was cancelled.
    Cancelled,
    /// The call did not run because an earlier call of its chain had failed.
    NotRun(Bytes),
    /// The call could not run.
    Unavailable(Bytes),
}

impl Dispatcher {
    /// Creates the dispatcher, and the queue of plain calls for the main thread.
    pub(crate) fn new(functions: Box<dyn Functions>, handle: Handle) -> (Self, mailbox::Receiver<Invocation>) {
        // The windows of the callers bound it.
        let (queue, calls) = mailbox::mailbox();
        let dispatcher = Self {
            functions,
            handle,
            queue,
            ready: RefCell::default(),
            pool: Arc::default(),
            inlets: Arc::default(),
            calls: RefCell::default(),
            received: Cell::new(0),
            chains: RefCell::default(),
            early: RefCell::default(),
            stopped: Cell::new(false),
        };
        (dispatcher, calls)
    }

    /// Handles a call that the policy of the handle has accepted.
    pub(crate) fn on_call(&self, io: &Rc<Io>, message: &Message, from: Option<LinkId>) {
        let callee = self.find(io, message, from);
        // What is refused takes no room. In a chain it takes its place, so that the calls after it do not run.
        if let Ok((CallHeader { chain: 0, .. }, Err(Error::Channel(error)))) = callee {
            // By the answer, its caller takes the room back.
            if !message.wants_reply() {
                self.was_refused(io, message.src, message.data.len());
            }
            let reason = DeadReason { kind: error.kind, text: error.reason.into() };
            return io.refuse(message, &reason, from);
        }
        if !self.admit(io, message.src, message.data.len()) {
            return io.refuse(message, &DeadReason::WINDOW_EXCEEDED, from);
        }
        let key = (message.src, message.reply_to);
        let (CallHeader { chain, values, args, name }, callee) = match callee {
            Ok(asked) => asked,
            Err(error) => return self.fail(io, message, &error),
        };
        let overtaken = self.take_early(key);
        if chain == 0 && overtaken {
            return self.release(io, message.src, message.data.len());
        }
        let chain = match chain {
            0 => None,
            number if name.is_empty() => {
                self.chains.borrow_mut().forget((message.src, number));
                return self.release(io, message.src, message.data.len());
            }
            number => match self.chains.borrow_mut().open((message.src, number)) {
                Some(failed) => Some((number, failed)),
                None => {
                    let reason = "too many chains have failed; reset or drop those that are no longer needed";
                    let error = DeadReason::refused(reason).at(io.shared.me);
                    return self.fail(io, message, &error);
                }
            },
        };
        let callee: Box<dyn Callee> = match callee {
            Ok(callee) => callee,
            Err(error) if chain.is_some() => Box::new(Unavailable(encode_error(OTHER_ERROR, &error))),
            Err(error) => return self.fail(io, message, &error),
        };
        let runs_on = callee.runs_on();
        let state = Arc::new(CallState::new(callee.name(), message.src, runs_on, io.now()));
        // A call without a reply and without a time limit cannot be cancelled by itself.
        let is_alone = !message.wants_reply() && message.deadline.is_none();
        // A call that was overtaken still takes its place in the chain. There it ends the chain.
        if overtaken || (is_alone && self.stopped.get()) {
            state.cancel();
        }
        // A caller that uses a handle twice at the same time cannot cancel the second call.
        let key = match message.wants_reply() && !self.knows(key.0, key.1) {
            true => key,
            false => (io.shared.me, io.shared.next_handle()),
        };
        let late = message.deadline.filter(|_| state.is_queued && message.wants_reply());
        let first = late.map_or(message.deadline, |when| Some(before(when)));
        let timer = first.map(|when| io.set_timer(when, Timer::Call(key.0, key.1)));
        let number = self.received.get();
        self.received.set(number + 1);
        self.calls.borrow_mut().insert(key, Call { state: Arc::clone(&state), number, timer, deadline: late });
        let chained = chain.as_ref().map(|(number, _)| (message.src, *number));
        let invocation = Invocation {
            shared: Arc::clone(&io.shared),
            callee,
            args: message.data.slice(args..),
            size: message.data.len(),
            key,
            reply_to: message.reply_to,
            values,
            chain,
            call: IncomingCall { caller: message.src, auth: message.auth, deadline: message.deadline, state },
            inlets: Arc::clone(&self.inlets),
            handle: self.handle,
        };
        let ready = match chained {
            Some(chain) => self.chains.borrow_mut().begin(chain, runs_on, invocation),
            None => Some(invocation),
        };
        if let Some(invocation) = ready {
            self.start(io, invocation);
        }
    }

    /// Reads the header of a call, and finds what it calls.
    fn find<'a>(&self, io: &Io, message: &'a Message, from: Option<LinkId>) -> Result<Found<'a>, Error> {
        let header = CallHeader::parse(&message.data)?;
        let peer = || io.with_routing(|routing| routing.peer(from));
        let callee = self.functions.find(header.name, message, &peer);
        Ok((header, callee))
    }

    /// The calls that run here or are queued, in the order of arrival.
    pub(crate) fn serving(&self) -> Vec<ServedCall> {
        let calls = self.calls.borrow();
        let mut all: Vec<_> = calls.values().collect();
        all.sort_unstable_by_key(|call| call.number);
        let told = |call: &Call| ServedCall {
            caller: call.state.caller,
            function: cut(call.state.name, MAX_NAME),
            age: call.state.since.elapsed(),
            running: call.state.running.load(Ordering::Relaxed),
        };
        all.into_iter().map(told).collect()
    }

    fn start(&self, io: &Rc<Io>, invocation: Invocation) {
        match invocation.callee.runs_on() {
            RunsOn::Queued => {
                let mut ready = self.ready.borrow_mut();
                if ready.is_empty() {
                    io.will_hand_calls();
                }
                ready.push(invocation);
            }
            RunsOn::Concurrent => self.pool.submit(invocation),
            RunsOn::Io => io.spawn_answer(invocation.run_as_task()),
        }
    }

    /// Hands the calls that are ready to the main thread.
    pub(crate) fn hand_calls(&self) {
        let mut ready = self.ready.take();
        if !ready.is_empty() {
            self.queue.send_all(&mut ready);
        }
        // Its memory is used again.
        self.ready.replace(ready);
    }

    /// Answers a call that cannot run.
    fn fail(&self, io: &Rc<Io>, message: &Message, error: &Error) {
        self.release(io, message.src, message.data.len());
        if message.wants_reply() {
            io.send(Message::new(message.src, message.reply_to, encode_error(OTHER_ERROR, error)));
        } else {
            log_failure(&error);
        }
    }

    /// The handle that its calls come to.
    pub(crate) fn handle(&self) -> Handle {
        self.handle
    }

    /// Whether a call runs or waits here.
    pub(crate) fn knows(&self, src: ContextId, handle: Handle) -> bool {
        self.calls.borrow().contains_key(&(src, handle))
    }

    /// The services of the program, if it has any.
    pub(crate) fn services(&self) -> Option<Box<dyn Functions>> {
        self.functions.services()
    }

    /// See [`Functions::closing`].
    pub(crate) fn closing(&self) -> Option<Box<dyn FnOnce() + Send>> {
        self.functions.closing()
    }

    /// Sets how many functions of the pool may run at once.
    pub(crate) fn set_size(&self, threads: usize) {
        self.pool.set_size(threads);
    }

    /// Handles the timer of a call. If the call still waits when its time limit comes near, its caller learns
    /// which function it waits for: the caller's own timer does not wait for an answer.
    pub(crate) fn on_timer(&self, io: &Rc<Io>, src: ContextId, handle: Handle) {
        let mut calls = self.calls.borrow_mut();
        let near = calls.get_mut(&(src, handle)).and_then(|call| Some((call.deadline.take()?, call)));
        let Some((deadline, call)) = near else {
            drop(calls);
            return self.cancel(src, handle);
        };
        call.timer = Some(io.set_timer(deadline, Timer::Call(src, handle)));
        let runs = |call: &Call| call.state.running.load(Ordering::Relaxed);
        let waits = !runs(call);
        if waits && let Some(other) = calls.values().find(|other| other.state.is_queued && runs(other)) {
            let data = [&handle.0.to_be_bytes(), cut(other.state.name, MAX_NAME).as_bytes()].concat();
            io.send(Message { lane: Lane::Control, raw: true, ..Message::new(src, Handle::WAITS, data) });
        }
    }

    /// Cancels a call. Code that blocks cannot be stopped.
    pub(crate) fn cancel(&self, src: ContextId, handle: Handle) {
        if let Some(call) = self.calls.borrow().get(&(src, handle)) {
            call.state.given_up.store(true, Ordering::Release);
            return call.state.cancel();
        }
        let mut early = self.early.borrow_mut();
        let early = early.entry(src).or_default();
        if early.len() == MAX_EARLY {
            early.pop_front();
        }
        early.push_back(handle);
    }

    /// Removes a call that has ended, and starts the next call of its chain. Returns the timer of the call.
    pub(crate) fn finished(
        &self,
        io: &Rc<Io>,
        call: (ContextId, Handle),
        chain: Option<(ContextId, u32)>,
    ) -> Option<TimerKey> {
        if let Some(chain) = chain {
            let next = self.chains.borrow_mut().ended(chain);
            next.into_iter().for_each(|invocation| self.start(io, invocation));
        }
        self.calls.borrow_mut().remove(&call).and_then(|call| call.timer)
    }

    /// Whether no call runs or waits here.
    pub(crate) fn is_idle(&self) -> bool {
        self.calls.borrow().is_empty()
    }

    /// Removes the deadlines of all calls here, and returns their timers.
    pub(crate) fn lift_deadlines(&self) -> Vec<TimerKey> {
        self.calls.borrow_mut().values_mut().filter_map(|call| call.timer.take()).collect()
    }

    /// Cancels all calls of a caller that has gone.
    pub(crate) fn forget(&self, caller: ContextId) {
        self.calls.borrow().iter().filter(|((src, _), _)| *src == caller).for_each(|(_, call)| call.state.cancel());
        lock(&self.inlets).forget(caller);
        self.early.borrow_mut().remove(&caller);
        self.chains.borrow_mut().forget_all(caller);
    }

    /// Number of chains that have failed or are in progress.
    pub(crate) fn chains(&self) -> usize {
        self.chains.borrow().len()
    }

    /// Cancels all calls, because the context is ending.
    pub(crate) fn stop(&self) {
        self.stopped.set(true);
        self.calls.borrow().values().for_each(|call| call.state.cancel());
    }

    fn take_early(&self, (caller, handle): (ContextId, Handle)) -> bool {
        let mut early = self.early.borrow_mut();
        let Some(handles) = early.get_mut(&caller) else { return false };
        let found = handles.iter().position(|other| *other == handle);
        found.is_some_and(|at| handles.remove(at).is_some())
    }

    /// Accounts for a call that came in. Returns false if its caller had no room for it.
    fn admit(&self, io: &Rc<Io>, caller: ContextId, size: usize) -> bool {
        let (is_admitted, grant) = {
            let mut inlets = lock(&self.inlets);
            let is_admitted = inlets.admit(caller, size, true);
            // The caller may have no more places left than have come back.
            (is_admitted, inlets.grant(caller, self.handle))
        };
        grant.into_iter().for_each(|grant| io.give(grant));
        is_admitted
    }

    /// Gives back the room of a call that does not run.
    fn release(&self, io: &Rc<Io>, caller: ContextId, size: usize) {
        let grants = {
            let mut inlets = lock(&self.inlets);
            [inlets.release(caller, self.handle, size), inlets.ended(caller, self.handle)]
        };
        grants.into_iter().flatten().for_each(|grant| io.give(grant));
    }

    /// Gives back the room of a call that was refused, and whose caller gets no answer.
    pub(crate) fn was_refused(&self, io: &Rc<Io>, caller: ContextId, size: usize) {
        if self.admit(io, caller, size) {
            self.release(io, caller, size);
        }
    }
}

impl Invocation {
    /// Runs the function on this thread, and sends the reply. The function may block.
    pub(crate) fn run_here(self, runtime: &tokio::runtime::Runtime) {
        self.taken();
        let began = self.shared.profile_clock();
        let ended = self.already_ended().unwrap_or_else(|| match self.begin() {
            Running::Done(outcome) => Ended::Outcome(outcome),
            Running::Pending(work) => {
                let work = self.until_cancelled(work);
                catch(|| runtime.block_on(work)).unwrap_or_else(|panic| Ended::Outcome(Err(panic)))
            }
        });
        self.note_in_profile(began);
        self.shared.request(self.answer(ended));
    }

    /// Runs a built-in function, which never blocks.
    async fn run_as_task(self) -> Request {
        self.taken();
        let began = self.shared.profile_clock();
        let ended = match self.already_ended() {
            Some(ended) => ended,
            None => match self.begin() {
                Running::Done(outcome) => Ended::Outcome(outcome),
                // Other calls run between two polls of this one, so the place of its panic cannot be
                // recorded.
                Running::Pending(work) => panic::caught(self.until_cancelled(work))
                    .await
                    .unwrap_or_else(|_| Ended::Outcome(Err(Failure::new("panic", "a built-in function panicked")))),
            },
        };
        self.note_in_profile(began);
        self.answer(ended)
    }

    fn note_in_profile(&self, began: Option<Instant>) {
        self.shared.profile(began, |profile, took| profile.function(self.callee.name(), took));
    }

    /// Returns an outcome if the call must not run.
    fn already_ended(&self) -> Option<Ended> {
        if let Some((_, failed)) = &self.chain {
            if let Some(error) = failed.get() {
                return Some(Ended::NotRun(error.clone()));
            }
            if let Some(error) = self.callee.unavailable() {
                return Some(Ended::Unavailable(error.clone()));
            }
        }
        self.call.state.is_cancelled().then_some(Ended::Cancelled)
    }

    fn begin(&self) -> Running<'_> {
        catch(|| self.callee.run(&self.call, &self.args)).unwrap_or_else(|panic| Running::Done(Err(panic)))
    }

    async fn until_cancelled(&self, work: impl Future<Output = Outcome>) -> Ended {
        tokio::select! {
            biased;
            () = self.call.state.cancelled() => Ended::Cancelled,
            outcome = work => Ended::Outcome(outcome),
        }
    }

    /// Marks the call as running, and gives the room of its message back. Its place among the calls of its caller is
    /// given back when it has ended.
    fn taken(&self) {
        self.call.state.running.store(true, Ordering::Relaxed);
        let grant = lock(&self.inlets).release(self.call.caller, self.handle, self.size);
        if let Some(grant) = grant {
            self.shared.request(Request::Grant(grant));
        }
    }

    fn answer(&self, ended: Ended) -> Request {
        let shared = &self.shared;
        let max = shared.max_message_size;
        let (reply, failed) = match ended {
            Ended::Outcome(_) if self.call.state.given_up.load(Ordering::Acquire) => (None, true),
            Ended::Outcome(Ok(reply)) if reply.len() as u64 <= max => (Some(reply), false),
            Ended::Outcome(Ok(reply)) => {
                let error = Error::TooLarge { size: reply.len() as u64 - 1, max, context: shared.name.clone() };
                (Some(encode_error(OTHER_ERROR, &error)), true)
            }
            Ended::Outcome(Err(failure)) => {
                let error = failure.into_call_error(&shared.name, self.callee.name());
                // In a chain, the next call returns the error.
                if self.reply_to == Handle::NONE && self.chain.is_none() {
                    log_failure(&error);
                }
                (Some(encode_error(CALL_ERROR, &error)), true)
            }
            Ended::Cancelled => (None, true),
            Ended::NotRun(error) => (Some(error), false),
            Ended::Unavailable(error) => (Some(error), true),
        };
        if let Some((_, chain)) = self.chain.as_ref().filter(|_| failed) {
            let _ = chain.set(reply.clone().unwrap_or_else(|| {
                let reason = "an earlier call of this chain was cancelled or ran out of time";
                encode_error(OTHER_ERROR, &DeadReason::refused(reason).at(shared.me))
            }));
        }
        let has_reply = self.reply_to != Handle::NONE;
        if !has_reply && self.chain.is_none() && self.call.state.given_up.load(Ordering::Acquire) {
            log_failure(&format_args!("{} did not finish within its time limit", self.callee.name()));
        }
        let reply: Option<Bytes> = reply.filter(|_| has_reply);
        let reply = reply.map(|data| Message::new(self.call.caller, self.reply_to, data));
        let call = self.key;
        let grant = lock(&self.inlets).ended(self.call.caller, self.handle);
        let chain = self.chain.as_ref().map(|(number, _)| (self.call.caller, *number));
        Request::Answer { call, handle: self.handle, chain, values: self.values, reply, grant }
    }
}

/// When to tell a caller what its call waits for: late, as it may still begin, and early enough that the caller
/// hears it before the deadline.
fn before(deadline: Instant) -> Instant {
    deadline - deadline.saturating_duration_since(Instant::now()) / 4
}

/// Logs that a call has failed whose caller gets no reply.
#[inline(never)]
fn log_failure(error: &dyn std::fmt::Display) {
    tracing::error!("No-reply function call failed: {error}");
}

/// Runs user code. A panic becomes a failure with its text and place.
fn catch<T>(work: impl FnOnce() -> T) -> Result<T, Failure> {
    let quiet = panic::Quiet::begin();
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| Failure::panic(quiet.describe(&*payload), quiet.backtrace()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
