//! Children on this machine.

use serde::{Deserialize, Serialize};

use crate::connect::methods::{AnyMethod, Variant};

/// A child on this machine; see [`Router::local`](crate::Router::local).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Local {}

/// A child on this machine; see [`Router::fork`](crate::Router::fork).
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
