//! Sockets of this machine that take connections.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdTcpListener};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::rule::Listen;
use crate::sys::socket::{self, PrivateSocket};

/// A socket that listens. One of the file system is removed on drop.
pub(super) enum Listener {
    Tcp(StdTcpListener, SocketAddr),
    Unix(PrivateSocket),
}

/// The same inside of a runtime.
pub(super) enum Open {
    Tcp(TcpListener),
    Unix(UnixListener, #[expect(dead_code, reason = "it removes the socket on drop")] PrivateSocket),
}

/// A connection from this machine. If it is dropped, or this process is killed, a TCP connection is reset: its other end
/// must not take what has come for all. Unix sockets have no reset.
pub(super) enum Near {
    Tcp(TcpStream),
    Unix(UnixStream),
}

pub(super) trait Both: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Both for T {}

impl Listener {
    /// # Errors
    ///
    /// In words, with what to do.
    pub(super) fn bind(at: &Listen) -> Result<Self, String> {
        match at {
            Listen::Tcp { address, port } => {
                let bound = StdTcpListener::bind((address.as_str(), *port));
                // All addresses are of version 4 where there is no other.
                let bound = match bound {
                    Err(_) if address == "::" => StdTcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)),
                    bound => bound,
                };
                let bound = bound.and_then(|listener| {
                    listener.set_nonblocking(true)?;
                    let address = listener.local_addr()?;
                    Ok(Self::Tcp(listener, address))
                });
                bound.map_err(|error| {
                    let advice = match error.kind() {
                        io::ErrorKind::AddrInUse => "; choose another port, or 0 for any free one",
                        io::ErrorKind::PermissionDenied => "; ports below 1024 are root's, so choose another",
                        _ => "",
                    };
                    format!("cannot listen on port {port} of {address}: {error}{advice}")
                })
            }
            Listen::Unix(path) => PrivateSocket::bind(path)
                .map(Self::Unix)
                .map_err(|error| format!("cannot listen on {}: {error}", path.display())),
        }
    }

    /// Call it inside of a runtime.
    pub(super) fn open(self) -> io::Result<Open> {
        Ok(match self {
            Self::Tcp(listener, _) => Open::Tcp(TcpListener::from_std(listener)?),
            Self::Unix(socket) => Open::Unix(UnixListener::from_std(socket.listener()?)?, socket),
        })
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(_, address) => address.fmt(f),
            Self::Unix(socket) => write!(f, "{}", socket.path().display()),
        }
    }
}

impl Open {
    /// The next connection. Cancel safe.
    pub(super) async fn accept(&self) -> io::Result<Near> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                stream.set_zero_linger()?;
                Ok(Near::Tcp(stream))
            }
            Self::Unix(listener, _) => Ok(Near::Unix(listener.accept().await?.0)),
        }
    }
}

impl Near {
    pub(super) fn stream(&mut self) -> &mut dyn Both {
        match self {
            Self::Tcp(stream) => stream,
            Self::Unix(stream) => stream,
        }
    }

    /// Closes it, when both directions have ended.
    pub(super) fn close_in_order(self) {
        if let Self::Tcp(stream) = self {
            socket::close_in_order(&stream);
        }
    }
}
