//! The far side of a connection: connects a socket, and carries its bytes.

use std::future::Future;
use std::io;
use std::path::PathBuf;

use bytes::BytesMut;
use serde::{Deserialize, Serialize};

use crate::api::econtext::Econtext;
use crate::api::function::Value;
use crate::api::receiver::Receiver;
use crate::api::sender::Sender;
use crate::sys::pipe::{Input, Output};
use crate::sys::process;
use crate::sys::socket;
use crate::wire::codec::Blob;
use crate::wire::error::{ChannelErrorKind, Error, IoError};

/// Bytes of one chunk.
const CHUNK: usize = 32 * 1024;

/// What to connect to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Target {
    Tcp(String),
    Unix(PathBuf),
}

/// What the far side says of a connection.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// It is made. The sender takes what is written to it: closing it ends that, and an empty chunk ends the whole
    /// connection.
    Connected(#[serde(deserialize_with = "crate::api::sender::to_its_origin")] Option<Sender<Blob>>),
    /// It cannot be made, or has broken.
    Failed(IoError),
    /// Bytes that were read; none at the end.
    Bytes(Blob),
}

impl Value for Reply {}

/// Closes the sender on drop, so that the caller learns the end in every case.
struct Closing(Sender<Reply>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Connects to `target`, and carries bytes until both directions have ended or the caller ends the connection.
pub(super) async fn connect_socket(econtext: &Econtext, target: Target, to: Sender<Reply>) -> io::Result<()> {
    let to = Closing(to);
    process::raise_open_files();
    let (connected, name) = match target {
        Target::Tcp(address) => (socket::connect_tcp(address.clone()).await, address),
        Target::Unix(path) => (socket::connect_unix(&path).await, path.display().to_string()),
    };
    let connected = connected.and_then(|fd| Ok((Output::new(fd.try_clone()?)?, Input::new(fd)?.with_resets())));
    let (output, input) = match connected {
        Ok(both) => both,
        Err(error) => {
            let error = IoError::new(error.kind(), format!("cannot connect to {name}: {error}"));
            // If the caller is gone, it needs no reason.
            let _ = to.0.send(Reply::Failed(error)).await;
            return Ok(());
        }
    };
    let from: Receiver<Blob> = Receiver::from_context(econtext.shared(), econtext.caller_id(), true);
    to.0.send(Reply::Connected(Some(from.sender()))).await.map_err(io::Error::other)?;
    if carry(&from, &output, read(&input, &to.0)).await {
        socket::close_in_order(&output);
    }
    Ok(())
}
crate::export!(bound connect_socket);

/// Carries bytes in both directions until both have ended or the caller has ended the connection. Returns false if the
/// caller is gone, so that nobody knows what is missing.
async fn carry(from: &Receiver<Blob>, output: &Output, reading: impl Future<Output = ()>) -> bool {
    let writing = write(from, output);
    tokio::pin!(writing, reading);
    let (written, is_read) = tokio::select! {
        written = &mut writing => (written, false),
        () = &mut reading => (writing.await, true),
    };
    match written {
        Written::HalfClosed if !is_read => tokio::select! {
            // Only the end of the whole connection can follow.
            end = from.recv() => end.is_ok(),
            () = &mut reading => true,
        },
        Written::Broken if !is_read => {
            // The caller's next write fails.
            from.close();
            reading.await;
            true
        }
        Written::Gone => false,
        _ => true,
    }
}

/// How the writing has ended.
enum Written {
    /// The caller writes no more, and still reads.
    HalfClosed,
    /// The other end takes no more.
    Broken,
    /// The caller has ended the connection.
    Ended,
    /// The caller is gone.
    Gone,
}

/// Writes what comes from the caller.
async fn write(from: &Receiver<Blob>, output: &Output) -> Written {
    loop {
        match from.recv().await {
            Ok(Blob(bytes)) if bytes.is_empty() => return Written::Ended,
            Ok(Blob(bytes)) => {
                if output.write_all(&bytes).await.is_err() {
                    return Written::Broken;
                }
            }
            Err(Error::Channel(error)) if error.kind == ChannelErrorKind::SenderClosed => {
                output.end();
                return Written::HalfClosed;
            }
            Err(_) => return Written::Gone,
        }
    }
}

/// Sends what the other end writes, to its end or until the caller reads no more.
async fn read(input: &Input, to: &Sender<Reply>) {
    loop {
        let mut chunk = BytesMut::with_capacity(CHUNK);
        let reply = match input.read_buf(&mut chunk).await {
            Ok(_) => Reply::Bytes(Blob(chunk.into())),
            Err(error) => Reply::Failed(error.into()),
        };
        let is_last = !matches!(&reply, Reply::Bytes(Blob(bytes)) if !bytes.is_empty());
        if to.send(reply).await.is_err() || is_last {
            return;
        }
    }
}
