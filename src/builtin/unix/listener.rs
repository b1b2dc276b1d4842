//! The side that listens.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::api::router::Router;
use crate::builtin::unix::{handshake, vouching};
use crate::connect::handshake::{Hello, Welcome};
use crate::connect::methods::attach::full_name;
use crate::engine::io::{Io, Neighbour};
use crate::engine::log::log_later;
use crate::engine::shared::Request;
use crate::sys::pipe::Stream;
use crate::sys::socket::{self, PrivateSocket};
use crate::sys::temporary;
use crate::wire::error::{Closed, Error, IoError};
use crate::wire::message::Handle;

/// The time that a client has for its part of the handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Clients that are in their handshake at once. The system holds the others.
const AT_ONCE: usize = 64;
/// How long to wait if the system does not let this process accept anybody, as when it has no descriptor left.
const PAUSE: Duration = Duration::from_millis(100);

/// A unix socket on which this program lets others join its tree. Dropping it ends the listening and removes the
/// socket; programs that have joined stay.
///
/// The [module](crate::unix) has an example.
#[derive(Debug)]
pub struct Listener {
    path: PathBuf,
    _stop: DropGuard,
}

impl Listener {
    /// The absolute path of the socket.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Listens on a unix socket, so that other programs can [join](crate::unix::connect) the tree of `router`. Only
/// processes of the same user can. Blocks for at most half a second.
///
/// Without a path the socket gets a new name in the directory for temporary files. Its mode is 0600. A socket that
/// nobody listens on any more, as after a SIGKILL, is replaced. It is removed when the listener is dropped and when the
/// router ends.
///
/// A program that has joined is a context with an id of its own, and appears among the
/// [children](crate::Router::children) of `router`. Its messages have the authority of `router`. When it ends,
/// everything that it has started through a context of its own ends with it; what it has started by
/// [`via`](crate::connect::Connect::via) stays, as part of that context.
///
/// A child can listen as well as the master. The [module](crate::unix) has an example.
///
/// # Errors
///
/// [`Error::Io`]: [`AddrInUse`](std::io::ErrorKind::AddrInUse) if another program listens there,
/// [`AlreadyExists`](std::io::ErrorKind::AlreadyExists) if the path names another kind of file,
/// [`InvalidInput`](std::io::ErrorKind::InvalidInput) if the path is too long for a socket, and what the system says.
/// [`Error::Closed`] if the router has ended.
pub fn listen(router: &Router, path: Option<&Path>) -> Result<Listener, Error> {
    let path = path.map_or_else(|| temporary::directory().join(name()), Path::to_owned);
    let while_listening = |error: std::io::Error| {
        Error::Io(IoError::while_doing(&format!("cannot listen on {}", path.display()), &error))
    };
    let socket = PrivateSocket::bind(&path).map_err(while_listening)?;
    let accepting = socket.listener().map_err(while_listening)?;
    let questions = vouching::serve(router)?;
    let (stop, path) = (CancellationToken::new(), socket.path().to_owned());
    let until = stop.clone();
    let begin = Request::Do(Box::new(move |io: &Rc<Io>| {
        let here = Rc::clone(io);
        io.tasks.spawn(async move {
            let _removed_at_the_end = socket;
            match UnixListener::from_std(accepting) {
                Ok(listener) => tokio::select! {
                    () = accept(&here, listener, questions) => {}
                    () = here.stop.cancelled() => {}
                    () = until.cancelled() => {}
                },
                Err(error) => log_later!(here, WARN, "the unix socket cannot be watched: {error}"),
            }
        });
    }));
    if !router.shared().request(begin) {
        return Err(Error::Closed(Closed::Router));
    }
    Ok(Listener { path, _stop: stop.drop_guard() })
}

/// A name that no other socket has.
fn name() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("offshoot-{}-{:x}.sock", std::process::id(), now.as_nanos())
}

async fn accept(io: &Rc<Io>, listener: UnixListener, questions: Handle) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let refused = Rc::new(Cell::new(0_u64));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((client, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let (here, refused) = (Rc::clone(io), Rc::clone(&refused));
        io.tasks.spawn(async move {
            let _place = place;
            let admitted = tokio::select! {
                admitted = tokio::time::timeout(HANDSHAKE, admit(&here, client, questions)) => admitted,
                () = here.stop.cancelled() => return,
            };
            let why = match admitted {
                Ok(Ok(())) => return,
                Ok(Err(why)) => why,
                Err(_) => format!("it was silent for {HANDSHAKE:?}"),
            };
            // A program may try without end.
            refused.set(refused.get() + 1);
            if refused.get().is_power_of_two() {
                log_later!(here, WARN, "a program that wanted to join by the unix socket was refused: {why}");
            }
        });
    }
}

/// Makes a client a context of this router.
async fn admit(io: &Rc<Io>, client: UnixStream, questions: Handle) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    if !socket::is_own(&client).map_err(text)? {
        return Err("another user has connected".into());
    }
    let pid = client.peer_cred().ok().and_then(|peer| peer.pid());
    let stream = Stream::of_socket(client.into_std().map_err(text)?.into()).map_err(text)?;
    let hello = match handshake::read_greeting(&stream.input).await {
        Ok(hello) => hello,
        Err(why) => {
            // The client has another error if it cannot be told.
            let _ = stream.output.write_all(&handshake::answer(Err(&why))?).await;
            return Err(why);
        }
    };
    let welcome = welcome(io, pid, &hello).await?;
    stream.output.write_all(&handshake::answer(Ok((&welcome, questions)))?).await.map_err(text)?;
    let (context, authority) = (welcome.id, Some(io.shared.me));
    let neighbour = Neighbour { context, name: &welcome.name, authority, stream, rest: Vec::new(), process: None };
    io.neighbours().attach(io, neighbour);
    log_later!(io, DEBUG, "context {context} has joined: {}", welcome.name);
    Ok(())
}

async fn welcome(io: &Rc<Io>, pid: Option<i32>, hello: &Hello) -> Result<Welcome, String> {
    let id = io.ids().allocate(io).await.map_err(|error| error.to_string())?;
    let own = format!("unix.{}", pid.map_or_else(|| hello.pid.to_string(), |pid| pid.to_string()));
    let mut parent_ids = vec![io.shared.me];
    parent_ids.extend_from_slice(&io.shared.parent_ids());
    Ok(Welcome {
        id,
        name: full_name(io, &own),
        parent_ids,
        levels: io.shared.wanted_levels(),
        debug: false,
        profiling: false,
        unidirectional: io.shared.unidirectional,
        allowed: None,
        max_message_size: io.shared.max_message_size,
        descendants: io.shared.descendants().unwrap_or_default(),
    })
}
