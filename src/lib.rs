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
//! In the order in which data goes, each file one noun:
//!
//! - [`run`], [`child`](child()): how a process begins, as controller or as child
//! - `router`, `context`, `function`: what the user holds, calls, exports;
//!   `neighbour`: streams and routes that the user brings;
//!   `exported`: the same by name and in JSON, for tools
//! - `call`, `chain`: calls under way, and chains of them
//! - `sender`, `receiver`, `channel`, `select`, `handler`: what else goes to and fro
//! - `queue`, `latch`, `blocking`: what waits, and who waits for it
//! - `payload`, `message`: encoding, addresses
//! - `io`: the I/O side, owner of all state, on the thread of a [`Broker`]; `tasks`: what runs there
//! - `routing`, `flow`, `outbox`, `assembly`, `batch`, `frame`: what it decides with, without I/O
//! - `link`, `pipe`: descriptors; `dispatch`: calls that come in
//! - `method`, `bootstrap`, `handshake`, `image`, [`bundle`], `process`, `terminal`, `entrance`: how a child comes up
//! - `steps`: a connect in words, for tools
//! - [`command`], [`file`](mod@file), [`facts`]: functions that every copy has
//! - `log`: records from everywhere to the master, and into a file; `stats`, `profile`: what a context does and has done

#![deny(unsafe_code)]

mod allocator;
mod assembly;
mod batch;
mod blocking;
mod bootstrap;
mod broker;
pub mod bundle;
mod call;
mod chain;
mod channel;
mod child;
pub mod command;
mod context;
mod dispatch;
#[cfg(target_os = "linux")]
mod entrance;
mod error;
#[cfg(feature = "cli")]
mod exported;
pub mod facts;
pub mod file;
mod flow;
mod frame;
mod function;
mod handler;
mod handshake;
mod image;
mod io;
mod latch;
mod link;
mod log;
mod message;
mod method;
mod neighbour;
mod outbox;
mod panic;
mod payload;
mod pipe;
pub mod policy;
mod process;
mod profile;
mod queue;
mod receiver;
mod router;
mod routing;
mod run;
mod select;
mod sender;
mod stats;
#[cfg(feature = "cli")]
mod steps;
mod tasks;
mod terminal;

pub use allocator::Allocator;
pub use broker::{Broker, Timer};
pub use call::Call;
pub use chain::CallChain;
pub use channel::Channel;
pub use child::child;
pub use context::{Context, Econtext, Ending, Limited};
pub use error::{CallError, Error, Phase, StreamError, StreamErrorKind};
#[cfg(feature = "cli")]
pub use exported::{EncodedArgs, Exported};
pub use function::{Function, Value};
pub use handler::HandlerBuilder;
pub use log::{LogHook, Record, log_to_file};
pub use message::{ContextId, Handle, Message, Values};
pub use method::{
    Buildah, CONNECT_TIMEOUT, CheckHostKeys, Connect, Descendants, Doas, Docker, Fork, Incus, Jail, Keepalive, Kubectl,
    Local, Lxc, Lxd, Podman, Setns, Ssh, Su, Sudo,
};
pub use payload::{Blob, Secret};
pub use receiver::{Iter, Receiver, ReceiverBuilder};
pub use router::{MAX_MESSAGE_SIZE, Router, RouterBuilder, run_with_router};
pub use routing::{Peer, Policy};
pub use run::run;
pub use select::{Event, Member, MemberId, Select};
pub use sender::{Sender, Sending};
pub use stats::{BlockedSender, LinkStats, PendingCall, ReceiverStats, ServedCall, Stats, WaitsFor};
#[cfg(feature = "cli")]
pub use steps::{Examined, Step, StepStatus};

/// Compiled and run with the other examples.
#[cfg(doctest)]
#[doc = include_str!("../docs/from-mitogen.md")]
mod from_mitogen {}

/// What the macros expand to. Not for use by hand.
#[doc(hidden)]
pub mod __private {
    pub use inventory;

    pub use crate::child::{TestEntry, first_stage_for_tests, test_child};
    pub use crate::function::{Entry, Lead, Running, run};
    pub use crate::handshake::ProgramBuild;
    pub use crate::run::HangUp;
}
