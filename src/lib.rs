//! Self-replicating programs: one static binary reaches machines that have
//! nothing but a POSIX `sh`, uploads a copy of itself, and the copies call
//! each other's functions.
//!
//! The copy ends with its connection and leaves no file behind. Arguments and
//! results have types that the compiler checks. Ways to a machine are ssh,
//! sudo, su, doas, containers of ten kinds, and any chain of these.
//!
//! ```no_run
//! use std::path::PathBuf;
//! use std::process::ExitCode;
//!
//! use offshoot::{Error, Router, Sender, export};
//!
//! /// Sends the size of each file in `path`, on the machine where this runs; returns how many there are.
//! async fn sizes(path: PathBuf, to: Sender<u64>) -> Result<u32, Error> {
//!     let mut count = 0;
//!     for entry in std::fs::read_dir(path)? {
//!         to.send(entry?.metadata()?.len()).await?; // waits while the reader is behind
//!         count += 1;
//!     }
//!     Ok(count)
//! }
//! export!(sizes);
//!
//! fn main() -> ExitCode {
//!     offshoot::run(app) // a child never gets past this line
//! }
//!
//! async fn app(router: Router) -> Result<(), Error> {
//!     let bastion = router.ssh("bastion").username("deploy").await?;
//!     let web = router.ssh("web1").via(&bastion).await?;
//!     let mut files = web.stream(sizes, |to| ("/var/log".into(), to));
//!     let mut total = 0;
//!     while let Some(size) = files.next().await {
//!         total += size?;
//!     }
//!     println!("{total} bytes in {} files", files.result().await?);
//!     Ok(())
//! }
//! ```
//!
//! # Build and ship
//!
//! Build for a static target: such a program runs on every Linux of its
//! processor. Nothing has to be installed on the hosts.
//!
//! ```sh
//! rustup target add x86_64-unknown-linux-musl
//! cargo build --release --target x86_64-unknown-linux-musl
//! ```
//!
//! A program sends itself to machines of its own kind. For others it carries
//! images: see [`bundle`].
//!
//! # Where to begin
//!
//! - [`run`] and [`child`]: the two ways to begin a program
//! - [`Router`]: starts children, by a function for each method, as
//!   [`Router::ssh`]; [`connect`] has their settings
//! - [`export!`]: makes a function callable; [`call::Function`] says which
//!   functions can be
//! - [`Context`]: a process of the tree: [`Context::call`],
//!   [`Context::stream`], [`Context::command`], [`Context::read_file`]
//! - [`Sender`] and [`Receiver`]: values between any two contexts; [`Select`]:
//!   the next of several
//! - [`Error`]: what can go wrong, to match on; [`error`] has its parts
//! - `examples/` of the sources: eight whole programs
//!
//! The guide, `docs/SUMMARY.md` of the sources, leads from an empty directory
//! to programs for several processors, tells what to do about each error, and
//! has a page that says where each name of Mitogen is.
//!
//! # Async and blocking
//!
//! Futures of this crate need no runtime: any executor polls them. Code that
//! is not async uses the twins that begin with `blocking_`, or [`block_on`].
//!
//! # Features
//!
//! - `cli` (default): the library parts that only the tool `offshoot` needs.
//!   Programs of your own are smaller without it.
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

#![cfg_attr(docsrs, feature(doc_cfg))]
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

// `tests/namespace.rs` has the list of these names, and a reason for each.
pub use api::call::Call;
pub use api::chain::CallChain;
pub use api::channel::Channel;
pub use api::context::Context;
pub use api::econtext::Econtext;
pub use api::function::Value;
pub use api::receiver::Receiver;
pub use api::router::Router;
pub use api::select::Select;
pub use api::sender::Sender;
pub use api::stream::CallStream;
pub use builtin::{facts, file, process};
pub use connect::child::child;
pub use connect::program::Program;
pub use connect::run::run;
pub use engine::broker::Broker;
pub use image::bundle;
pub use sys::blocking::block_on;
pub use wire::codec::{Blob, Secret};
pub use wire::error::Error;
pub use wire::message::{ContextId, Handle, Message};

/// An allocator for programs that move much data.
pub mod alloc {
    pub use crate::sys::allocator::Allocator;
}

/// What can be called, and what a [`CallStream`] is in code that blocks.
pub mod call {
    pub use crate::api::function::Function;
    pub use crate::api::stream::StreamIter;
}

/// Settings of receivers, and what their iterations and sends are.
pub mod channel {
    pub use crate::api::receiver::{Iter, ReceiverBuilder};
    pub use crate::api::sender::Sending;
}

/// The end of a [`Context`], waited for, and calls that end in time.
pub mod context {
    pub use crate::api::ended::Ended;
    pub use crate::api::shutdown_handle::ShutdownHandle;
    pub use crate::api::with_timeout::WithTimeout;
}

/// The parts of an [`Error`]: kinds to match on, and what is known of each.
pub mod error {
    pub use crate::wire::error::{
        CallError, ChannelError, ChannelErrorKind, Closed, ConnectError, ConnectErrorKind, IoError, Phase,
    };
}

/// Log records: those of this process to a file, and those of other contexts.
pub mod log {
    pub use crate::engine::log::{Record, log_to_file};
}

/// Handlers of messages, and messages of several values.
pub mod message {
    pub use crate::api::handler::HandlerBuilder;
    pub use crate::wire::message::Values;
}

/// Policies: who may write to a handle.
pub mod policy {
    pub use crate::routing::handles::{Peer, Policy};
    pub use crate::routing::policy::{has_parent_authority, is_immediate_child};
}

/// Settings of routers, and what they and their I/O threads give out.
pub mod router {
    pub use crate::api::router::{MAX_MESSAGE_SIZE, RouterBuilder, WeakRouter};
    pub use crate::engine::broker::Timer;
}

/// Members of a [`Select`], and what has come from them.
pub mod select {
    pub use crate::api::select::{Event, Iter, Member, MemberId};
}

/// What a context is doing; [`Context::stats`] asks for it.
pub mod stats {
    pub use crate::engine::stats::{BlockedSender, LinkStats, PendingCall, ReceiverStats, ServedCall, Stats, WaitsFor};
}

/// The version of this crate.
///
/// ```
/// println!("offshoot {}", offshoot::VERSION);
/// ```
#[doc(alias = "__version__")]
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Compiled and run with the other examples.
#[cfg(doctest)]
#[doc = include_str!("../docs/guide/from-mitogen.md")]
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

    #[cfg(feature = "cli")]
    pub use crate::api::exported::{EncodedArgs, Exported};
    pub use crate::api::function::{Entry, borrowed, run};
    pub use crate::connect::child::{TestEntry, first_stage_for_tests, test_child};
    pub use crate::connect::handshake::ProgramBuild;
    pub use crate::connect::run::HangUp;
    pub use crate::engine::callee::Running;
    pub use crate::routing::runs_on::RunsOn;
}
