//! Receivers: they receive the values that are sent to a handle of this context.

use std::fmt;
use std::future::Future;
use std::iter::FusedIterator;
use std::marker::PhantomData;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use serde::de::DeserializeOwned;

use crate::api::router::Router;
use crate::api::sender::Sender;
use crate::engine::inboxes::Target;
use crate::engine::queue::Queue;
use crate::engine::shared::{Request, Shared};
use crate::routing::fair_queue::{FairQueue, Got, Hook};
use crate::routing::handles::{Peer, Registration, Rule};
use crate::sys::blocking::block_on;
use crate::sys::blocking::block_until;
use crate::sys::deadline::deadline;
use crate::wire::error::{ChannelErrorKind, Closed, Error};
use crate::wire::message::{Arrival, ContextId, Handle, Message};

/// Receives values that are sent to a handle of this context.
///
/// Cloning is cheap, and clones share one queue. Each value goes to one waiting task or thread: the one that
/// has waited longest. Every function can be called from any thread, with or without an executor. Dropping
/// the last clone releases the handle.
///
/// Each sender has a window of 64 KiB: the amount of data that it may send before the receiver takes it. The
/// window grows to 1 MiB if the receiver takes the values fast enough. The queue of a receiver that is never
/// read therefore has at most this size for each sender.
///
/// A receiver does not notice that a function which was to send has failed, or that its context has died.
/// [`Context::stream`](crate::Context::stream) does, and so does a [`Select`](crate::Select) with the receiver and the
/// call. [`ReceiverBuilder::respondent`] notices the end of a context.
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
    /// Whether the stream has ended. It then yields no further items, even if values arrive.
    ended: bool,
    of: PhantomData<fn() -> T>,
}

/// A receiver of messages, without the type of their values.
pub(crate) struct Inner {
    queue: Arc<Queue>,
    shared: Arc<Shared>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

impl Inner {
    async fn recv(&self) -> Result<Message, Error> {
        // The queue of a receiver is never poked, so `got` does not return `None` here.
        self.got(self.queue.fair_queue.wait().await)
            .and_then(|message| message.ok_or_else(|| Error::Closed(Closed::Receiver)))
    }

    pub(crate) fn try_recv(&self) -> Result<Option<Message>, Error> {
        self.got(self.queue.fair_queue.try_take())
    }

    async fn recv_timeout(&self, timeout: Duration) -> Result<Message, Error> {
        let mut wait = pin!(self.recv());
        let mut sleep = None;
        std::future::poll_fn(|cx| {
            if let Poll::Ready(message) = wait.as_mut().poll(cx) {
                return Poll::Ready(message);
            }
            let sleep = sleep.get_or_insert_with(|| self.shared.sleep_until(deadline(timeout)));
            Pin::new(sleep).poll(cx).map(|_| Err(timed_out(timeout)))
        })
        .await
    }

    pub(crate) fn poll_next(&self, cx: &TaskContext<'_>) -> Poll<Option<Result<Message, Error>>> {
        self.queue.fair_queue.poll_watch(cx.waker()).map(|got| self.got(got).transpose())
    }

    /// Returns room in the window to the sender of a message that was taken. `None` if no message was taken.
    fn got(&self, got: Got<Message>) -> Result<Option<Message>, Error> {
        let mut message = match got {
            Got::Item(message) => message,
            Got::Closed => return Err(Error::Closed(Closed::Receiver)),
            Got::Poked => return Ok(None),
        };
        if let Some(grant) = self.queue.taken(message.src, message.data.len(), message.is_dead()) {
            self.shared.request(Request::Grant(grant));
        }
        if message.is_dead() {
            return Err(message.dead_error(self.shared.me));
        }
        message.arrival = Arrival(Some(Arc::clone(&self.shared) as _));
        Ok(Some(message))
    }

    pub(crate) fn fair_queue(&self) -> &FairQueue<Message> {
        &self.queue.fair_queue
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn close(&self) {
        self.queue.fair_queue.close();
        if self.shared.ports().release(self.queue.handle, Some(&self.queue)) {
            self.shared.request(Request::DelHandler(self.queue.handle, Some(Arc::clone(&self.queue))));
        }
    }
}

/// Wraps a function of the user that the I/O thread calls. A panic in it is logged, and affects nothing else.
fn guarded(notify: impl Fn() + Send + Sync + 'static) -> Hook {
    Arc::new(move || {
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(&notify)).is_err() {
            tracing::error!("a receiver's notify panicked");
        }
    })
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
///
/// ```
/// use offshoot::{Error, Receiver, Router, policy};
///
/// fn main() -> Result<(), Error> {
///     offshoot::child();
///     let router = Router::new()?;
///     let orders: Receiver<u32> = Receiver::builder(&router).policy(policy::has_parent_authority).build()?;
///     orders.sender().blocking_send(7)?;
///     assert_eq!(orders.blocking_recv()?, 7);
///     router.blocking_shutdown();
///     Ok(())
/// }
/// ```
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
    policy: Option<Rule>,
    notify: Option<Hook>,
}

impl Settings {
    /// Settings of a receiver on the next free handle, which accepts all messages.
    fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::clone(shared),
            handle: None,
            persist: true,
            overwrite: false,
            respondent: None,
            policy: None,
            notify: None,
        }
    }

    /// Registers the receiver on `handle`, which the caller has claimed.
    fn register(self, handle: Handle) -> Inner {
        let Self { shared, persist, overwrite, respondent, policy, notify, .. } = self;
        let queue = Arc::new(Queue::new(handle));
        if let Some(notify) = notify {
            queue.fair_queue.set_hook(notify);
        }
        let registration = Registration { sink: Target::Queue(Arc::clone(&queue)), once: !persist, respondent, policy };
        shared.ports().hold(handle, &queue);
        if !shared.request(Request::AddHandler { handle, registration, overwrite }) {
            queue.fair_queue.close();
        }
        Inner { queue, shared }
    }

    fn register_next(self) -> Inner {
        let handle = self.shared.ports().claim_next();
        self.register(handle)
    }
}

impl<T> fmt::Debug for ReceiverBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceiverBuilder").field("handle", &self.settings.handle).finish_non_exhaustive()
    }
}

impl<T> ReceiverBuilder<T> {
    /// Sets a fixed handle. A `Sender` reaches those from 1000 on, which are also given to others in turn; one that is in
    /// use is refused. Default: the next free one.
    pub fn handle(mut self, handle: Handle) -> Self {
        self.settings.handle = Some(handle);
        self
    }

    /// Whether the receiver accepts more than one message. If not, the handle is released just before the
    /// first message is delivered. Default: true.
    pub fn persist(mut self, on: bool) -> Self {
        self.settings.persist = on;
        self
    }

    /// Whether to replace a handler or receiver that already has the fixed handle. A replaced receiver is
    /// closed. Default: false.
    pub fn overwrite(mut self, on: bool) -> Self {
        self.settings.overwrite = on;
        self
    }

    /// Accepts messages only from this context. When the context has gone, the receiver gets
    /// [`Error::Channel`], and then [`Error::Closed`]. Default: messages from all contexts are accepted.
    pub fn respondent(mut self, context: ContextId) -> Self {
        self.settings.respondent = Some(context);
        self
    }

    /// Sets a function that decides whether each message is accepted. It runs on the I/O thread, so it must
    /// not block. Messages that it does not accept are refused with `refused by policy`. Default: all
    /// messages are accepted.
    pub fn policy(mut self, policy: impl Fn(&Message, &Peer) -> bool + Send + Sync + 'static) -> Self {
        self.settings.policy = Some(Rule::Policy(Arc::new(policy)));
        self
    }

    /// Sets a function that is called after each message was queued, and at the end. It usually runs on the
    /// I/O thread, so it must not block. A receiver with this function cannot be a member of a
    /// [`Select`](crate::Select), which needs the same hook. Default: none.
    pub fn notify(mut self, notify: impl Fn() + Send + Sync + 'static) -> Self {
        self.settings.notify = Some(guarded(notify));
        self
    }

    /// Registers the receiver. If the router has ended, the receiver is closed from the start. Does not
    /// block.
    ///
    /// # Errors
    ///
    /// [`Error::Handle`] if a fixed handle is in use or reserved for the router.
    pub fn build(self) -> Result<Receiver<T>, Error> {
        let Settings { shared, handle, overwrite, .. } = &self.settings;
        let handle = shared.ports().claim(*handle, *overwrite)?;
        Ok(Receiver::from_inner(Arc::new(self.settings.register(handle))))
    }
}

impl<T> Receiver<T> {
    /// Creates a receiver on the next free handle. If the router has ended, the receiver is closed from the
    /// start. Does not block.
    pub fn new(router: &Router) -> Self {
        Self::of(router.shared())
    }

    /// Returns a builder for a receiver with settings.
    pub fn builder(router: &Router) -> ReceiverBuilder<T> {
        ReceiverBuilder { settings: Settings::new(router.shared()), of: PhantomData }
    }

    pub(crate) fn of(shared: &Arc<Shared>) -> Self {
        Self::from_inner(Arc::new(Settings::new(shared).register_next()))
    }

    /// Creates a receiver that accepts messages only from `context`. `persist`: it accepts more than one.
    pub(crate) fn from_context(shared: &Arc<Shared>, context: ContextId, persist: bool) -> Self {
        let settings = Settings { respondent: Some(context), persist, ..Settings::new(shared) };
        Self::from_inner(Arc::new(settings.register_next()))
    }

    /// Creates a receiver for the values that a call in `context` sends before it ends. They may come from
    /// that context or from any context behind it.
    pub(crate) fn of_call(shared: &Arc<Shared>, context: ContextId) -> Self {
        let settings = Settings { policy: Some(Rule::Below(context)), ..Settings::new(shared) };
        Self::from_inner(Arc::new(settings.register_next()))
    }

    pub(crate) fn from_inner(inner: Arc<Inner>) -> Self {
        Self { inner, ended: false, of: PhantomData }
    }

    /// Sets a function that is called as described at [`ReceiverBuilder::notify`]. It is also called once
    /// before this returns, if a value already waits. Does not block otherwise.
    ///
    /// # Errors
    ///
    /// [`Error::Select`] if the receiver is a member of a [`Select`](crate::Select), or already has such a
    /// function.
    pub fn notify(&self, notify: impl Fn() + Send + Sync + 'static) -> Result<(), Error> {
        let hook = guarded(notify);
        let waiting = self.inner.queue.fair_queue.set_hook(Arc::clone(&hook));
        let waiting = waiting.ok_or_else(|| Error::Select("the Receiver tells a Select or another function".into()))?;
        if waiting > 0 {
            hook();
        }
        Ok(())
    }

    /// The handle of this receiver.
    pub fn handle(&self) -> Handle {
        self.inner.queue.handle
    }

    /// Creates a sender for this receiver. It can be an argument or a result of a call.
    #[doc(alias = "to_sender")]
    pub fn sender(&self) -> Sender<T> {
        Sender::from_parts(Arc::clone(&self.inner.shared), self.inner.shared.me, self.handle())
    }

    /// Number of values that wait, at the moment of the call.
    #[doc(alias = "size")]
    pub fn len(&self) -> usize {
        self.inner.queue.fair_queue.len()
    }

    /// Whether no value waits, at the moment of the call.
    #[doc(alias = "empty")]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Releases the handle and discards the values that wait. Receive operations that wait on this receiver
    /// or on a clone of it return [`Error::Closed`]. Messages that are sent to the handle from now on are
    /// refused with `invalid handle`. Does not block.
    pub fn close(&self) {
        self.inner.close();
    }

    /// Waits for the next message and returns it undecoded. Cancel safe.
    /// Code that is not async uses [`Receiver::blocking_recv_message`].
    ///
    /// # Errors
    ///
    /// As [`Receiver::recv`], except [`Error::Payload`]. A dead message is returned as an error.
    pub async fn recv_message(&self) -> Result<Message, Error> {
        self.inner.recv().await
    }

    /// [`Receiver::recv_message`] for code that is not async: blocks until a message arrives.
    ///
    /// # Errors
    ///
    /// As [`Receiver::recv_message`].
    pub fn blocking_recv_message(&self) -> Result<Message, Error> {
        block_on(self.inner.recv())
    }
}

impl<T: DeserializeOwned> Receiver<T> {
    /// Waits for the next value. Cancel safe. Code that is not async uses [`Receiver::blocking_recv`].
    ///
    /// # Errors
    ///
    /// - [`Error::Channel`] if a sender has closed its end, or if the respondent has gone. After a sender has
    ///   closed, the receiver can still be used.
    /// - [`Error::Closed`] if this receiver was closed, or if no more values can arrive
    /// - [`Error::Payload`] if the value is not a `T`
    #[doc(alias = "get")]
    #[doc(alias = "get_data")]
    pub async fn recv(&self) -> Result<T, Error> {
        self.recv_message().await?.decode()
    }

    /// Waits for the next value, and returns it with the id of the context that sent it. Cancel safe.
    /// Code that is not async uses [`block_on`](crate::block_on).
    ///
    /// # Errors
    ///
    /// As [`Receiver::recv`].
    pub async fn recv_from(&self) -> Result<(ContextId, T), Error> {
        let message = self.recv_message().await?;
        Ok((message.src, message.decode()?))
    }

    /// Waits for the next value for at most `timeout`. Cancel safe.
    /// Code that is not async uses [`Receiver::blocking_recv_timeout`].
    ///
    /// # Errors
    ///
    /// As [`Receiver::recv`], and [`Error::Timeout`]. A value that arrives after the timeout can still be
    /// received.
    pub async fn recv_timeout(&self, timeout: Duration) -> Result<T, Error> {
        self.inner.recv_timeout(timeout).await?.decode()
    }

    /// Returns the next value if one waits, and `None` if not. Does not take values that are reserved for
    /// receive operations that already wait. Does not block.
    ///
    /// # Errors
    ///
    /// As [`Receiver::recv`].
    pub fn try_recv(&self) -> Result<Option<T>, Error> {
        self.inner.try_recv()?.map(|message| message.decode()).transpose()
    }

    /// [`Receiver::recv`] for code that is not async: blocks until a value arrives.
    ///
    /// # Errors
    ///
    /// As [`Receiver::recv`].
    pub fn blocking_recv(&self) -> Result<T, Error> {
        self.blocking_recv_message()?.decode()
    }

    /// [`Receiver::recv_timeout`] for code that is not async: blocks for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As [`Receiver::recv_timeout`].
    pub fn blocking_recv_timeout(&self, timeout: Duration) -> Result<T, Error> {
        let message = block_until(self.inner.recv(), deadline(timeout));
        message.unwrap_or_else(|| Err(timed_out(timeout)))?.decode()
    }

    /// Iterates over the values as they arrive. Blocks for each item. For async code, the receiver itself is
    /// a [`Stream`] of the same items.
    ///
    /// The iteration ends when a sender has closed its end, or when the receiver is closed. If the respondent
    /// has gone, [`Error::Channel`] is the last item. If several senders each close their end, call this
    /// again after each end, or use [`Receiver::recv`].
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { receiver: self, ended: false }
    }
}

/// Returns the next item of an iteration over a receiver, and whether the iteration ends with it.
fn item<T: DeserializeOwned>(next: Option<Result<Message, Error>>) -> (Option<Result<T, Error>>, bool) {
    match next {
        Some(Ok(message)) => (Some(message.decode()), false),
        None | Some(Err(Error::Closed(_))) => (None, true),
        Some(Err(Error::Channel(error))) if error.kind == ChannelErrorKind::SenderClosed => (None, true),
        Some(Err(error)) => (Some(Err(error)), true),
    }
}

/// An iterator over the values of a receiver, which blocks. It ends when a sender closes.
///
/// ```
/// # offshoot::child();
/// # let router = offshoot::Router::new()?;
/// let numbers = offshoot::Receiver::<u32>::new(&router);
/// let sender = numbers.sender();
/// sender.blocking_send(1)?;
/// sender.blocking_send(2)?;
/// sender.close();
/// assert_eq!(numbers.iter().collect::<Result<Vec<_>, _>>()?, [1, 2]);
/// # router.blocking_shutdown();
/// # Ok::<(), offshoot::Error>(())
/// ```
#[derive(Debug)]
pub struct Iter<'a, T> {
    receiver: &'a Receiver<T>,
    ended: bool,
}

impl<T: DeserializeOwned> Iterator for Iter<'_, T> {
    type Item = Result<T, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let (item, ended) = item(Some(self.receiver.blocking_recv_message()));
        self.ended = ended;
        item
    }
}

impl<T: DeserializeOwned> FusedIterator for Iter<'_, T> {}

impl<'a, T: DeserializeOwned> IntoIterator for &'a Receiver<T> {
    type Item = Result<T, Error>;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

/// Yields the same items as [`Receiver::iter`], and ends in the same cases. After the end, [`Receiver::recv`]
/// and the streams of clones can still return values. The stream does not take values that are reserved for
/// receive operations that already wait.
impl<T: DeserializeOwned> Stream for Receiver<T> {
    type Item = Result<T, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let (item, ended) = item(ready!(self.inner.poll_next(cx)));
        self.ended = ended;
        Poll::Ready(item)
    }
}
