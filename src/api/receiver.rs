//! Receivers: what other contexts send to a handle of this one.

use std::fmt;
use std::future::Future;
use std::iter::FusedIterator;
use std::marker::PhantomData;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::{Duration, Instant};

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
use crate::wire::error::{ChannelErrorKind, Closed, Error};
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
    /// The stream has ended: it yields nothing more, whatever comes.
    ended: bool,
    of: PhantomData<fn() -> T>,
}

/// A receiver of messages, whatever they carry.
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
        // Nobody pokes a queue.
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
            let sleep = sleep.get_or_insert_with(|| self.shared.sleep_until(Instant::now() + timeout));
            Pin::new(sleep).poll(cx).map(|_| Err(timed_out(timeout)))
        })
        .await
    }

    pub(crate) fn poll_next(&self, cx: &TaskContext<'_>) -> Poll<Option<Result<Message, Error>>> {
        self.queue.fair_queue.poll_watch(cx.waker()).map(|got| self.got(got).transpose())
    }

    /// Gives room back for what was taken; `None` if nothing was.
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

/// A user's function that the I/O thread calls: a panic in it is logged, and
/// takes nobody else down.
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
    /// Settings of a receiver on the next free handle, which takes what comes.
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

    /// Registers the receiver on `handle`, which has been claimed.
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
        self.settings.policy = Some(Rule::Policy(Arc::new(policy)));
        self
    }

    /// Is called after each message was queued and after the end, mostly on
    /// the I/O thread, where it must not block. A receiver with this cannot be
    /// a member of a [`Select`](crate::Select), which uses the same bell.
    /// Default: nothing.
    pub fn notify(mut self, notify: impl Fn() + Send + Sync + 'static) -> Self {
        self.settings.notify = Some(guarded(notify));
        self
    }

    /// Registers the receiver. One of a router that has ended is closed from
    /// the beginning. Does not block.
    ///
    /// # Errors
    ///
    /// [`Error::Handle`] if a fixed handle is taken or is the router's own.
    pub fn build(self) -> Result<Receiver<T>, Error> {
        let Settings { shared, handle, overwrite, .. } = &self.settings;
        let handle = shared.ports().claim(*handle, *overwrite)?;
        Ok(Receiver::from_inner(Arc::new(self.settings.register(handle))))
    }
}

impl<T> Receiver<T> {
    /// A receiver on the next free handle. One of a router that has ended is
    /// closed from the beginning.
    pub fn new(router: &Router) -> Self {
        Self::of(router.shared())
    }

    /// A receiver with settings.
    pub fn builder(router: &Router) -> ReceiverBuilder<T> {
        ReceiverBuilder { settings: Settings::new(router.shared()), of: PhantomData }
    }

    pub(crate) fn of(shared: &Arc<Shared>) -> Self {
        Self::from_inner(Arc::new(Settings::new(shared).register_next()))
    }

    /// A receiver that only `context` may send to, once or for as long as it
    /// lives.
    pub(crate) fn from_context(shared: &Arc<Shared>, context: ContextId, persist: bool) -> Self {
        let settings = Settings { respondent: Some(context), persist, ..Settings::new(shared) };
        Self::from_inner(Arc::new(settings.register_next()))
    }

    /// A receiver for the values that a call of `context` sends before it ends,
    /// from wherever below that context.
    pub(crate) fn of_call(shared: &Arc<Shared>, context: ContextId) -> Self {
        let settings = Settings { policy: Some(Rule::WayTo(context)), ..Settings::new(shared) };
        Self::from_inner(Arc::new(settings.register_next()))
    }

    pub(crate) fn from_inner(inner: Arc<Inner>) -> Self {
        Self { inner, ended: false, of: PhantomData }
    }

    /// Has `notify` called as [`ReceiverBuilder::notify`] does, from now on,
    /// and once now if something waits already. Does not block.
    ///
    /// # Errors
    ///
    /// [`Error::Select`] if the receiver is a member of a
    /// [`Select`](crate::Select), or has such a function already.
    pub fn notify(&self, notify: impl Fn() + Send + Sync + 'static) -> Result<(), Error> {
        let hook = guarded(notify);
        let waiting = self.inner.queue.fair_queue.set_hook(Arc::clone(&hook));
        let waiting = waiting.ok_or_else(|| Error::Select("the Receiver tells a Select or another function".into()))?;
        if waiting > 0 {
            hook();
        }
        Ok(())
    }

    /// The port that this receiver listens on.
    pub fn handle(&self) -> Handle {
        self.inner.queue.handle
    }

    /// A sender for this receiver. It can be an argument or a result of a
    /// call.
    #[doc(alias = "to_sender")]
    pub fn sender(&self) -> Sender<T> {
        Sender::from_parts(Arc::clone(&self.inner.shared), self.inner.shared.me, self.handle())
    }

    /// Number of values that wait: a snapshot.
    #[doc(alias = "size")]
    pub fn len(&self) -> usize {
        self.inner.queue.fair_queue.len()
    }

    /// Whether no value waits.
    #[doc(alias = "empty")]
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
    /// the value is not a `T`.
    #[doc(alias = "get")]
    #[doc(alias = "get_data")]
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

    /// The values as they come. Blocks. Ends when a sender has closed its end
    /// or the receiver is closed; if the respondent goes, [`Error::Channel`] is
    /// the last item. After the end it yields nothing more: where several send,
    /// and each closes its end, call this again or use [`Receiver::recv`]. For
    /// async code, the receiver itself is a [`Stream`].
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { receiver: self, ended: false }
    }
}

/// What comes next in an iteration over a receiver, and whether it is the last
/// item.
fn item<T: DeserializeOwned>(next: Option<Result<Message, Error>>) -> (Option<Result<T, Error>>, bool) {
    match next {
        Some(Ok(message)) => (Some(message.decode()), false),
        None | Some(Err(Error::Closed(_))) => (None, true),
        Some(Err(Error::Channel(error))) if error.kind == ChannelErrorKind::SenderClosed => (None, true),
        Some(Err(error)) => (Some(Err(error)), true),
    }
}

/// An iterator that blocks; see [`Receiver::iter`].
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

/// Yields and ends as [`Receiver::iter`] does. A clone begins anew, and
/// [`Receiver::recv`] goes on after the end. Takes what nobody else waits for.
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
