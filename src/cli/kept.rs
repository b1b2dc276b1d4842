//! Connections that outlive a run: `--keep TIME` and `offshoot kept`.
//!
//! A process of its own, the keeper, holds the connections. A run joins the keeper's tree, has it connect what is
//! missing, and leaves everything in place.
//!
//! - `keeper`: the process that holds connections
//! - `bound`: a keeper for the program that `offshoot with` runs
//! - `keeping`: what a run does with a keeper
//! - `place`: where a keeper listens
//! - `question`: what a keeper is asked
//! - `command`: `offshoot kept`

pub(crate) mod bound;
mod command;
mod keeper;
pub(crate) mod keeping;
mod place;
mod question;

pub(crate) use command::kept;
pub(crate) use keeper::serve;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use question::{Found, Question};
