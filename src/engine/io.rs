//! The I/O side of one router. It owns the router's state.
//!
//! Everything in this module runs on the I/O thread. The tasks of links deliver frames. All other parts of
//! the process send [`Request`](crate::engine::shared::Request)s. Outgoing frames go into the outbox of a
//! link. They are written when the tasks that are ready have run. A link whose descriptor is full has a task that
//! writes.
//!
//! [`Io`] runs the loop. It passes each message, request and timer to the object that handles it. Each object
//! has its own file and private state.

mod control_handles;
mod detaching;
mod end_of_pass;
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

pub(crate) use end_of_pass::EndOfPass;
pub(crate) use event_loop::{Io, Parent, Role, Setup, Timer, prepare, sleep_until};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use image_exchange::Load;
pub(crate) use neighbours::Neighbour;
