//! What is wrong with a path, or with an expression of paths, and where.

use crate::wire::sanitize::is_unsafe;

/// What kind of fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// The expression has wrong syntax.
    Syntax,
    /// The expression exceeds a limit.
    Limit,
    /// A group, a file or stdin could not be read.
    #[cfg(feature = "cli")]
    Source,
    /// The expression is correct, but no host is left.
    #[cfg(feature = "cli")]
    Empty,
}

/// A fault whose line is not known yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    pub(crate) span: Span,
    pub(crate) message: String,
}

impl Fault {
    pub(crate) fn syntax(span: Span, message: impl Into<String>) -> Self {
        Self { kind: FaultKind::Syntax, span, message: message.into() }
    }

    pub(crate) fn limit(span: Span, message: impl Into<String>) -> Self {
        Self { kind: FaultKind::Limit, span, message: message.into() }
    }

    #[cfg(feature = "cli")]
    pub(crate) fn source(span: Span, message: impl Into<String>) -> Self {
        Self { kind: FaultKind::Source, span, message: message.into() }
    }

    #[cfg(feature = "cli")]
    pub(crate) fn empty(message: impl Into<String>) -> Self {
        Self { kind: FaultKind::Empty, span: Span::new(0, 0), message: message.into() }
    }
}

/// A part of a line, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) at: usize,
    pub(crate) len: usize,
}

impl Span {
    pub(crate) fn new(at: usize, len: usize) -> Self {
        Self { at, len }
    }
}

/// Control characters, and characters that are invisible or change how others are shown. In a name they can
/// only mislead.
pub(crate) fn is_unprintable(c: char) -> bool {
    is_unsafe(c) || matches!(c, '\u{200c}' | '\u{200d}' | '\u{2065}')
}
