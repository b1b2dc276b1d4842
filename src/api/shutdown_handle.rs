//! Ordering the end of a context, and waiting for it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::api::context::Context;
use crate::engine::shared::Request;
use crate::sys::blocking::{block_on, block_until};

impl Context {
    /// Ends the context and everything behind it, and waits until it has
    /// gone.
    ///
    /// A context that does not end by itself is killed by its parent when its
    /// grace of 3 s is over. Does nothing if it has gone already.
    pub async fn shutdown(&self) {
        self.shutdown_nowait().await;
    }

    /// [`Context::shutdown`] for code that is not async: blocks.
    pub fn blocking_shutdown(&self) {
        self.shutdown_nowait().wait();
    }

    /// Orders the context and everything behind it to end, and returns at
    /// once. What it returns can be waited for, or dropped.
    pub fn shutdown_nowait(&self) -> ShutdownHandle {
        let (gone, ended) = oneshot::channel();
        self.shared().request(Request::Watch { context: self.id(), gone });
        self.shared().request(Request::End(self.id()));
        ShutdownHandle { ended }
    }
}

/// The end of a context that is on its way: a future that is ready when the
/// context has gone and, if this context had started it, has been reaped.
///
/// Dropping it changes nothing.
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
    /// Awaits it, for code that is not async: blocks.
    pub fn wait(self) {
        block_on(self);
    }

    /// As [`ShutdownHandle::wait`], for `limit` at most. Returns whether the
    /// context has gone; it can be waited for again if not. Blocks.
    pub fn wait_timeout(&mut self, limit: Duration) -> bool {
        block_until(self, Instant::now() + limit).is_some()
    }
}

impl Future for ShutdownHandle {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        // An error means that there was nothing to wait for.
        Pin::new(&mut self.ended).poll(cx).map(drop)
    }
}
