//! The errors of an end that was closed here.

use serde::{Deserialize, Serialize};

/// The object that was closed at this end.
///
/// ```
/// use offshoot::error::Closed;
/// use offshoot::{Error, Receiver, Router};
///
/// # offshoot::child();
/// let router = Router::new()?;
/// let receiver = Receiver::<u32>::new(&router);
/// receiver.close();
/// assert!(matches!(receiver.blocking_recv(), Err(Error::Closed(Closed::Receiver))));
/// router.blocking_shutdown();
/// # Ok::<(), Error>(())
/// ```
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
