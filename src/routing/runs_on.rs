//! The place where a function of the table runs.

/// The place where a function runs.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunsOn {
    /// On the main thread, first in, first out.
    Queued,
    /// On a thread of the pool, at once.
    Concurrent,
    /// As a task of the I/O thread. Only for functions of this crate, which never block.
    Io,
}
