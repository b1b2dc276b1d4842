//! A door for other processes: a running program listens on a unix socket, and other programs of the same user join its
//! tree and use its contexts.
//!
//! A program that joins has the authority of the one that listens, so it may call functions in every context below it. It
//! must be the same build of the same program, as with every context, and must run as the same user.
//!
//! ```
//! use offshoot::{Error, Router, export, unix};
//!
//! fn whoami() -> u32 {
//!     std::process::id()
//! }
//! export!(whoami);
//!
//! # fn main() -> std::process::ExitCode {
//! # offshoot::run(app) }
//! # async fn app(router: Router) -> Result<(), Error> {
//! // In one program:
//! let web = router.local().await?; // or router.ssh("web1")
//! let listener = unix::listen(&router, None)?;
//!
//! // In another one, which gets the path of the socket and the id of the context in its own way:
//! let joined = unix::connect(listener.path()).await?;
//! let same = joined.router.context_by_id(web.id());
//! assert_eq!(same.call(whoami, ()).await?, web.call(whoami, ()).await?);
//! joined.router.shutdown().await; // ends what it has started itself, and nothing else
//! assert!(web.call(whoami, ()).await.is_ok());
//! # Ok(()) }
//! ```

// - `handshake`: what the two programs send before the first frame
// - `listener`: the side that listens
// - `client`: the side that joins
// - `vouching`: what the side that listens answers about the contexts below it

mod client;
mod handshake;
mod listener;
mod vouching;

pub use client::{Joined, connect};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use handshake::introduce;
pub use listener::{Listener, listen};
