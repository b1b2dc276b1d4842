//! Calls that come in: which thread runs them, and how they are cancelled.
//!
//! Plain functions run on the main thread, first in, first out. Concurrent
//! ones run on a bounded pool. Built-in ones are tasks of the I/O thread.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::context::Econtext;
use crate::error::Error;
use crate::flow::Inlets;
use crate::function::{Entry, Failure, Lead, Outcome, Running, Table};
use crate::io::{Io, Timer, TimerKey};
use crate::message::{ContextId, Handle, Message};
use crate::panic;
use crate::payload;
use crate::router::{Command, Router, Shared};
use crate::routing::LinkId;

/// Threads for concurrent functions; more calls wait.
const MAX_THREADS: usize = 64;
/// A thread that has had nothing to do for this long ends.
const IDLE: Duration = Duration::from_secs(10);
/// Cancellations that came before their calls, which are remembered.
const MAX_EARLY: usize = 1024;

/// The I/O side's record of the calls that run here.
pub(crate) struct Dispatcher {
    router: Router,
    queue: mpsc::UnboundedSender<Invocation>,
    pool: Arc<Pool>,
    inlets: Arc<Mutex<Inlets>>,
    calls: RefCell<HashMap<(ContextId, Handle), Call>>,
    /// A cancellation may overtake its call, which is then not run.
    early: RefCell<VecDeque<(ContextId, Handle)>>,
    root: CancellationToken,
}

struct Call {
    cancelled: CancellationToken,
    timer: Option<TimerKey>,
}

/// A call that is about to run.
pub(crate) struct Invocation {
    entry: &'static Entry,
    args: Bytes,
    /// What the message costs in its sender's window.
    size: usize,
    reply_to: Handle,
    econtext: Econtext,
    inlets: Arc<Mutex<Inlets>>,
}

/// The first bytes of a reply, which say what the rest is.
const OK: u8 = 0;
const CALL_ERROR: u8 = 1;
const OTHER_ERROR: u8 = 2;

/// The payload of a call of `function`.
pub(crate) fn encode_call<T: serde::Serialize>(function: &str, args: &T) -> Result<Vec<u8>, String> {
    let length = u16::try_from(function.len()).map_err(|_| "the function's name is too long".to_owned())?;
    let mut data = length.to_be_bytes().to_vec();
    data.extend_from_slice(function.as_bytes());
    payload::encode_into(args, &mut data)?;
    Ok(data)
}

/// The encoded result in the payload of a reply, or the error.
pub(crate) fn decode_reply<'a>(data: &'a [u8], shared: &Arc<Shared>) -> Result<&'a [u8], Error> {
    let malformed = |why: String| Error::Payload(format!("malformed reply: {why}"));
    let (kind, rest) = data.split_first().ok_or_else(|| malformed("it is empty".into()))?;
    match *kind {
        OK => Ok(rest),
        CALL_ERROR => Err(Error::Call(Box::new(payload::decode(rest, Some(shared)).map_err(malformed)?))),
        OTHER_ERROR => Err(payload::decode(rest, Some(shared)).map_err(malformed)?),
        other => Err(malformed(format!("unknown kind {other}"))),
    }
}

impl Dispatcher {
    /// The dispatcher and the queue of plain calls for the main thread.
    pub(crate) fn new(router: Router) -> (Self, mpsc::UnboundedReceiver<Invocation>) {
        #[expect(clippy::disallowed_methods, reason = "bounded by the callers' windows")]
        let (queue, calls) = mpsc::unbounded_channel();
        let dispatcher = Self {
            router,
            queue,
            pool: Arc::default(),
            inlets: Arc::default(),
            calls: RefCell::default(),
            early: RefCell::default(),
            root: CancellationToken::new(),
        };
        (dispatcher, calls)
    }

    /// A `CALL_FUNCTION` message that policy has let through.
    pub(crate) fn on_call(&self, io: &Rc<Io>, message: &Message, from: Option<LinkId>) {
        if !lock(&self.inlets).admit(message.src, message.data.len(), true) {
            return io.refuse(message, "window exceeded", from);
        }
        let key = (message.src, message.reply_to);
        if self.take_early(key) {
            return self.release(io, message);
        }
        let (entry, args) = match find(&message.data) {
            Ok(found) => found,
            Err(error) => {
                self.release(io, message);
                if message.wants_reply() {
                    io.send(reply_message(key, OTHER_ERROR, &error));
                } else {
                    tracing::error!("no-reply function call failed: {error}");
                }
                return;
            }
        };
        let cancelled = if message.wants_reply() { CancellationToken::new() } else { self.root.child_token() };
        if message.wants_reply() {
            let timer = message.deadline.map(|when| io.set_timer(when, Timer::Call(key.0, key.1)));
            self.calls.borrow_mut().insert(key, Call { cancelled: cancelled.clone(), timer });
        }
        let invocation = Invocation {
            entry,
            args: message.data.slice(args..),
            size: message.data.len(),
            reply_to: message.reply_to,
            econtext: Econtext::new(self.router.clone(), message.src, message.deadline, cancelled),
            inlets: Arc::clone(&self.inlets),
        };
        match entry.lead {
            // An error means that the main thread has ended, and so shall we.
            Lead::Queued => drop(self.queue.send(invocation)),
            Lead::Concurrent => self.pool.submit(invocation),
            Lead::Io => io.spawn_answer(invocation.run_as_task()),
        }
    }

    /// Stops the work of a call, as far as it can be stopped.
    pub(crate) fn cancel(&self, src: ContextId, handle: Handle) {
        if let Some(call) = self.calls.borrow().get(&(src, handle)) {
            return call.cancelled.cancel();
        }
        let mut early = self.early.borrow_mut();
        if early.len() == MAX_EARLY {
            early.pop_front();
        }
        early.push_back((src, handle));
    }

    /// A call has been answered; returns its timer.
    pub(crate) fn finished(&self, src: ContextId, handle: Handle) -> Option<TimerKey> {
        self.calls.borrow_mut().remove(&(src, handle)).and_then(|call| call.timer)
    }

    /// A caller has gone: nobody waits for its calls.
    pub(crate) fn forget(&self, caller: ContextId) {
        self.calls.borrow().iter().filter(|((src, _), _)| *src == caller).for_each(|(_, call)| call.cancelled.cancel());
        lock(&self.inlets).forget(caller);
    }

    /// The context is ending: all work is to stop.
    pub(crate) fn stop(&self) {
        self.root.cancel();
        self.calls.borrow().values().for_each(|call| call.cancelled.cancel());
    }

    fn take_early(&self, key: (ContextId, Handle)) -> bool {
        let mut early = self.early.borrow_mut();
        let found = early.iter().position(|other| *other == key);
        found.is_some_and(|at| early.remove(at).is_some())
    }

    fn release(&self, io: &Rc<Io>, message: &Message) {
        let grant = lock(&self.inlets).release(message.src, Handle::CALL_FUNCTION, message.data.len(), true);
        if let Some(grant) = grant {
            io.give(grant);
        }
    }
}

/// The function that a call asks for, and where its arguments begin.
fn find(data: &[u8]) -> Result<(&'static Entry, usize), Error> {
    let malformed = || Error::Payload("malformed call: its function has no name".into());
    let (length, rest) = data.split_first_chunk().ok_or_else(malformed)?;
    let name = rest.get(..u16::from_be_bytes(*length).into()).ok_or_else(malformed)?;
    let name = std::str::from_utf8(name).map_err(|_| malformed())?;
    let entry = Table::get().find(name).ok_or_else(|| Error::NotExported { function: name.to_owned() })?;
    Ok((entry, 2 + name.len()))
}

fn reply_message<T: serde::Serialize>((src, handle): (ContextId, Handle), kind: u8, value: &T) -> Message {
    let mut data = vec![kind];
    // Errors are plain data: they can be encoded.
    let _ = payload::encode_into(value, &mut data);
    Message::new(src, handle, data)
}

impl Invocation {
    /// Runs the function on this thread, which may block, and sends the
    /// answer.
    pub(crate) fn run_here(self, runtime: &tokio::runtime::Runtime) {
        let shared = Arc::clone(self.econtext.shared());
        let grant = self.taken();
        let outcome = if self.econtext.is_cancelled() {
            None
        } else {
            match self.begin() {
                Running::Done(outcome) => Some(outcome),
                Running::Pending(work) => {
                    let cancelled = self.econtext.cancelled();
                    let work = async {
                        tokio::select! {
                            biased;
                            () = cancelled => None,
                            outcome = work => Some(outcome),
                        }
                    };
                    catch(|| runtime.block_on(work)).unwrap_or_else(|panic| Some(Err(panic)))
                }
            }
        };
        shared.command(self.answer(outcome, grant));
    }

    /// Runs a built-in function, which never blocks.
    async fn run_as_task(self) -> Command {
        let grant = self.taken();
        let outcome = match self.begin() {
            Running::Done(outcome) => Some(outcome),
            Running::Pending(work) => tokio::select! {
                biased;
                () = self.econtext.cancelled() => None,
                // Other calls are between two polls of this one, so that the
                // place of its panic cannot be noted.
                outcome = panic::caught(work) => {
                    Some(outcome.unwrap_or_else(|_| Err(Failure::new("panic", "a built-in function panicked"))))
                }
            },
        };
        self.answer(outcome, grant)
    }

    fn begin(&self) -> Running<'_> {
        catch(|| (self.entry.run)(&self.econtext, &self.args)).unwrap_or_else(|panic| Running::Done(Err(panic)))
    }

    /// The call has left the queue.
    fn taken(&self) -> Option<crate::flow::Grant> {
        lock(&self.inlets).release(self.econtext.caller(), Handle::CALL_FUNCTION, self.size, true)
    }

    fn answer(&self, outcome: Option<Outcome>, grant: Option<crate::flow::Grant>) -> Command {
        let key = (self.econtext.caller(), self.reply_to);
        let shared = self.econtext.shared();
        let name = (self.entry.name)();
        let max = shared.max_message_size;
        let reply = match outcome {
            None => None,
            Some(Err(failure)) if self.reply_to == Handle::NONE => {
                let error = failure.into_call_error(&shared.name, name);
                tracing::error!("no-reply function call failed: {error}");
                None
            }
            Some(_) if self.reply_to == Handle::NONE => None,
            Some(Ok(value)) if value.len() as u64 >= max => {
                let size = value.len() as u64;
                Some(reply_message(key, OTHER_ERROR, &Error::TooLarge { size, max }))
            }
            Some(Ok(value)) => {
                let mut data = Vec::with_capacity(value.len() + 1);
                data.push(OK);
                data.extend_from_slice(&value);
                Some(Message::new(key.0, key.1, data))
            }
            Some(Err(failure)) => Some(reply_message(key, CALL_ERROR, &failure.into_call_error(&shared.name, name))),
        };
        Command::Answer { call: key, reply, grant }
    }
}

/// Runs user code; a panic becomes a failure with its text and place.
fn catch<T>(work: impl FnOnce() -> T) -> Result<T, Failure> {
    let quiet = panic::Quiet::begin();
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| Failure::new("panic", quiet.describe(&*payload)))
}

/// Threads for concurrent functions: started when needed, at most 64.
#[derive(Default)]
struct Pool {
    state: Mutex<PoolState>,
    work: Condvar,
}

#[derive(Default)]
struct PoolState {
    queue: VecDeque<Invocation>,
    threads: usize,
    idle: usize,
}

impl Pool {
    fn submit(self: &Arc<Self>, invocation: Invocation) {
        let mut state = lock(&self.state);
        state.queue.push_back(invocation);
        if state.idle >= state.queue.len() {
            self.work.notify_one();
        } else if state.threads < MAX_THREADS {
            let pool = Arc::clone(self);
            let spawned = std::thread::Builder::new().name("offshoot-call".into()).spawn(move || pool.serve());
            match spawned {
                Ok(_) => state.threads += 1,
                // Whoever is there already will come to it.
                Err(error) if state.threads > 0 => tracing::warn!("no further thread for calls: {error}"),
                Err(error) => {
                    let invocation = state.queue.pop_back();
                    drop(state);
                    if let Some(invocation) = invocation {
                        let shared = Arc::clone(invocation.econtext.shared());
                        let failure = Failure::new("offshoot::Error", format!("no thread can be started: {error}"));
                        let grant = invocation.taken();
                        shared.command(invocation.answer(Some(Err(failure)), grant));
                    }
                }
            }
        }
    }

    fn serve(&self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let Ok(runtime) = runtime else {
            lock(&self.state).threads -= 1;
            return;
        };
        let mut state = lock(&self.state);
        loop {
            if let Some(invocation) = state.queue.pop_front() {
                drop(state);
                invocation.run_here(&runtime);
                state = lock(&self.state);
                continue;
            }
            state.idle += 1;
            let (woken, timeout) = self.work.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if timeout.timed_out() && state.queue.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
