//! Moves files and trees of files between two contexts.
//!
//! The *source* lists what it has, in batches. The *sink* compares each batch with what is at the target, and answers
//! which files it wants. The source then sends their content. All three go on at the same time, so that many small
//! files cost few round trips. The sink writes each file beside its place and renames it.
//!
//! - `message`: what the two say to each other
//! - `decision`: what is to be done with an entry; `glob`: which names are left out
//! - `source`: lists and sends, with `walk` and `content`; `sum`: the digest of content
//! - `packing`: content on slow links
//! - `sink`: compares and writes, with `incoming` and `deferred`; `target`, `draft` and `owners`: the files there
//! - `system`: what no copy may empty
//! - `remote`: the functions that run one of them in another context

pub(crate) mod content;
pub(crate) mod decision;
pub(crate) mod deferred;
pub(crate) mod draft;
pub(crate) mod glob;
pub(crate) mod incoming;
pub(crate) mod message;
pub(crate) mod owners;
#[cfg(feature = "cli")]
pub(crate) mod pace;
pub(crate) mod packing;
pub(crate) mod remote;
pub(crate) mod sink;
pub(crate) mod source;
pub(crate) mod sum;
pub(crate) mod system;
pub(crate) mod target;
pub(crate) mod walk;

#[cfg(test)]
mod tests;
