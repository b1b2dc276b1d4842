//! The end of a context, waited for.

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
/// Dropping it only ends the wait. It can be awaited under any executor or
/// none, as by [`block_on`](crate::block_on).
#[must_use = "it does nothing unless it is awaited"]
pub struct Ended {
    receiver: Receiver<()>,
}

impl Context {
    /// Waits until the context has gone: it has ended, was killed, its link
    /// was lost, or this router has ended. Orders nothing: see
    /// [`Context::shutdown`] for that. Ready at once if no route leads to the
    /// context. Cancel safe.
    ///
    /// It is noticed as soon as a link ends. Behind a link that is silent but
    /// open nothing is noticed: ssh's keepalive ends such a link.
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
        // A message that asks for nothing: it is refused if there is no way,
        // and whoever carries it on will tell this context when there is none.
        let ask = Message::new(self.id(), Handle::CREDIT, Vec::new());
        let ask = Message { lane: Lane::Control, raw: true, reply_to: receiver.handle(), ..ask };
        self.shared().request(Request::Send(ask));
        Ended { receiver }
    }

    /// Whether the context is known to have gone. Of a context below this one
    /// that is known when its link ends; of one elsewhere in the tree only this
    /// router's own end is: ask [`Context::closed`] about those. Does not
    /// block.
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
                // The context has no reason to send anything here.
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
