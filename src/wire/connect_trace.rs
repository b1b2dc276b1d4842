//! What a connect has observed, as data.

use serde::{Deserialize, Serialize};

use crate::wire::error::Phase;

/// What a connect has seen on its way, as data.
///
/// ```
/// # use offshoot::{Error, Router};
/// # offshoot::child();
/// # let router = Router::new()?;
/// let connect = router.local().exec_prefix(["false"]).blocking_connect();
/// if let Err(Error::Connect(error)) = connect {
///     println!("{:?} was started, and {} announcements came", error.trace.command, error.trace.announced.len());
/// }
/// # router.blocking_shutdown();
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ConnectTrace {
    /// The command that was started, without the first stage. Empty for the own image.
    pub command: Vec<String>,
    /// The announcements of the first stage, in order.
    pub announced: Vec<String>,
    /// The images that were sent, each as the number of bytes sent and the unpacked size. The first
    /// number is 0 if the machine was asked for an image in its cache.
    pub sent: Vec<(u64, u64)>,
    /// The time at which each phase began, in milliseconds since the start.
    pub reached: Vec<(Phase, u32)>,
}
