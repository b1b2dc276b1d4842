//! What a connect has seen on its way, as data.

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
    /// The command that was started, without the first stage; empty for the
    /// own image.
    pub command: Vec<String>,
    /// What the first stage announced, each time it did.
    pub announced: Vec<String>,
    /// The images that were sent: bytes on the way, 0 where the machine was
    /// asked for one that it has kept; and unpacked.
    pub sent: Vec<(u64, u64)>,
    /// When a phase began, in milliseconds since the start.
    pub reached: Vec<(Phase, u32)>,
}
