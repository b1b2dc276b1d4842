//! What a connect has observed, as data.

use serde::{Deserialize, Serialize};

use crate::wire::error::Phase;

/// What a connect has seen on its way, as data. Those who want words take
/// [`ConnectError::steps`](crate::error::ConnectError::steps): every image carries
/// this, and few ever look.
///
/// [`Error`](crate::Error) has an example of connects that fail.
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
