//! What the engine has to know of the functions that other contexts call. The function table is above it.

use std::error::Error as StdError;
use std::pin::Pin;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use crate::routing::runs_on::RunsOn;
use crate::sys::panic;
use crate::wire::error::CallError;
use crate::wire::message::ContextId;

/// A call that has come in, as the function sees it.
#[derive(Debug, Clone)]
pub(crate) struct IncomingCall {
    pub(crate) caller: ContextId,
    /// When the caller stops waiting.
    pub(crate) deadline: Option<Instant>,
    pub(crate) cancelled: CancellationToken,
}

impl IncomingCall {
    /// A call that `me` makes to itself.
    pub(crate) fn own(me: ContextId) -> Self {
        Self { caller: me, deadline: None, cancelled: CancellationToken::new() }
    }
}

/// The functions that a program has.
pub(crate) trait Functions: Send {
    fn find(&self, name: &str) -> Option<Box<dyn Callee>>;
}

/// One of these functions, for one call.
pub(crate) trait Callee: Send {
    fn name(&self) -> &'static str;

    fn runs_on(&self) -> RunsOn;

    /// Begins to run it on encoded arguments.
    fn run<'a>(&'a self, call: &IncomingCall, args: &[u8]) -> Running<'a>;
}

/// A finished or a pending run of a function: its encoded reply.
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

/// The encoded result, or the error with its context still unnamed.
#[doc(hidden)]
pub(crate) type Outcome = Result<Vec<u8>, Failure>;

/// A [`CallError`] that does not name its function and context yet.
#[doc(hidden)]
#[derive(Debug)]
pub struct Failure(Box<CallError>);

impl Failure {
    pub(crate) fn new(type_name: &str, message: impl Into<String>) -> Self {
        Self(Box::new(CallError::new(type_name, message)))
    }

    /// The error of a function, as it leaves it.
    pub(crate) fn from_error(type_name: &'static str, error: &(dyn StdError + 'static)) -> Self {
        Self(Box::new(CallError::of_dyn(type_name, error).with_backtrace(panic::backtrace())))
    }

    /// A panic, with where it happened.
    pub(crate) fn panic(text: String, backtrace: Option<String>) -> Self {
        Self(Box::new(CallError::new("panic", text).with_backtrace(backtrace)))
    }

    /// The error as the caller gets it.
    pub(crate) fn into_call_error(self, context: &str, function: &str) -> CallError {
        CallError { context: context.into(), function: function.into(), ..*self.0 }
    }
}
