//! Children on this machine.

use serde::{Deserialize, Serialize};

use crate::api::function::Function;
use crate::connect::methods::{Connect, Method};

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

impl Connect<Fork> {
    /// A function that runs in the child before its first call; if it fails,
    /// so does the connect. Default: none.
    pub fn on_start<F, K>(mut self, function: F) -> Self
    where
        F: Function<K, Args = ()>,
    {
        let _ = function;
        self.method.on_start = Some(std::any::type_name::<F>().to_owned());
        self
    }
}
