//! The errors of an end that was closed here.

use serde::{Deserialize, Serialize};

/// The object that was closed at this end. See [`Error::Closed`](crate::Error::Closed).
#[doc(alias = "LatchError")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Closed {
    /// The receiver has been closed, or nothing more can come.
    #[error("the Receiver has been closed")]
    Receiver,
    /// The router has shut down.
    #[error("the router has shut down")]
    Router,
    /// The broker has ended: it was shut down, or its last router was.
    #[error("the broker has ended: it was shut down, or its last router was")]
    Broker,
    /// The select has been closed.
    #[error("the Select has been closed")]
    Select,
    /// The call has given its result already.
    #[error("the call has already ended")]
    Call,
    /// The latch has been closed.
    #[error("the Latch has been closed")]
    Latch,
}
