//! The I/O side of one router: the owner of its state.
//!
//! Everything here runs on the I/O thread. The tasks of links hand in frames,
//! [`Request`](crate::engine::shared::Request)s come from everywhere else, and what is to leave goes into the
//! outbox of a link, whose writer task is woken.
//!
//! [`Io`] is the loop. It hands each message, request and timer to the object that it concerns. Each object has a file
//! of its own, and keeps its state to itself.

mod control_handles;
mod detaching;
mod ending;
mod event_loop;
mod ids;
mod image_exchange;
mod line_splitter;
mod logs;
mod neighbours;
mod observer;
mod outgoing;
mod switch;

pub(crate) use event_loop::{Io, Parent, Role, Setup, Timer, prepare, sleep_until};
pub(crate) use neighbours::Neighbour;
