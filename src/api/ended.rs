//! Waiting for the end of a context.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use crate::api::context::Context;
use crate::api::receiver::Receiver;
use crate::engine::shared::Request;
use crate::wire::error::{ChannelErrorKind, Error};
use crate::wire::message::{Handle, Lane, Message};

/// A future that is ready when a context has gone; see [`Context::closed`].
///
/// Dropping it only ends the wait. Any executor can poll it; [`block_on`](crate::block_on) works without one.
#[must_use = "it does nothing unless it is awaited"]
pub struct Ended {
    receiver: Receiver<()>,
}

impl Context {
    /// Waits until the context has gone: it has ended, was killed, its link was lost, or this router has
    /// ended. It does not end the context; [`Context::shutdown`] does. If no route leads to the context, the
    /// future is ready immediately. Cancel safe.
    ///
    /// The end is noticed as soon as a link ends. If a link is silent but still open, the end of the other
    /// side is not noticed; the keepalive of ssh ends such a link.
    ///
    /// ```
    /// use offshoot::{Error, Router};
    ///
    /// fn main() -> Result<(), Error> {
    ///     offshoot::child();
    ///     let router = Router::new()?;
    ///     let child = router.local().blocking_connect()?;
    ///     let closed = child.closed();
    ///     assert!(!child.is_closed());
    ///     child.blocking_shutdown();
    ///     offshoot::block_on(closed);
    ///     assert!(child.is_closed());
    ///     router.blocking_shutdown();
    ///     Ok(())
    /// }
    /// ```
    #[doc(alias = "listen")]
    pub fn closed(&self) -> Ended {
        let receiver = Receiver::from_context(self.shared(), self.id(), true);
        // A message without content. If there is no route, it is refused. Otherwise each router that forwards
        // it will report to this context when the route is lost.
        let ask = Message::new(self.id(), Handle::CREDIT, Vec::new());
        let ask = Message { lane: Lane::Control, raw: true, reply_to: receiver.handle(), ..ask };
        self.shared().request(Request::Send(ask));
        Ended { receiver }
    }

    /// Whether the context is known to have gone. For a context below this one, this router knows it as soon
    /// as its link ends. For a context elsewhere in the tree, this returns true only after this router itself
    /// has ended; use [`Context::closed`] for those. Does not block.
    pub fn is_closed(&self) -> bool {
        self.shared().has_gone(self.id())
    }
}

impl Future for Ended {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        use ChannelErrorKind::{Disconnected, NoRoute, RouterEnded};
        loop {
            match self.receiver.inner.poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                // The context is not expected to send values here; they are ignored.
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(Error::Channel(error))))
                    if !matches!(error.kind, Disconnected | NoRoute | RouterEnded) => {}
                Poll::Ready(_) => return Poll::Ready(()),
            }
        }
    }
}

impl fmt::Debug for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ended").finish_non_exhaustive()
    }
}
