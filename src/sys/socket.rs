//! Connections to TCP ports and unix sockets, made without blocking.

use std::fs::{File, Permissions};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, Flock, FlockArg, OFlag, fcntl};
use nix::libc;
#[cfg(target_os = "linux")]
use nix::sys::socket::getsockopt;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpStream, UnixStream};

use crate::sys::blocking::on_other_thread;
use crate::sys::deadline::deadline;

/// How long one address of a name may take if the name has more. A packet filter that drops everything at one address
/// must not keep the others from being tried.
const ONE_OF_MANY: Duration = Duration::from_secs(10);
/// How long to wait before another attempt at what the system has no event for.
const PAUSE: Duration = Duration::from_millis(10);

/// Has the close of a socket end the connection in order. Otherwise it is reset, also if this process is killed: see
/// [`connect_tcp`].
pub(crate) fn close_in_order(socket: &impl AsFd) {
    // If the system refuses, the connection is broken already.
    let _ = setsockopt(socket, sockopt::Linger, &libc::linger { l_onoff: 0, l_linger: 0 });
}

/// Connects to `HOST:PORT`. All addresses of the host are tried, one after the other. If the socket is closed before
/// [`close_in_order`], the other end gets a reset.
///
/// # Errors
///
/// [`ErrorKind::NotFound`] if there is no such host, [`ErrorKind::InvalidInput`] if this is no address, and otherwise
/// what the system says of the last address.
pub(crate) async fn connect_tcp(address: String) -> io::Result<OwnedFd> {
    let found = on_other_thread(move || address.to_socket_addrs().map(Iterator::collect::<Vec<_>>));
    let found = found.await.map_err(io::Error::other)?.map_err(|error| match (error.kind(), error.raw_os_error()) {
        (ErrorKind::InvalidInput, _) => io::Error::new(ErrorKind::InvalidInput, "write HOST:PORT"),
        // The resolver has no kinds of its own.
        (_, None) => io::Error::new(ErrorKind::NotFound, format!("no such host: {error}")),
        _ => error,
    })?;
    let mut last = io::Error::new(ErrorKind::NotFound, "the host has no address");
    for (nth, address) in found.iter().enumerate() {
        let is_last = nth + 1 == found.len();
        match connect_to(*address, is_last).await {
            Ok(stream) => {
                // What is forwarded may be typed by hand. Bulk data comes in large pieces.
                stream.set_nodelay(true)?;
                stream.set_zero_linger()?;
                return Ok(stream.into_std()?.into());
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn connect_to(address: SocketAddr, is_last: bool) -> io::Result<TcpStream> {
    let connecting = TcpStream::connect(address);
    if is_last {
        return connecting.await;
    }
    tokio::time::timeout(ONE_OF_MANY, connecting).await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
}

/// Connects to a unix socket.
pub(crate) async fn connect_unix(path: &Path) -> io::Result<OwnedFd> {
    loop {
        match UnixStream::connect(path).await {
            // Its queue is full.
            Err(error) if error.kind() == ErrorKind::WouldBlock => tokio::time::sleep(PAUSE).await,
            connected => return Ok(connected?.into_std()?.into()),
        }
    }
}

/// Connects to a unix socket of this user within a time limit. The socket blocks. Blocks.
///
/// # Errors
///
/// [`ErrorKind::PermissionDenied`] if another user listens there, [`ErrorKind::TimedOut`] if nobody accepts in time, and
/// what the system says.
pub(crate) fn connect_own_unix(path: &Path, limit: Duration) -> io::Result<OwnedFd> {
    let (deadline, address) = (deadline(limit), UnixAddr::new(path)?);
    let socket = new_socket()?;
    loop {
        match connect(socket.as_raw_fd(), &address) {
            Ok(()) => break,
            // Its queue is full.
            Err(Errno::EAGAIN) if Instant::now() < deadline => std::thread::sleep(PAUSE),
            Err(Errno::EAGAIN) => return Err(ErrorKind::TimedOut.into()),
            Err(error) => return Err(error.into()),
        }
    }
    match is_own(&socket)? {
        true => Ok(socket),
        false => Err(io::Error::new(ErrorKind::PermissionDenied, "another user listens there")),
    }
}

/// Whether the process at the other end of a unix socket runs as this user.
pub(crate) fn is_own(socket: &impl AsFd) -> io::Result<bool> {
    #[cfg(target_os = "linux")]
    let uid = getsockopt(socket, sockopt::PeerCredentials)?.uid();
    #[cfg(not(target_os = "linux"))]
    let uid = nix::unistd::getpeereid(socket)?.0.as_raw();
    Ok(uid == nix::unistd::geteuid().as_raw())
}

/// The process that listens at a unix socket of this user, if the system says which. It need not accept for that.
#[cfg(feature = "cli")]
pub(crate) fn listener(path: &Path) -> Option<i32> {
    #[cfg(target_os = "linux")]
    let found = getsockopt(&connect_own_unix(path, Duration::ZERO).ok()?, sockopt::PeerCredentials).ok()?.pid();
    #[cfg(not(target_os = "linux"))]
    let found = {
        let _ = path;
        0
    };
    // The process may be in another namespace, where this one cannot name it.
    (found > 0).then_some(found)
}

/// How often a locked directory is tried, with a pause each time: half a second is far more than a bind takes.
const LOCK_ATTEMPTS: u32 = 50;
/// Connections that wait to be accepted, as many as std takes.
const QUEUE: i32 = 128;

/// A unix socket that listens, for this user only. The file is removed on drop.
#[derive(Debug)]
pub(crate) struct PrivateSocket {
    listener: UnixListener,
    path: PathBuf,
    /// The device and the number of the file, as another may have its name by then.
    file: (u64, u64),
}

impl PrivateSocket {
    /// Listens at a path. A socket that nobody listens on any more, as after a SIGKILL, is replaced.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AddrInUse`] if another program listens there, [`ErrorKind::AlreadyExists`] if another file has the
    /// name, and what the system says.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let _locked = locked(path.parent().unwrap_or(&path));
        remove_stale(&path)?;
        let socket = new_socket()?;
        bind(socket.as_raw_fd(), &UnixAddr::new(&path)?)?;
        // Nobody can connect before it listens, so nobody comes in by the mode that it is born with.
        std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        listen(&socket, Backlog::new(QUEUE)?)?;
        let file = identity(&path)?;
        Ok(Self { listener: socket.into(), path, file })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The socket, which never blocks.
    pub(crate) fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }
}

impl Drop for PrivateSocket {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|file| file == self.file) {
            // If the system refuses, the next one at this path replaces it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Locks a directory: of two programs that find the same old socket, the second must not remove the socket of the first.
/// `None` if it cannot be read, or another program, which may be anyone's, does not release it.
fn locked(directory: &Path) -> Option<Flock<File>> {
    let mut directory = File::open(directory).ok()?;
    for _ in 0..LOCK_ATTEMPTS {
        directory = match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => return Some(locked),
            Err((directory, _)) => directory,
        };
        std::thread::sleep(PAUSE);
    }
    None
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

fn remove_stale(path: &Path) -> io::Result<()> {
    let metadata = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        metadata => metadata?,
    };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(ErrorKind::AlreadyExists, "a file that is no socket is there; choose another path"));
    }
    // A program that accepts nobody must not keep this one waiting.
    let socket = new_socket()?;
    match connect(socket.as_raw_fd(), &UnixAddr::new(path)?) {
        Err(Errno::ECONNREFUSED) => std::fs::remove_file(path),
        Ok(()) | Err(Errno::EAGAIN) => {
            Err(io::Error::new(ErrorKind::AddrInUse, "another program listens on it; choose another path"))
        }
        Err(error) => Err(error.into()),
    }
}

/// A unix socket that never blocks.
fn new_socket() -> io::Result<OwnedFd> {
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::empty(), None)?;
    fcntl(&socket, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    fcntl(&socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(socket)
}
