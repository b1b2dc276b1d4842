//! Connections to TCP ports and unix sockets, made on the machine of another context.
//!
//! ```
//! use offshoot::{Error, Router};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # fn main() -> std::process::ExitCode {
//! # offshoot::run(app) }
//! # async fn app(router: Router) -> Result<(), Box<dyn std::error::Error>> {
//! # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
//! # let port = listener.local_addr()?.port();
//! # std::thread::spawn(move || { let mut end = listener.accept().unwrap().0; std::io::copy(&mut end.try_clone().unwrap(), &mut end) });
//! let web = router.local().await?; // or router.ssh("web1")
//! let mut echo = web.connect_tcp(format!("localhost:{port}")).await?; // a server that sends everything back
//! echo.write_all(b"hello").await?;
//! echo.shutdown().await?; // the server reads the end, and can still answer
//! let mut answer = String::new();
//! echo.read_to_string(&mut answer).await?;
//! assert_eq!(answer, "hello");
//! # Ok(()) }
//! ```

// - `connect_socket`: the far side

mod connect_socket;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context as Task, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_core::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::connect_socket::connect_socket;
pub(crate) use self::connect_socket::{Reply, Target};
use crate::api::call::Call;
use crate::api::context::Context;
use crate::api::function::Builtin;
use crate::api::receiver::Receiver;
use crate::api::with_timeout::WithTimeout;
use crate::builtin::blob_writer::BlobWriter;
use crate::engine::shared::Request;
use crate::wire::codec::Blob;
use crate::wire::error::{Error, IoError};

/// How long a connection that was dropped may take to pass on what was written before. A peer that reads nothing must not
/// keep it for ever.
const LINGER: Duration = Duration::from_secs(10);

/// What connects to ports and sockets, for [`Connect::allow`](crate::connect::Connect::allow), which has an example.
pub const SOCKETS: Builtin = Builtin(|| vec![std::any::type_name_of_val(&connect_socket)]);

impl Context {
    /// Connects to a TCP port, as `HOST:PORT`, from the machine of this context. The name of the host is looked
    /// up there. Dropping the future ends the attempt. The [module](crate::net) has an example.
    /// Code that is not async uses [`block_on`](crate::block_on).
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if it cannot connect, of the kind that the system there reports:
    /// [`ConnectionRefused`](io::ErrorKind::ConnectionRefused),
    /// [`HostUnreachable`](io::ErrorKind::HostUnreachable), [`TimedOut`](io::ErrorKind::TimedOut) and so on, and
    /// [`NotFound`](io::ErrorKind::NotFound) if there is no such host. Also the errors of [`Context::call`].
    pub async fn connect_tcp(&self, address: impl fmt::Display) -> Result<RemoteStream, Error> {
        RemoteStream::connect(self, Target::Tcp(address.to_string())).await
    }

    /// Connects to a unix socket on the machine of this context; otherwise as [`Context::connect_tcp`].
    ///
    /// Code that is not async uses [`block_on`](crate::block_on).
    ///
    /// # Errors
    ///
    /// As [`Context::connect_tcp`]. [`NotFound`](io::ErrorKind::NotFound) means that there is no such file.
    pub async fn connect_unix(&self, path: impl Into<PathBuf>) -> Result<RemoteStream, Error> {
        RemoteStream::connect(self, Target::Unix(path.into())).await
    }
}

impl WithTimeout<'_> {
    /// As [`Context::connect_tcp`], but fails with [`Error::Timeout`] when the time limit has passed. The
    /// connection itself has no time limit. Code that is not async uses [`block_on`](crate::block_on).
    ///
    /// # Errors
    ///
    /// As [`Context::connect_tcp`], and [`Error::Timeout`].
    pub async fn connect_tcp(&self, address: impl fmt::Display) -> Result<RemoteStream, Error> {
        self.within("a connection", self.context.connect_tcp(address)).await
    }

    /// As [`Context::connect_unix`], but fails with [`Error::Timeout`] when the time limit has passed. The
    /// connection itself has no time limit. Code that is not async uses [`block_on`](crate::block_on).
    ///
    /// # Errors
    ///
    /// As [`Context::connect_unix`], and [`Error::Timeout`].
    pub async fn connect_unix(&self, path: impl Into<PathBuf>) -> Result<RemoteStream, Error> {
        self.within("a connection", self.context.connect_unix(path)).await
    }
}

/// A connection that another context has made; see [`Context::connect_tcp`] and [`Context::connect_unix`].
///
/// Each direction moves at the pace of its reader: at most a window (1 MiB) is under way. A shutdown ends what is
/// written, and the other direction stays open. `tokio::io::split` makes two halves of it.
///
/// Dropping it closes the socket. What was written before is still passed on, for at most 10 s. If this context ends or is
/// lost before, a TCP connection is reset, so that its other end does not take what has come for all.
///
/// The [module](crate::net) has an example.
pub struct RemoteStream {
    replies: Receiver<Reply>,
    rest: Bytes,
    /// Whether the far end writes no more, or the connection has broken.
    is_read: bool,
    writer: BlobWriter,
    /// Whether this end writes no more.
    is_written: bool,
    /// The call whose end closes the socket. Only a drop takes it.
    call: Option<Call<()>>,
    #[cfg(feature = "fakessh")]
    resets: bool,
}

impl fmt::Debug for RemoteStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RemoteStream")
    }
}

impl RemoteStream {
    async fn connect(context: &Context, target: Target) -> Result<Self, Error> {
        let replies: Receiver<Reply> = Receiver::from_context(context.shared(), context.id(), true);
        let mut call = context.call(connect_socket, (target, replies.sender()));
        let reply = tokio::select! {
            biased;
            reply = replies.recv() => reply?,
            result = &mut call => {
                result?;
                replies.recv().await?
            }
        };
        match reply {
            Reply::Connected(Some(to)) => Ok(Self {
                replies,
                rest: Bytes::new(),
                is_read: false,
                writer: BlobWriter::new(to),
                is_written: false,
                call: Some(call),
                #[cfg(feature = "fakessh")]
                resets: false,
            }),
            Reply::Failed(error) => {
                let text = format!("{error} (in {})", context.name());
                Err(Error::Io(IoError::new(error.kind(), text)).escaped())
            }
            _ => Err(Error::Payload("a connection that is not made carries bytes".into())),
        }
    }

    /// Sets whether dropping it resets the connection, as what was carried by it is not all.
    #[cfg(feature = "fakessh")]
    pub(crate) fn reset_on_drop(&mut self, resets: bool) {
        self.resets = resets;
    }

    /// If the far end takes no more, writing fails from then on, as on a broken pipe.
    fn checked<T>(&mut self, result: Result<T, Error>) -> io::Result<T> {
        result.map_err(|error| {
            self.is_written = true;
            io::Error::new(io::ErrorKind::BrokenPipe, error)
        })
    }

    /// The next reply that is not handled yet, as bytes; none at the end.
    fn poll_reply(&mut self, cx: &mut Task<'_>) -> Poll<io::Result<Bytes>> {
        let broken = |error: Error| io::Error::new(io::ErrorKind::ConnectionReset, error);
        Poll::Ready(match ready!(Pin::new(&mut self.replies).poll_next(cx)) {
            Some(Ok(Reply::Bytes(Blob(bytes)))) => Ok(bytes.into()),
            Some(Ok(Reply::Failed(error))) => Err(io::Error::new(error.kind(), Error::Io(error).escaped())),
            Some(Err(error)) => Err(broken(error)),
            Some(Ok(Reply::Connected(_))) | None => Err(io::ErrorKind::ConnectionReset.into()),
        })
    }
}

impl AsyncRead for RemoteStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Task<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.rest.is_empty() && !self.is_read {
            let reply = ready!(self.poll_reply(cx));
            self.is_read = !matches!(&reply, Ok(bytes) if !bytes.is_empty());
            self.rest = reply?;
        }
        let count = self.rest.len().min(buffer.remaining());
        buffer.put_slice(&self.rest[..count]);
        self.rest.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for RemoteStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Task<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_written {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let written = ready!(self.writer.poll_write(cx, bytes));
        Poll::Ready(self.checked(written))
    }

    /// Ready when everything that was written has room at the far end.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Task<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(self.writer.poll_flush(cx));
        Poll::Ready(self.checked(flushed))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Task<'_>) -> Poll<io::Result<()>> {
        if !self.is_written {
            ready!(self.as_mut().poll_flush(cx))?;
            self.writer.close();
            self.is_written = true;
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for RemoteStream {
    fn drop(&mut self) {
        let Some(call) = self.call.take().filter(|call| !call.is_finished()) else { return };
        // The end of the call closes the socket without an end of the data.
        #[cfg(feature = "fakessh")]
        if self.resets {
            return;
        }
        let ending = self.writer.send_empty();
        // Outlives this value, as the bytes do that were written. At its end the call is dropped, which closes
        // what is left.
        call.inner.shared().clone().request(Request::Do(Box::new(move |io| {
            io.tasks.spawn(async move {
                if ending.await.is_ok() {
                    let _ = tokio::time::timeout(LINGER, call).await;
                }
            });
        })));
    }
}
