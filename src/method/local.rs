//! Children on this machine.

use serde::{Deserialize, Serialize};

use super::Method;

/// A child on this machine; see [`Router::local`](crate::Router::local).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Local {}

/// A child on this machine with a start function; see
/// [`Router::fork`](crate::Router::fork).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Fork {
    /// Name of the exported function that runs before the first call.
    pub on_start: Option<String>,
}

impl From<Local> for Method {
    fn from(local: Local) -> Self {
        Self::Local(local)
    }
}

impl From<Fork> for Method {
    fn from(fork: Fork) -> Self {
        Self::Fork(fork)
    }
}
