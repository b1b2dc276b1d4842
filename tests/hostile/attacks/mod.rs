//! The attacks, by what they are about.

pub(crate) mod claims;
pub(crate) mod dialogue;
pub(crate) mod floods;
pub(crate) mod hops;
pub(crate) mod mutations;
pub(crate) mod others;
