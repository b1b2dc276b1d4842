//! Self-replicating programs. One static binary reaches machines that have nothing but a POSIX `sh`, and
//! uploads a copy of itself. The copies call each other's functions.
//!
//! A copy ends when its connection ends, and leaves no file behind. The compiler checks the types of
//! arguments and results. A program reaches a machine through ssh, sudo, su, doas, ten kinds of containers,
//! or any chain of these.
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
//!     offshoot::run(app) // in a child, this function does not return
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
//! Build for a static target: such a program runs on every Linux system with the same processor. The hosts
//! need no installation.
//!
//! ```sh
//! rustup target add x86_64-unknown-linux-musl
//! cargo build --release --target x86_64-unknown-linux-musl
//! ```
//!
//! A program sends itself to machines of its own kind. For machines of other kinds it carries images: see
//! [`bundle`].
//!
//! # Where to begin
//!
//! - [`run`] and [`child`]: a `main` function begins with one of these two
//! - [`Router`]: starts children. It has one function per method, such as [`Router::ssh`]. [`connect`] has
//!   the settings of the methods.
//! - [`export!`]: makes a function callable. [`call::Function`] describes which functions can be exported.
//! - [`Context`]: a process of the tree, with [`Context::call`], [`Context::stream`], [`Context::command`],
//!   [`Context::read_file`], [`Context::connect_tcp`]
//! - [`Sender`] and [`Receiver`]: carry values between any two contexts. [`Select`] gives the next value of
//!   several receivers and calls.
//! - [`Error`]: the kinds of failure, as an enum to match on. [`error`] has the types of its fields.
//! - `examples/` in the sources: eleven complete programs
//!
//! The guide is `docs/SUMMARY.md` in the sources. It leads from an empty directory to programs for several
//! processors. It explains how to resolve each error, and one page lists the equivalent of each Mitogen name.
//!
//! # Async and blocking
//!
//! The futures of this crate need no specific runtime: any executor can poll them. Code that is not async
//! uses the functions whose names begin with `blocking_`, or [`block_on`]. The documentation of each async
//! function says which, and `docs/reference/blocking.md` in the sources lists them.
//!
//! # Features
//!
//! - `cli` (default): the parts of the library that only the `offshoot` tool needs. Disable it in your own
//!   programs to make them smaller.
//! - `fakessh` (part of `cli`): the module [`fakessh`].
//! - `files`: the module `service::files`, with services that give files out and push them down the tree.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(unsafe_code)]

mod api;
mod builtin;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
pub mod connect;
mod engine;
#[cfg(all(feature = "cli", any(test, feature = "fuzzing")))]
#[doc(hidden)]
pub mod fuzzing;
mod image;
mod routing;
mod sys;
mod wire;

// `tests/namespace.rs` lists these names, with a reason for each.
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
#[cfg(feature = "fakessh")]
pub use builtin::fakessh;
pub use builtin::{facts, file, net, process, service, unix};
pub use connect::child::child;
pub use connect::program::Program;
pub use connect::run::run;
pub use engine::broker::Broker;
pub use image::bundle;
pub use sys::blocking::block_on;
pub use wire::codec::{Blob, Secret};
pub use wire::error::Error;
pub use wire::message::{ContextId, Handle, Message};

/// An allocator for programs that move large amounts of data.
pub mod alloc {
    pub use crate::sys::allocator::Allocator;
}

/// The functions that can be called, and the blocking iterator over a [`CallStream`].
pub mod call {
    pub use crate::api::function::{Allowed, Builtin, Function};
    pub use crate::api::stream::StreamIter;
}

/// Settings of receivers, and the types that iterating and sending return.
pub mod channel {
    pub use crate::api::receiver::{Iter, ReceiverBuilder};
    pub use crate::api::sender::Sending;
}

/// Waiting for the end of a [`Context`], and calls with a time limit.
pub mod context {
    pub use crate::api::ended::Ended;
    pub use crate::api::shutdown_handle::ShutdownHandle;
    pub use crate::api::with_timeout::WithTimeout;
}

/// The parts of an [`Error`]: kinds to match on, and the details of each.
pub mod error {
    pub use crate::wire::error::{
        CallError, ChannelError, ChannelErrorKind, Closed, ConnectError, ConnectErrorKind, IoError, Phase,
    };
    #[cfg(feature = "files")]
    pub use crate::wire::error::{FileError, FileErrorKind};
}

/// Log records: writing the log of this process to a file, and the records of other contexts.
pub mod log {
    pub use crate::engine::log::{Record, log_to_file};
}

/// Handlers of messages, and messages that contain several values.
pub mod message {
    pub use crate::api::handler::HandlerBuilder;
    pub use crate::wire::message::Values;
}

/// Policies decide which contexts may send to a handle.
pub mod policy {
    pub use crate::routing::handles::{Peer, Policy};
    pub use crate::routing::policy::{has_parent_authority, is_immediate_child};
}

/// Settings of routers, their limits, and the timers of I/O threads.
pub mod router {
    pub use crate::api::router::{MAX_MESSAGE_SIZE, RouterBuilder, WeakRouter};
    pub use crate::engine::broker::Timer;
}

/// Members of a [`Select`], the events that it returns, and queues of values that stay in this process.
pub mod select {
    pub use crate::api::latch::Latch;
    pub use crate::api::select::{Event, Iter, Member, MemberId};
}

/// The state of a context: its links, calls and queues. [`Context::stats`] requests it.
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

/// This guide page is compiled and run with the other examples.
#[cfg(doctest)]
#[doc = include_str!("../docs/guide/from-mitogen.md")]
mod from_mitogen {}

/// This guide page is compiled and run with the other examples.
#[cfg(doctest)]
#[doc = include_str!("../docs/guide/your-own-functions.md")]
mod your_own_functions {}

/// This guide page is compiled and run with the other examples.
#[cfg(doctest)]
#[doc = include_str!("../docs/guide/services.md")]
mod services {}

/// This guide page is compiled and run with the other examples.
#[cfg(doctest)]
#[doc = include_str!("../docs/guide/files.md")]
mod files {}

/// This guide page is compiled and run with the other examples.
#[cfg(doctest)]
#[doc = include_str!("../docs/guide/forwarding.md")]
mod forwarding {}

/// This guide page is compiled with the other examples.
#[cfg(all(doctest, feature = "files"))]
#[doc = include_str!("../docs/guide/file-services.md")]
mod file_services {}

/// This guide page is compiled and run with the other examples.
#[cfg(all(doctest, feature = "fakessh"))]
#[doc = include_str!("../docs/guide/rsync-git-scp.md")]
mod rsync_git_scp {}

/// This reference page is compiled and run with the other examples.
#[cfg(doctest)]
#[doc = include_str!("../docs/reference/blocking.md")]
mod blocking {}

/// The items that the macros expand to. Do not use them directly.
#[doc(hidden)]
pub mod __private {
    pub use inventory;

    #[cfg(feature = "cli")]
    pub use crate::api::exported::{EncodedArgs, Exported};
    pub use crate::api::function::{Entry, arguments, run};
    pub use crate::builtin::service::{entry, run_method};
    pub use crate::connect::child::{TestEntry, first_stage_for_tests, test_child};
    pub use crate::connect::handshake::ProgramBuild;
    pub use crate::connect::run::HangUp;
    pub use crate::engine::callee::Running;
    pub use crate::routing::runs_on::RunsOn;
}
