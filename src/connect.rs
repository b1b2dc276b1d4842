//! How a child comes up: methods, the first stage, the handshake, and what a new process does first.

pub(crate) mod bootstrap;
pub(crate) mod child;
pub(crate) mod handshake;
pub(crate) mod master;
pub(crate) mod methods;
#[cfg(target_os = "linux")]
pub(crate) mod namespace_entry;
#[cfg(feature = "cli")]
pub(crate) mod report;
pub(crate) mod run;
