//! Where the functions of the table run.

/// Where a function runs.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunsOn {
    /// On the main thread, first in, first out.
    Queued,
    /// On a thread of the pool, at once.
    Concurrent,
    /// As a task of the I/O thread. For this crate's own, which never block.
    Io,
}
