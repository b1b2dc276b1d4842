//! What a connect has seen on its way, as data.

use serde::{Deserialize, Serialize};

use crate::wire::error::Phase;

/// What a connect has seen on its way. Those who want words make some of it:
/// every image carries this, and few ever look.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConnectTrace {
    /// The command that was started, without the first stage; empty for the
    /// own image.
    pub(crate) command: Vec<String>,
    /// What the first stage announced, each time it did.
    pub(crate) announced: Vec<String>,
    /// The images that were sent: bytes on the way, 0 where the machine was
    /// asked for one that it has kept; and unpacked.
    pub(crate) sent: Vec<(u64, u64)>,
    /// When a phase began, in milliseconds since the start.
    pub(crate) reached: Vec<(Phase, u32)>,
}
