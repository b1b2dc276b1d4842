//! Children on this machine.

use serde::{Deserialize, Serialize};

use crate::connect::methods::{AnyMethod, Variant};

/// A child on this machine, as [`Router::local`](crate::Router::local) makes it, which has an example.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Local {}

/// A child on this machine, as [`Router::fork`](crate::Router::fork) makes it, which has an example.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Fork {}

impl From<Local> for AnyMethod {
    fn from(local: Local) -> Self {
        Self(Variant::Local(local))
    }
}

impl From<Fork> for AnyMethod {
    fn from(fork: Fork) -> Self {
        Self(Variant::Fork(fork))
    }
}
