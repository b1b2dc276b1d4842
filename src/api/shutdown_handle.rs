//! Ending a context, and waiting until it has gone.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::api::context::Context;
use crate::engine::shared::Request;
use crate::sys::blocking::{block_on, block_until};
use crate::sys::deadline::deadline;

impl Context {
    /// Ends the context and everything behind it, and waits until it has gone. After the first poll, dropping
    /// the future only ends the wait.
    ///
    /// If a context does not end by itself within 3 s, its parent kills it;
    /// [`Broker::set_shutdown_timeout`](crate::Broker::set_shutdown_timeout) of the parent changes this time.
    /// Has no effect if the context has already gone.
    /// Code that is not async uses [`Context::blocking_shutdown`].
    pub async fn shutdown(&self) {
        self.shutdown_nowait().await;
    }

    /// [`Context::shutdown`] for code that is not async: blocks until the context has gone.
    pub fn blocking_shutdown(&self) {
        self.shutdown_nowait().wait();
    }

    /// Orders the context and everything behind it to end, and returns immediately. The returned handle can
    /// be awaited or dropped.
    pub fn shutdown_nowait(&self) -> ShutdownHandle {
        let (gone, ended) = oneshot::channel();
        self.shared().request(Request::Watch { context: self.id(), gone });
        self.shared().request(Request::End(self.id()));
        ShutdownHandle { ended }
    }
}

/// A future that is ready when a context that was ordered to end has gone. If this context started it, its
/// process has also been reaped by then.
///
/// Dropping the handle has no effect on the context.
///
/// ```
/// use std::time::Duration;
///
/// use offshoot::{Error, Router};
///
/// fn main() -> Result<(), Error> {
///     offshoot::child();
///     let router = Router::new()?;
///     let mut gone = router.local().blocking_connect()?.shutdown_nowait();
///     while !gone.wait_timeout(Duration::from_secs(1)) {
///         println!("it takes its time");
///     }
///     router.blocking_shutdown();
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct ShutdownHandle {
    ended: oneshot::Receiver<()>,
}

impl ShutdownHandle {
    /// Waits until the context has gone, for code that is not async: blocks.
    pub fn wait(self) {
        block_on(self);
    }

    /// As [`ShutdownHandle::wait`], but blocks for at most `limit`. Returns whether the context has gone. If
    /// it returns false, it can be called again.
    pub fn wait_timeout(&mut self, limit: Duration) -> bool {
        block_until(self, deadline(limit)).is_some()
    }
}

impl Future for ShutdownHandle {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        // An error means that there was nothing to wait for.
        Pin::new(&mut self.ended).poll(cx).map(drop)
    }
}
