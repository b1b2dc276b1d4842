//! The engine's interface to the functions that other contexts call. The function table is in a layer above
//! the engine.

use std::error::Error as StdError;
use std::pin::Pin;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

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
    pub(crate) cancelled: CancellationToken,
}

impl IncomingCall {
    /// Creates a call that `me` makes to itself.
    pub(crate) fn own(me: ContextId) -> Self {
        Self { caller: me, auth: me, deadline: None, cancelled: CancellationToken::new() }
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

    /// Starts the function with encoded arguments.
    fn run<'a>(&'a self, call: &IncomingCall, args: &[u8]) -> Running<'a>;
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

/// The encoded result, or an error that does not name its context yet.
#[doc(hidden)]
pub(crate) type Outcome = Result<Vec<u8>, Failure>;

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
