//! Bytes that are written to a receiver in another context, at the pace of that receiver.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context as Task, Poll, ready};

use crate::api::sender::{Sender, Sending};
use crate::wire::codec::Blob;
use crate::wire::error::Error;

/// Bytes of one chunk.
const CHUNK: usize = 32 * 1024;

/// The writing side. At most one chunk waits for room in the window.
pub(super) struct BlobWriter {
    to: Sender<Blob>,
    waiting: Option<Sending>,
}

impl BlobWriter {
    pub(super) fn new(to: Sender<Blob>) -> Self {
        Self { to, waiting: None }
    }

    /// Ready when everything that was written has room at the far end.
    pub(super) fn poll_flush(&mut self, cx: &mut Task<'_>) -> Poll<Result<(), Error>> {
        if let Some(waiting) = &mut self.waiting {
            let sent = ready!(Pin::new(waiting).poll(cx));
            self.waiting = None;
            sent?;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes the front of `bytes`, and returns how many they are.
    pub(super) fn poll_write(&mut self, cx: &mut Task<'_>, bytes: &[u8]) -> Poll<Result<usize, Error>> {
        ready!(self.poll_flush(cx))?;
        let count = bytes.len().min(CHUNK);
        if count > 0 {
            self.waiting = Some(self.to.send(Blob(bytes[..count].to_vec())));
        }
        Poll::Ready(Ok(count))
    }

    /// Signals that no more bytes follow.
    pub(super) fn close(&self) {
        self.to.close();
    }

    /// Sends what is no data: an empty chunk.
    pub(super) fn send_empty(&self) -> Sending {
        self.to.send(Blob(Vec::new()))
    }
}
