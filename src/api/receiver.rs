//! Receivers: what other contexts send to a handle of this one.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use futures_core::Stream;
use serde::de::DeserializeOwned;

use crate::api::router::Router;
use crate::api::sender::Sender;
use crate::engine::io::Target;
use crate::engine::queue::Queue;
use crate::engine::shared::{Request, Shared};
use crate::routing::fair_queue::{FairQueue, Got};
use crate::routing::handles::{Peer, Policy, Registration};
use crate::sys::blocking::block_on;
use crate::sys::blocking::block_until;
use crate::wire::error::Error;
use crate::wire::message::{Arrival, ContextId, Handle, Message};

/// Receives values that other contexts send to a handle of this one.
///
/// Cheap to clone; clones share one queue. Each value goes to one of them: to
/// whoever has waited longest. All of it can be used from any thread, under
/// any executor or none. The handle is given up when the last clone is
/// dropped.
///
/// A sender may have 64 KiB under way (growing to 1 MiB while this end keeps
/// up), so a receiver that nobody reads holds no more than that per sender.
///
/// ```
/// use offshoot::{Error, Receiver, Router, Sender, export};
///
/// async fn count(to: Sender<u32>, end: u32) -> Result<(), Error> {
///     for number in 0..end {
///         to.send(number).await?; // waits while the receiver is behind
///     }
///     to.close();
///     Ok(())
/// }
/// export!(count);
///
/// fn main() -> Result<(), Error> {
///     offshoot::child();
///     let router = Router::new()?;
///     let child = router.local().blocking_connect()?;
///     let numbers: Receiver<u32> = Receiver::new(&router);
///     let call = child.call(count, (numbers.sender(), 5));
///     let received: Result<Vec<u32>, Error> = numbers.iter().collect();
///     assert_eq!(received?, [0, 1, 2, 3, 4]);
///     call.blocking_recv()?;
///     router.blocking_shutdown();
///     Ok(())
/// }
/// ```
pub struct Receiver<T> {
    pub(crate) inner: Arc<Inner>,
    of: PhantomData<fn() -> T>,
}

/// A receiver of messages, whatever they carry.
pub(crate) struct Inner {
    queue: Arc<Queue>,
    shared: Arc<Shared>,
    /// Why it could not be registered.
    error: Option<Error>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

impl Inner {
    async fn recv(&self) -> Result<Message, Error> {
        // Nobody pokes a queue.
        self.got(self.queue.latch.wait().await).and_then(|message| message.ok_or_else(Error::receiver_closed))
    }

    pub(crate) fn try_recv(&self) -> Result<Option<Message>, Error> {
        self.got(self.queue.latch.try_take())
    }

    async fn recv_timeout(&self, timeout: Duration) -> Result<Message, Error> {
        let mut wait = pin!(self.recv());
        let mut sleep = None;
        std::future::poll_fn(|cx| {
            if let Poll::Ready(message) = wait.as_mut().poll(cx) {
                return Poll::Ready(message);
            }
            let sleep = sleep.get_or_insert_with(|| self.shared.sleep_until(Instant::now() + timeout));
            Pin::new(sleep).poll(cx).map(|_| Err(timed_out(timeout)))
        })
        .await
    }

    fn poll_next(&self, cx: &TaskContext<'_>) -> Poll<Option<Result<Message, Error>>> {
        self.queue.latch.poll_watch(cx.waker()).map(|got| self.got(got).transpose())
    }

    /// Gives room back for what was taken; `None` if nothing was.
    fn got(&self, got: Got<Message>) -> Result<Option<Message>, Error> {
        let mut message = match got {
            Got::Item(message) => message,
            Got::Closed => return Err(self.error.clone().unwrap_or_else(Error::receiver_closed)),
            Got::Poked => return Ok(None),
        };
        if let Some(grant) = self.queue.taken(message.src, message.data.len(), message.is_dead()) {
            self.shared.request(Request::Grant(grant));
        }
        if message.is_dead() {
            return Err(Error::Channel { context: message.src, reason: message.dead_reason(self.shared.me) });
        }
        message.arrival = Arrival(Some(Arc::clone(&self.shared) as _));
        Ok(Some(message))
    }

    pub(crate) fn latch(&self) -> &FairQueue<Message> {
        &self.queue.latch
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn close(&self) {
        self.queue.latch.close();
        if self.shared.ports().release(self.queue.handle, Some(&self.queue)) {
            self.shared.request(Request::DelHandler(self.queue.handle, Some(Arc::clone(&self.queue))));
        }
    }
}

fn timed_out(after: Duration) -> Error {
    Error::Timeout { after, what: "receive".into() }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self::from_inner(Arc::clone(&self.inner))
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("handle", &self.handle()).finish_non_exhaustive()
    }
}

/// Settings of a new receiver.
#[must_use = "nothing is registered before build()"]
pub struct ReceiverBuilder<T> {
    settings: Settings,
    of: PhantomData<fn() -> T>,
}

struct Settings {
    shared: Arc<Shared>,
    handle: Option<Handle>,
    persist: bool,
    overwrite: bool,
    respondent: Option<ContextId>,
    policy: Option<Policy>,
    notify: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl Settings {
    fn build(self) -> Inner {
        let Self { shared, handle, persist, overwrite, respondent, policy, notify } = self;
        let port = shared.ports().claim(handle, overwrite);
        let (handle, error) = match port {
            Ok(handle) => (handle, None),
            Err(error) => (handle.unwrap_or_default(), Some(error)),
        };
        let queue = Arc::new(Queue::new(handle));
        if let Some(notify) = notify {
            queue.latch.set_hook(notify);
        }
        let registration = Registration { sink: Target::Queue(Arc::clone(&queue)), once: !persist, respondent, policy };
        let add = Request::AddHandler { handle, registration, overwrite };
        if error.is_none() {
            shared.ports().hold(handle, &queue);
        }
        if error.is_some() || !shared.request(add) {
            queue.latch.close();
        }
        Inner { queue, shared, error }
    }
}

impl<T> fmt::Debug for ReceiverBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceiverBuilder").field("handle", &self.settings.handle).finish_non_exhaustive()
    }
}

impl<T> ReceiverBuilder<T> {
    /// A fixed handle, from 1000. Default: the next free one.
    pub fn handle(mut self, handle: Handle) -> Self {
        self.settings.handle = Some(handle);
        self
    }

    /// Whether more than one message may come. If not, the handle is given up
    /// before the first message is delivered. Default: true.
    pub fn persist(mut self, on: bool) -> Self {
        self.settings.persist = on;
        self
    }

    /// Whether a handler or receiver that has the fixed handle already is
    /// replaced; a replaced receiver is closed. Default: false.
    pub fn overwrite(mut self, on: bool) -> Self {
        self.settings.overwrite = on;
        self
    }

    /// Only this context may send here; when it goes, the receiver gets
    /// [`Error::Channel`], and then [`Error::Closed`]. Default: any context
    /// may.
    pub fn respondent(mut self, context: ContextId) -> Self {
        self.settings.respondent = Some(context);
        self
    }

    /// Decides about each message, on the I/O thread, where it must not block.
    /// Default: all may pass.
    pub fn policy(mut self, policy: impl Fn(&Message, &Peer) -> bool + Send + Sync + 'static) -> Self {
        self.settings.policy = Some(Arc::new(policy));
        self
    }

    /// Is called after each message was queued and after the end, mostly on
    /// the I/O thread, where it must not block. A receiver with this cannot be
    /// a member of a [`Select`](crate::Select), which uses the same bell.
    /// Default: nothing.
    pub fn notify(mut self, notify: impl Fn() + Send + Sync + 'static) -> Self {
        self.settings.notify = Some(Arc::new(move || {
            // On the I/O thread it must take nobody else down.
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(&notify)).is_err() {
                tracing::error!("a receiver's notify panicked");
            }
        }));
        self
    }

    /// Registers the receiver. If a fixed handle is taken or is the router's
    /// own, every use of the receiver gives [`Error::Handle`].
    pub fn build(self) -> Receiver<T> {
        Receiver::from_inner(Arc::new(self.settings.build()))
    }
}

impl<T> Receiver<T> {
    /// A receiver on the next free handle.
    pub fn new(router: &Router) -> Self {
        Self::builder(router).build()
    }

    /// A receiver with settings.
    pub fn builder(router: &Router) -> ReceiverBuilder<T> {
        Self::builder_of(router.shared())
    }

    pub(crate) fn builder_of(shared: &Arc<Shared>) -> ReceiverBuilder<T> {
        let settings = Settings {
            shared: Arc::clone(shared),
            handle: None,
            persist: true,
            overwrite: false,
            respondent: None,
            policy: None,
            notify: None,
        };
        ReceiverBuilder { settings, of: PhantomData }
    }

    pub(crate) fn from_inner(inner: Arc<Inner>) -> Self {
        Self { inner, of: PhantomData }
    }

    /// The port that this receiver listens on.
    pub fn handle(&self) -> Handle {
        self.inner.queue.handle
    }

    /// A sender for this receiver. It can be an argument or a result of a
    /// call.
    pub fn sender(&self) -> Sender<T> {
        Sender::from_parts(Arc::clone(&self.inner.shared), self.inner.shared.me, self.handle())
    }

    /// Number of values that wait: a snapshot.
    pub fn len(&self) -> usize {
        self.inner.queue.latch.len()
    }

    /// Whether no value waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Gives up the handle and throws away what waits. Whoever waits on this
    /// receiver or a clone of it gets [`Error::Closed`]; whoever sends to it
    /// from now on is told `invalid handle`. Does not block.
    pub fn close(&self) {
        self.inner.close();
    }

    /// The next message as it came, unless it is dead. Cancel safe.
    ///
    /// # Errors
    ///
    /// As [`Receiver::recv`], but for the value's type.
    pub async fn recv_message(&self) -> Result<Message, Error> {
        self.inner.recv().await
    }

    /// [`Receiver::recv_message`] for code that is not async: blocks.
    ///
    /// # Errors
    ///
    /// As [`Receiver::recv_message`].
    pub fn blocking_recv_message(&self) -> Result<Message, Error> {
        block_on(self.inner.recv())
    }
}

impl<T: DeserializeOwned> Receiver<T> {
    /// The next value. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`Error::Channel`] when a sender has closed its end (the receiver can
    /// still be used) or the respondent has gone, [`Error::Closed`] when this
    /// receiver was closed or nothing more can come, [`Error::Payload`] when
    /// the value is not a `T`, [`Error::Handle`] if its handle was taken.
    pub async fn recv(&self) -> Result<T, Error> {
        self.recv_message().await?.decode()
    }

    /// The next value and the context that sent it. Cancel safe.
    ///
    /// # Errors
    ///
    /// As [`Receiver::recv`].
    pub async fn recv_from(&self) -> Result<(ContextId, T), Error> {
        let message = self.recv_message().await?;
        Ok((message.src, message.decode()?))
    }

    /// The next value, if it comes in time. Cancel safe.
    ///
    /// # Errors
    ///
    /// As [`Receiver::recv`], and [`Error::Timeout`]; a value that comes too
    /// late can still be received.
    pub async fn recv_timeout(&self, timeout: Duration) -> Result<T, Error> {
        self.inner.recv_timeout(timeout).await?.decode()
    }

    /// The next value if one waits, `None` if not. Does not block. What
    /// somebody else already waits for is left to him.
    ///
    /// # Errors
    ///
    /// As [`Receiver::recv`].
    pub fn try_recv(&self) -> Result<Option<T>, Error> {
        self.inner.try_recv()?.map(|message| message.decode()).transpose()
    }

    /// [`Receiver::recv`] for code that is not async: blocks.
    ///
    /// # Errors
    ///
    /// As [`Receiver::recv`].
    pub fn blocking_recv(&self) -> Result<T, Error> {
        self.blocking_recv_message()?.decode()
    }

    /// [`Receiver::recv_timeout`] for code that is not async: blocks.
    ///
    /// # Errors
    ///
    /// As [`Receiver::recv_timeout`].
    pub fn blocking_recv_timeout(&self, timeout: Duration) -> Result<T, Error> {
        let message = block_until(self.inner.recv(), Instant::now() + timeout);
        message.unwrap_or_else(|| Err(timed_out(timeout)))?.decode()
    }

    /// The values as they come, until a sender closes its end, the respondent
    /// goes, or the receiver is closed. Blocks. For code that is async, the
    /// receiver itself is a [`Stream`].
    pub fn iter(&self) -> Iter<'_, T> {
        Iter(self)
    }
}

/// An iterator that blocks; see [`Receiver::iter`].
#[derive(Debug)]
pub struct Iter<'a, T>(&'a Receiver<T>);

impl<T: DeserializeOwned> Iterator for Iter<'_, T> {
    type Item = Result<T, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.0.blocking_recv() {
            Err(Error::Channel { .. } | Error::Closed(_)) => None,
            result => Some(result),
        }
    }
}

impl<'a, T: DeserializeOwned> IntoIterator for &'a Receiver<T> {
    type Item = Result<T, Error>;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

/// Ends when nothing more can come. That a sender has closed its end is an
/// item ([`Error::Channel`]), since others may go on. Takes what nobody else
/// waits for.
impl<T: DeserializeOwned> Stream for Receiver<T> {
    type Item = Result<T, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        self.inner.poll_next(cx).map(|next| match next? {
            Ok(message) => Some(message.decode()),
            Err(Error::Closed(_)) => None,
            Err(error) => Some(Err(error)),
        })
    }
}
