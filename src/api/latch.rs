//! Latches: queues of values that stay in this process.

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use crate::api::router::Router;
use crate::engine::shared::Shared;
use crate::routing::fair_queue::{FairQueue, Got, Hook};
use crate::sys::blocking::{block_on, block_until};
use crate::sys::deadline::deadline;
use crate::wire::error::{Closed, Error};

/// A queue of values that stay in this process, so they can be of any type. It can be a member of a
/// [`Select`](crate::Select), beside receivers and calls.
///
/// Cloning is cheap, and clones share one queue. Each value goes to one waiting task or thread: the one that
/// has waited longest. Every function can be called from any thread, with or without an executor. The queue
/// has no maximum size.
///
/// ```
/// use std::thread;
///
/// use offshoot::select::Latch;
/// use offshoot::{Error, Router, Select, export};
///
/// fn square(number: u32) -> u32 {
///     number * number
/// }
/// export!(square);
///
/// fn main() -> Result<(), Error> {
///     offshoot::child();
///     let router = Router::new()?;
///     let child = router.local().blocking_connect()?;
///     let (select, latch) = (Select::new(), Latch::new(&router));
///     let local = select.add(&latch)?;
///     let far = select.add(child.call(square, (3,)))?;
///     let worker = thread::spawn(move || latch.put(7)); // a result of another thread of this process
///     let mut values = [select.blocking_recv()?, select.blocking_recv()?];
///     values.sort();
///     assert_eq!(values, [(local, 7), (far, 9)]);
///     worker.join().expect("the thread has not panicked")?;
///     router.blocking_shutdown();
///     Ok(())
/// }
/// ```
pub struct Latch<T> {
    inner: Arc<Inner<T>>,
    /// The same, without the type of the values.
    member: Arc<dyn AnyLatch>,
}

struct Inner<T> {
    queue: FairQueue<T>,
    /// The router that keeps the time.
    shared: Arc<Shared>,
}

impl<T> Clone for Latch<T> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), member: Arc::clone(&self.member) }
    }
}

impl<T> fmt::Debug for Latch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Latch").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl<T: Send + 'static> Latch<T> {
    /// Creates an empty queue. The router measures the time limits, and has no other part in it: the values
    /// never reach its I/O thread, and the latch still works when the router has ended.
    pub fn new(router: &Router) -> Self {
        let inner = Arc::new(Inner { queue: FairQueue::default(), shared: Arc::clone(router.shared()) });
        Self { member: Arc::clone(&inner) as _, inner }
    }
}

impl<T> Latch<T> {
    /// The latch behind a member, if its values are of this type.
    pub(super) fn of_member(member: Arc<dyn AnyLatch>) -> Option<Self>
    where
        T: 'static,
    {
        member.latch().downcast().ok().map(|latch| *latch)
    }

    pub(super) fn member(self) -> Arc<dyn AnyLatch> {
        self.member
    }

    /// Adds a value. Does not block.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if the latch was closed; the value is dropped.
    pub fn put(&self, value: T) -> Result<(), Error> {
        self.inner.queue.put(value).map_err(|_| closed())
    }

    /// Waits for the next value. Cancel safe. Code that is not async uses [`Latch::blocking_recv`].
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if the latch is closed, or is closed during the wait.
    #[doc(alias = "get")]
    pub async fn recv(&self) -> Result<T, Error> {
        // The queue of a latch is never poked.
        taken(self.inner.queue.wait().await)?.ok_or_else(closed)
    }

    /// [`Latch::recv`] for code that is not async: blocks until a value is there.
    ///
    /// # Errors
    ///
    /// As [`Latch::recv`].
    pub fn blocking_recv(&self) -> Result<T, Error> {
        block_on(self.recv())
    }

    /// As [`Latch::recv`], but waits for at most `limit`. After the router has ended, a wait ends at once.
    /// Cancel safe. Code that is not async uses [`Latch::blocking_recv_timeout`].
    ///
    /// # Errors
    ///
    /// As [`Latch::recv`], and [`Error::Timeout`].
    pub async fn recv_timeout(&self, limit: Duration) -> Result<T, Error> {
        let mut wait = std::pin::pin!(self.recv());
        let mut sleep = None;
        std::future::poll_fn(|cx| {
            if let Poll::Ready(value) = wait.as_mut().poll(cx) {
                return Poll::Ready(value);
            }
            let sleep = sleep.get_or_insert_with(|| self.inner.shared.sleep_until(deadline(limit)));
            Pin::new(sleep).poll(cx).map(|_| Err(late(limit)))
        })
        .await
    }

    /// [`Latch::recv_timeout`] for code that is not async: blocks for at most `limit`, also after the router
    /// has ended.
    ///
    /// # Errors
    ///
    /// As [`Latch::recv_timeout`].
    pub fn blocking_recv_timeout(&self, limit: Duration) -> Result<T, Error> {
        block_until(self.recv(), deadline(limit)).unwrap_or_else(|| Err(late(limit)))
    }

    /// Returns the next value if one waits, and `None` if not. Does not take values that are reserved for
    /// receive operations that already wait. Does not block.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if the latch is closed.
    pub fn try_recv(&self) -> Result<Option<T>, Error> {
        taken(self.inner.queue.try_take())
    }

    /// Number of values that wait, at the moment of the call.
    #[doc(alias = "size")]
    pub fn len(&self) -> usize {
        self.inner.queue.len()
    }

    /// Whether no value waits, at the moment of the call.
    #[doc(alias = "empty")]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Closes the latch and drops the values that wait. Receive operations that wait return
    /// [`Error::Closed`], and so do all later operations. Closing it again has no effect. Does not block.
    pub fn close(&self) {
        self.inner.queue.close();
    }

    /// Sets a function that is called after each value was added, on the thread that has added it, and when
    /// the latch is closed. It is also called once before this returns, if a value already waits. A latch
    /// with this function cannot be a member of a [`Select`](crate::Select), which needs the same hook.
    ///
    /// # Errors
    ///
    /// [`Error::Select`] if the latch is a member of a [`Select`](crate::Select), or already has such a
    /// function.
    pub fn notify(&self, notify: impl Fn() + Send + Sync + 'static) -> Result<(), Error> {
        let hook: Hook = Arc::new(notify);
        let waiting = self.inner.queue.set_hook(Arc::clone(&hook));
        let waiting = waiting.ok_or_else(|| Error::Select("the Latch tells a Select or another function".into()))?;
        if waiting > 0 {
            hook();
        }
        Ok(())
    }
}

fn taken<T>(got: Got<T>) -> Result<Option<T>, Error> {
    match got {
        Got::Item(value) => Ok(Some(value)),
        Got::Closed => Err(closed()),
        Got::Poked => Ok(None),
    }
}

fn closed() -> Error {
    Error::Closed(Closed::Latch)
}

fn late(after: Duration) -> Error {
    Error::Timeout { after, what: "receive".into() }
}

/// A latch as a member of a select, without the type of its values.
pub(super) trait AnyLatch: Send + Sync {
    fn try_take(&self) -> Result<Option<Box<dyn Any + Send>>, Error>;
    fn set_hook(&self, hook: Hook) -> Option<usize>;
    fn clear_hook(&self);
    fn waiting(&self) -> usize;
    fn shared(&self) -> &Arc<Shared>;
    /// The [`Latch`].
    fn latch(self: Arc<Self>) -> Box<dyn Any>;
}

impl<T: Send + 'static> AnyLatch for Inner<T> {
    fn try_take(&self) -> Result<Option<Box<dyn Any + Send>>, Error> {
        Ok(taken(self.queue.try_take())?.map(|value| Box::new(value) as _))
    }

    fn set_hook(&self, hook: Hook) -> Option<usize> {
        self.queue.set_hook(hook)
    }

    fn clear_hook(&self) {
        self.queue.clear_hook();
    }

    fn waiting(&self) -> usize {
        self.queue.len()
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn latch(self: Arc<Self>) -> Box<dyn Any> {
        Box::new(Latch { inner: Arc::clone(&self), member: self })
    }
}
