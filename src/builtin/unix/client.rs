//! The side that joins.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::api::context::Context;
use crate::api::router::Router;
use crate::builtin::unix::{handshake, vouching};
use crate::connect::handshake::{Hello, Welcome};
use crate::connect::master;
use crate::engine::broker::Broker;
use crate::sys::blocking::on_other_thread;
use crate::sys::socket;
use crate::wire::error::{Closed, ConnectError, ConnectErrorKind, Error, IoError, Phase};
use crate::wire::message::Handle;

/// How long the program that listens may take to accept and to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// What a program has that has joined the tree of another one.
///
/// The [module](crate::unix) has an example.
#[derive(Debug)]
#[non_exhaustive]
pub struct Joined {
    /// The router of this program in that tree. It ends when the program that listens ends, and when its last clone is
    /// dropped. Its [`myself`](Router::myself) is the context that the other program sees.
    pub router: Router,
    /// The program that listens.
    pub listener: Context,
}

/// Joins the tree of the program that [listens](crate::unix::listen) at `path`.
///
/// The new router is not a master: its ids come from the tree, so they never collide with those of others. What the
/// contexts that it starts print and log goes to the log of the master. Messages have at most the size that the tree
/// allows.
///
/// Dropping the future gives up; a context that the other program had already made for this one ends.
/// Code that is not async uses [`block_on`](crate::block_on). The [module](crate::unix) has an example.
///
/// # Errors
///
/// - [`Error::Io`] if there is nobody to connect to: [`NotFound`](std::io::ErrorKind::NotFound) without a socket,
///   [`ConnectionRefused`](std::io::ErrorKind::ConnectionRefused) if its program has gone,
///   [`PermissionDenied`](std::io::ErrorKind::PermissionDenied) if it belongs to another user,
///   [`TimedOut`](std::io::ErrorKind::TimedOut) or [`WouldBlock`](std::io::ErrorKind::WouldBlock) if nobody answers
///   within 10 s
/// - [`Error::Connect`] of kind [`Mismatch`](ConnectErrorKind::Mismatch) if the other program refuses, because it is
///   another program or another build
pub async fn connect(path: impl AsRef<Path>) -> Result<Joined, Error> {
    let path = path.as_ref().to_owned();
    let broker = Broker::new()?;
    let asked = path.clone();
    let (done, answered) = oneshot::channel();
    // The I/O thread has the threads that may block.
    broker.defer(move || drop(on_other_thread(move || done.send(introduce(&asked)))))?;
    let (socket, welcome, questions) = answered.await.map_err(|_| Error::Closed(Closed::Router))??;
    let listener = welcome.parent_ids.first().copied();
    let router = master::join(&broker, *welcome, socket)?;
    vouching::ask_at(router.shared(), questions);
    let listener = listener.map(|id| Context::new(router.shared().clone(), id, &path.display().to_string()));
    let listener = listener.unwrap_or_else(|| router.myself());
    Ok(Joined { router, listener })
}

/// Blocks.
fn introduce(path: &Path) -> Result<(OwnedFd, Box<Welcome>, Handle), Error> {
    let failed = |what: &str, error: std::io::Error| {
        Error::Io(IoError::while_doing(&format!("cannot {what} {}", path.display()), &error))
    };
    let refused = |why: String| {
        let error = ConnectError::new(ConnectErrorKind::Mismatch, Phase::Handshake, path.display().to_string(), why);
        Error::from(error.with_advice("start both programs from the same build"))
    };
    let greeting = Hello::own(false).and_then(|hello| handshake::greeting(&hello)).map_err(refused)?;
    let socket = socket::connect_own_unix(path, ANSWER).map_err(|error| failed("connect to", error))?;
    let socket = UnixStream::from(socket);
    let limit = Some(ANSWER);
    let limited = socket.set_nonblocking(false).and_then(|()| socket.set_read_timeout(limit));
    limited.and_then(|()| socket.set_write_timeout(limit)).map_err(|error| failed("connect to", error))?;
    let answer = handshake::introduce(&socket, &greeting).map_err(|error| failed("join the program at", error))?;
    let (welcome, questions) =
        answer.map_err(|why| refused(format!("the program at {} refuses: {why}", path.display())))?;
    Ok((socket.into(), Box::new(welcome), questions))
}
