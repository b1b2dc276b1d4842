//! What a failure means, as read from the output of another program.

use std::borrow::Cow;

use crate::wire::error::{ConnectCause, ConnectErrorKind};

/// The meaning of another program's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Diagnosis {
    pub(crate) kind: ConnectErrorKind,
    pub(crate) cause: ConnectCause,
    /// What happened.
    pub(crate) text: Cow<'static, str>,
    /// What to do about it; empty if nothing is known.
    pub(crate) advice: Cow<'static, str>,
}

/// Returns what the last lines of a launcher mean; `None` if they are not known.
pub(crate) type Interpret = fn(&[String]) -> Option<Diagnosis>;

impl Diagnosis {
    pub(crate) fn new(
        kind: ConnectErrorKind,
        text: impl Into<Cow<'static, str>>,
        advice: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { kind, cause: ConnectCause::Plain, text: text.into(), advice: advice.into() }
    }

    /// A shell or a tool has reported that it could not start another process. `said` is its message.
    pub(crate) fn no_processes(said: &str) -> Self {
        let text = format!("no more processes can be started there: {said}");
        Self::new(ConnectErrorKind::Start, text, crate::connect::bootstrap::advice::FEW_PROCESSES)
    }

    /// A diagnosis without advice.
    pub(crate) fn plain(kind: ConnectErrorKind, text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(kind, text, "")
    }
}
