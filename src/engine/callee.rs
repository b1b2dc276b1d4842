//! The engine's interface to the functions that other contexts call. The function table is in a layer above
//! the engine.

use std::error::Error as StdError;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::routing::handles::Peer;
use crate::routing::runs_on::RunsOn;
use crate::sys::panic;
use crate::wire::error::{CallError, Error};
use crate::wire::message::{ContextId, Message};

/// A received call, as the called function sees it.
#[derive(Debug, Clone)]
pub(crate) struct IncomingCall {
    pub(crate) caller: ContextId,
    /// The authority under which the call acts.
    pub(crate) auth: ContextId,
    /// The time at which the caller stops waiting.
    pub(crate) deadline: Option<Instant>,
    pub(crate) state: Arc<CallState>,
}

/// What the I/O thread and the thread of a function both know of a call that runs here or is queued.
#[derive(Debug)]
pub(crate) struct CallState {
    pub(crate) name: &'static str,
    pub(crate) caller: ContextId,
    pub(crate) since: Instant,
    /// Whether it runs on the main thread.
    pub(crate) is_queued: bool,
    pub(crate) running: AtomicBool,
    /// The caller has cancelled the call, or its time limit was reached. The result is discarded.
    pub(crate) given_up: AtomicBool,
    cancelled: AtomicBool,
    /// Those who wait for the cancelling.
    waiters: Notify,
}

impl CallState {
    pub(crate) fn new(name: &'static str, caller: ContextId, runs_on: RunsOn, since: Instant) -> Self {
        Self {
            name,
            caller,
            since,
            is_queued: runs_on == RunsOn::Queued,
            running: AtomicBool::new(false),
            given_up: AtomicBool::new(false),
            cancelled: AtomicBool::new(false),
            waiters: Notify::new(),
        }
    }

    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
        self.waiters.notify_waiters();
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// Waits until the call is cancelled. Cancel safe.
    pub(crate) async fn cancelled(&self) {
        // It hears of a cancelling from here on.
        let notified = self.waiters.notified();
        if !self.is_cancelled() {
            notified.await;
        }
    }
}

impl IncomingCall {
    /// Creates a call that `me` makes to itself.
    pub(crate) fn own(me: ContextId) -> Self {
        Self {
            caller: me,
            auth: me,
            deadline: None,
            state: Arc::new(CallState::new("", me, RunsOn::Io, Instant::now())),
        }
    }
}

/// The functions of a program, or the methods of its services.
pub(crate) trait Functions: Send {
    /// The function for a call. An [`Error::Channel`] refuses the message, any other error is the reply.
    ///
    /// `peer` is the neighbour by which the message came in.
    fn find(&self, name: &str, message: &Message, peer: &dyn Fn() -> Peer) -> Result<Box<dyn Callee>, Error>;

    /// The services of the program, if it has any.
    fn services(&self) -> Option<Box<dyn Functions>> {
        None
    }

    /// Work to do, on a thread where it may block, when no further calls run because the router ends.
    fn closing(&self) -> Option<Box<dyn FnOnce() + Send>> {
        None
    }
}

/// One of these functions, for a single call.
pub(crate) trait Callee: Send {
    fn name(&self) -> &'static str;

    fn runs_on(&self) -> RunsOn;

    /// If set, calls with the same key run one at a time. Only for functions of a pool.
    fn serial(&self) -> Option<&'static str> {
        None
    }

    /// The encoded error of a call that cannot run, and has its place in a chain.
    fn unavailable(&self) -> Option<&Bytes> {
        None
    }

    /// Starts the function with encoded arguments.
    fn run<'a>(&'a self, call: &IncomingCall, args: &[u8]) -> Running<'a>;
}

/// Stands in a chain for a call that cannot run. In its turn, it fails with this error.
pub(crate) struct Unavailable(pub(crate) Bytes);

impl Callee for Unavailable {
    fn name(&self) -> &'static str {
        "a call that cannot run"
    }

    /// All calls before it have ended then.
    fn runs_on(&self) -> RunsOn {
        RunsOn::Io
    }

    fn unavailable(&self) -> Option<&Bytes> {
        Some(&self.0)
    }

    fn run<'a>(&'a self, _: &IncomingCall, _: &[u8]) -> Running<'a> {
        Running::Done(Err(Failure::new("offshoot::Error", self.name())))
    }
}

/// The run of a function, which is finished or pending, and its encoded result.
#[doc(hidden)]
pub enum Running<'a> {
    Done(Outcome),
    Pending(Pin<Box<dyn Future<Output = Outcome> + 'a>>),
}

impl std::fmt::Debug for Running<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Done(_) => "Done",
            Self::Pending(_) => "Pending",
        })
    }
}

/// The reply with the result, or an error that does not name its context yet.
#[doc(hidden)]
pub(crate) type Outcome = Result<Bytes, Failure>;

/// A [`CallError`] that does not name its function and context yet.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct Failure(Box<CallError>);

impl Failure {
    pub(crate) fn new(type_name: &str, message: impl Into<String>) -> Self {
        Self(Box::new(CallError::new(type_name, message)))
    }

    /// The error that a function returned.
    pub(crate) fn from_error(type_name: &'static str, error: &(dyn StdError + 'static)) -> Self {
        Self(Box::new(CallError::of_dyn(type_name, error).with_backtrace(panic::backtrace())))
    }

    /// A panic, with the place where it happened.
    pub(crate) fn panic(text: String, backtrace: Option<String>) -> Self {
        Self(Box::new(CallError::new("panic", text).with_backtrace(backtrace)))
    }

    /// Converts the failure to the error that the caller gets.
    pub(crate) fn into_call_error(self, context: &str, function: &str) -> CallError {
        CallError { context: context.into(), function: function.into(), ..*self.0 }
    }
}
