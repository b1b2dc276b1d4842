//! What the engine has to know of the functions that other contexts call. The function table is above it.

use std::error::Error as StdError;
use std::pin::Pin;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use crate::routing::runs_on::RunsOn;
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

/// The parts of a [`CallError`] that the function itself gives.
#[doc(hidden)]
#[derive(Debug)]
pub struct Failure {
    pub(crate) type_name: String,
    pub(crate) message: String,
    pub(crate) chain: Vec<String>,
}

impl Failure {
    pub(crate) fn new(type_name: &str, message: impl Into<String>) -> Self {
        Self { type_name: type_name.into(), message: message.into(), chain: Vec::new() }
    }

    pub(crate) fn from_error(type_name: &'static str, error: &(dyn StdError + 'static)) -> Self {
        let mut chain = Vec::new();
        let mut source = error.source();
        while let Some(cause) = source {
            // A chain that loops or never ends must not take the reply with it.
            if chain.len() == 32 {
                break;
            }
            chain.push(cause.to_string());
            source = cause.source();
        }
        Self { type_name: type_name.into(), message: error.to_string(), chain }
    }

    /// The error as the caller gets it, cut to a bounded size.
    pub(crate) fn into_call_error(self, context: &str, function: &str) -> CallError {
        CallError {
            type_name: self.type_name,
            message: shorten(self.message),
            chain: self.chain.into_iter().take(MAX_SOURCES).map(shorten).collect(),
            context: context.into(),
            function: function.into(),
        }
    }
}

/// Bytes of each text of an error.
const MAX_ERROR_TEXT: usize = 64 * 1024;
/// Sources of an error that are told: all its texts fit in what a caller takes.
const MAX_SOURCES: usize = 12;

fn shorten(mut text: String) -> String {
    if text.len() > MAX_ERROR_TEXT {
        let end = (0..=MAX_ERROR_TEXT).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
        text.push_str(" [cut]");
    }
    text
}
