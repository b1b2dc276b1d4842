//! Connections to TCP ports and unix sockets, made without blocking.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};

use crate::sys::blocking::on_other_thread;

/// How long one address of a name may take if the name has more. A packet filter that drops everything at one address
/// must not keep the others from being tried.
const ONE_OF_MANY: Duration = Duration::from_secs(10);
/// How long to wait before another attempt if the queue of a unix socket is full. The system has no event for it.
const QUEUE_IS_FULL: Duration = Duration::from_millis(10);

/// Connects to `HOST:PORT`. All addresses of the host are tried, one after the other.
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
            Err(error) if error.kind() == ErrorKind::WouldBlock => tokio::time::sleep(QUEUE_IS_FULL).await,
            connected => return Ok(connected?.into_std()?.into()),
        }
    }
}
