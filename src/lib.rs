//! Self-replicating programs: one static binary reaches machines that have
//! nothing but a POSIX `sh`, uploads a copy of itself, and the copies call
//! each other's functions.
//!
//! ```no_run
//! use offshoot::{Router, export};
//!
//! /// Bytes used below `path`, on whichever machine this runs.
//! fn disk_usage(path: std::path::PathBuf) -> std::io::Result<u64> {
//!     Ok(std::fs::metadata(path)?.len())
//! }
//! export!(disk_usage);
//!
//! fn main() -> std::process::ExitCode {
//!     offshoot::run(app) // a child never gets past this line
//! }
//!
//! async fn app(router: Router) -> Result<(), offshoot::Error> {
//!     let web = router.ssh("web1").username("deploy").connect().await?;
//!     let used: u64 = web.call(disk_usage, ("/var".into(),)).await?;
//!     println!("{used}");
//!     Ok(())
//! }
//! ```
//!
//! # Layout
//!
//! The sources are in layers. Each knows those above it in this list, and `tests/layers.rs` sees to that:
//!
//! - `sys`: processes, descriptors, terminals, blocking waits; all unsafe code
//! - `wire`: what goes over a link: ids, messages, frames, encoding, errors
//! - `routing`: decisions without I/O: routes, windows, the turns of messages
//! - `image`: the executable bytes that make a child, and bundles of them
//! - `engine`: the I/O thread: links, dispatch, control handlers, timers, logs, statistics
//! - `api`: routers, contexts, calls, functions, senders, receivers, selects
//! - `connect`: how a child comes up: methods, first stage, handshake
//! - `builtin`: functions that every copy has
//! - `cli`: the tool

#![deny(unsafe_code)]

mod api;
mod builtin;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
pub mod connect;
mod engine;
mod image;
mod routing;
mod sys;
mod wire;

pub use api::call::Call;
pub use api::chain::CallChain;
pub use api::channel::Channel;
pub use api::context::{Context, Econtext, ShutdownHandle, WithTimeout};
pub use api::ended::Ended;
#[cfg(feature = "cli")]
pub use api::exported::{EncodedArgs, Exported};
pub use api::function::{Function, Value};
pub use api::handler::HandlerBuilder;
pub use api::receiver::{Iter, Receiver, ReceiverBuilder};
pub use api::router::{MAX_MESSAGE_SIZE, Router, RouterBuilder, WeakRouter};
pub use api::select::{Event, Member, MemberId, Select};
pub use api::sender::{Sender, Sending};
pub use api::stream::{CallStream, StreamIter};
pub use builtin::{facts, file, process};
pub use connect::child::child;
pub use connect::program::Program;
pub use connect::run::run;
pub use engine::broker::{Broker, Timer};
pub use engine::log::{LogHook, Record, log_to_file};
pub use engine::stats::{BlockedSender, LinkStats, PendingCall, ReceiverStats, ServedCall, Stats, WaitsFor};
pub use image::bundle;
pub use routing::handles::{Peer, Policy};
pub use routing::policy;
pub use sys::allocator::Allocator;
pub use sys::blocking::block_on;
pub use wire::codec::{Blob, Secret};
pub use wire::connect_trace::ConnectTrace;
pub use wire::error::{
    CallError, ChannelError, ChannelErrorKind, Closed, ConnectError, ConnectErrorKind, Error, IoError, Phase,
};
pub use wire::message::{ContextId, Handle, Message, Values};

/// The version of this crate.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Compiled and run with the other examples.
#[cfg(doctest)]
#[doc = include_str!("../docs/from-mitogen.md")]
mod from_mitogen {}

/// As above.
#[cfg(doctest)]
#[doc = include_str!("../docs/guide/your-own-functions.md")]
mod your_own_functions {}

/// As above.
#[cfg(doctest)]
#[doc = include_str!("../docs/guide/files.md")]
mod files {}

/// What the macros expand to. Not for use by hand.
#[doc(hidden)]
pub mod __private {
    pub use inventory;

    pub use crate::api::function::{Entry, run};
    pub use crate::connect::child::{TestEntry, first_stage_for_tests, test_child};
    pub use crate::connect::handshake::ProgramBuild;
    pub use crate::connect::run::HangUp;
    pub use crate::engine::callee::Running;
    pub use crate::routing::runs_on::RunsOn;
}
