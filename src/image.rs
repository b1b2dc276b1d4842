//! Images: the executable bytes that make a child, and bundles, which carry images for several targets.

pub mod bundle;
pub(crate) mod executable;
