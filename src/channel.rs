//! Receivers and senders: typed streams of messages between contexts.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use futures_core::Stream;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::sync::oneshot;

use crate::error::Error;
use crate::flow::{Grant, Inlets};
use crate::io::Target;
use crate::message::{ContextId, Handle, Message};
use crate::payload;
use crate::router::{Command, Router, Shared};
use crate::routing::{Policy, Registration};

/// Bytes that wait in one receiver, whoever sent them.
const MAX_QUEUED: usize = 512 * 1024 * 1024;

/// Messages that wait for the application, and the windows of their senders.
pub(crate) struct Queue {
    handle: Handle,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    messages: VecDeque<Message>,
    /// Bytes of payload in `messages`.
    bytes: usize,
    inlets: Inlets,
    wakers: Vec<Waker>,
    closed: bool,
}

impl Queue {
    pub(crate) fn new(handle: Handle) -> Self {
        Self { handle, state: Mutex::default() }
    }

    /// Takes in a message; false if its sender had no room for it.
    pub(crate) fn push(&self, message: Message) -> bool {
        let mut state = self.lock();
        if !message.is_dead() {
            // Windows bound each sender, this bounds a crowd of them.
            let full = state.bytes > MAX_QUEUED;
            if full || !state.inlets.admit(message.src, message.data.len(), false) {
                return false;
            }
        }
        state.bytes += message.data.len();
        state.messages.push_back(message);
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        true
    }

    /// The next message and the room to give back for it.
    pub(crate) fn pop(&self) -> Result<Option<(Message, Option<Grant>)>, Error> {
        Self::pop_locked(&mut self.lock(), self.handle)
    }

    /// As [`Queue::pop`]; if there is none, `waker` is woken when one comes.
    fn poll_pop(&self, waker: &Waker) -> Poll<Result<(Message, Option<Grant>), Error>> {
        let mut state = self.lock();
        match Self::pop_locked(&mut state, self.handle) {
            Ok(Some(popped)) => Poll::Ready(Ok(popped)),
            Err(error) => Poll::Ready(Err(error)),
            Ok(None) => {
                if !state.wakers.iter().any(|known| known.will_wake(waker)) {
                    state.wakers.push(waker.clone());
                }
                Poll::Pending
            }
        }
    }

    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// What tells the senders that their windows are closed.
    pub(crate) fn farewells(&self) -> Vec<Grant> {
        self.lock().inlets.farewells(self.handle)
    }

    /// A sender has gone: its window with it.
    pub(crate) fn forget(&self, sender: ContextId) {
        self.lock().inlets.forget(sender);
    }

    fn len(&self) -> usize {
        self.lock().messages.len()
    }

    fn pop_locked(state: &mut State, handle: Handle) -> Result<Option<(Message, Option<Grant>)>, Error> {
        if let Some(message) = state.messages.pop_front() {
            state.bytes -= message.data.len();
            let grant = if message.is_dead() {
                None
            } else {
                state.inlets.release(message.src, handle, message.data.len(), false)
            };
            return Ok(Some((message, grant)));
        }
        if state.closed { Err(Error::receiver_closed()) } else { Ok(None) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Receives values that other contexts send to a handle of this one.
///
/// Cheap to clone; clones share one queue, and each value goes to one of
/// them. The handle is given up when the last clone is dropped. A sender may
/// have 64 KiB under way (growing to 1 MiB while this end keeps up), so a
/// receiver that nobody reads holds no more than that per sender.
pub struct Receiver<T> {
    inner: Arc<Inner>,
    of: PhantomData<fn() -> T>,
}

struct Inner {
    queue: Arc<Queue>,
    handle: Handle,
    shared: Arc<Shared>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.queue.close();
        self.shared.command(Command::DelHandler(self.handle));
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), of: PhantomData }
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("handle", &self.inner.handle).finish_non_exhaustive()
    }
}

/// Settings of a new receiver.
#[must_use = "nothing is registered before build()"]
pub struct ReceiverBuilder<T> {
    shared: Arc<Shared>,
    handle: Option<Handle>,
    respondent: Option<ContextId>,
    policy: Option<Policy>,
    of: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for ReceiverBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceiverBuilder").field("handle", &self.handle).finish_non_exhaustive()
    }
}

impl<T: DeserializeOwned> ReceiverBuilder<T> {
    /// A fixed handle. Default: the next free one, from 1000.
    pub fn handle(mut self, handle: Handle) -> Self {
        self.handle = Some(handle);
        self
    }

    /// Only this context may send here; when it goes, the receiver gets
    /// [`Error::Channel`]. Default: any context may.
    pub fn respondent(mut self, context: ContextId) -> Self {
        self.respondent = Some(context);
        self
    }

    /// Decides about each message, on the I/O thread. Default: all may pass.
    pub fn policy(mut self, policy: impl Fn(&Message, &crate::routing::Peer) -> bool + Send + Sync + 'static) -> Self {
        self.policy = Some(Arc::new(policy));
        self
    }

    /// Registers the receiver. If a fixed handle is taken, the receiver
    /// reports [`Error::Closed`] on first use.
    pub fn build(self) -> Receiver<T> {
        let handle = self.handle.unwrap_or_else(|| self.shared.next_handle());
        let queue = Arc::new(Queue::new(handle));
        let registration = Registration {
            sink: Target::Queue(Arc::clone(&queue)),
            once: false,
            respondent: self.respondent,
            policy: self.policy,
        };
        if !self.shared.command(Command::AddHandler { handle, registration, done: None }) {
            queue.close();
        }
        Receiver { inner: Arc::new(Inner { queue, handle, shared: self.shared }), of: PhantomData }
    }
}

impl<T: DeserializeOwned> Receiver<T> {
    /// A receiver on the next free handle.
    pub fn new(router: &Router) -> Self {
        Self::builder(router).build()
    }

    /// A receiver with settings.
    pub fn builder(router: &Router) -> ReceiverBuilder<T> {
        ReceiverBuilder {
            shared: Arc::clone(router.shared()),
            handle: None,
            respondent: None,
            policy: None,
            of: PhantomData,
        }
    }

    /// The port that this receiver listens on.
    pub fn handle(&self) -> Handle {
        self.inner.handle
    }

    /// A sender for this receiver. It can be an argument or a result of a
    /// call.
    pub fn sender(&self) -> Sender<T> {
        let shared = Arc::clone(&self.inner.shared);
        Sender { dst: shared.me, shared, handle: self.inner.handle, of: PhantomData }
    }

    /// Number of values that wait.
    pub fn len(&self) -> usize {
        self.inner.queue.len()
    }

    /// Whether no value waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next value.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// [`Error::Channel`] when a sender has closed its end or the respondent
    /// has gone (the receiver can still be used after that), [`Error::Closed`]
    /// when this receiver was closed, [`Error::Payload`] when the value is not
    /// a `T`.
    pub async fn recv(&self) -> Result<T, Error> {
        self.recv_from().await.map(|(_, value)| value)
    }

    /// The next value and the context that sent it.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// As [`Receiver::recv`].
    pub async fn recv_from(&self) -> Result<(ContextId, T), Error> {
        let message = self.recv_message().await?;
        Ok((message.src, self.decode(&message)?))
    }

    /// The next message as it came, unless it is dead.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// As [`Receiver::recv`], but for the value's type.
    pub async fn recv_message(&self) -> Result<Message, Error> {
        poll_fn(|cx| self.poll_message(cx.waker())).await
    }

    /// The next value, if it comes in time.
    ///
    /// # Errors
    ///
    /// As [`Receiver::recv`], and [`Error::Timeout`]; a value that comes too
    /// late can still be received.
    pub async fn recv_timeout(&self, timeout: Duration) -> Result<T, Error> {
        let mut sleep = pin!(self.inner.shared.sleep_until(Instant::now() + timeout));
        let message = poll_fn(|cx| {
            if let Poll::Ready(message) = self.poll_message(cx.waker()) {
                return Poll::Ready(message);
            }
            sleep.as_mut().poll(cx).map(|_| Err(Error::Timeout { after: timeout, what: "receive".into() }))
        })
        .await?;
        self.decode(&message)
    }

    /// The next value if one waits, `None` if not. Does not block.
    ///
    /// # Errors
    ///
    /// As [`Receiver::recv`].
    pub fn try_recv(&self) -> Result<Option<T>, Error> {
        match self.inner.queue.pop()? {
            Some(popped) => self.decode(&self.taken(popped)?).map(Some),
            None => Ok(None),
        }
    }

    /// [`Receiver::recv`] for code that is not async: blocks.
    ///
    /// # Errors
    ///
    /// As [`Receiver::recv`].
    pub fn blocking_recv(&self) -> Result<T, Error> {
        block_on(self.recv())
    }

    /// Gives up the handle. Whoever waits on this receiver or a clone of it
    /// gets [`Error::Closed`] once it is empty; whoever sends to it from now
    /// on is told `invalid handle`.
    pub fn close(&self) {
        self.inner.queue.close();
        self.inner.shared.command(Command::DelHandler(self.inner.handle));
    }

    fn poll_message(&self, waker: &Waker) -> Poll<Result<Message, Error>> {
        self.inner.queue.poll_pop(waker).map(|popped| self.taken(popped?))
    }

    fn taken(&self, (message, grant): (Message, Option<Grant>)) -> Result<Message, Error> {
        if let Some(grant) = grant {
            self.inner.shared.command(Command::Grant(grant));
        }
        if message.is_dead() {
            return Err(Error::Channel { context: message.src, reason: message.dead_reason(self.inner.shared.me) });
        }
        Ok(message)
    }

    fn decode(&self, message: &Message) -> Result<T, Error> {
        payload::decode(&message.data, Some(&self.inner.shared)).map_err(|why| {
            let of = std::any::type_name::<T>();
            Error::Payload(format!("message from context {} is not of type {of}: {why}", message.src))
        })
    }
}

impl<T: DeserializeOwned> Stream for Receiver<T> {
    type Item = Result<T, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        self.poll_message(cx.waker()).map(|message| match message {
            Ok(message) => Some(self.decode(&message)),
            Err(Error::Closed(_)) => None,
            Err(error) => Some(Err(error)),
        })
    }
}

/// Sends values to a receiver, wherever in the tree that is.
///
/// Can be an argument or a result of a call, so data flows can be wired
/// between any two contexts. Dropping it does not close the receiver.
pub struct Sender<T> {
    shared: Arc<Shared>,
    dst: ContextId,
    handle: Handle,
    of: PhantomData<fn(T)>,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), dst: self.dst, handle: self.handle, of: PhantomData }
    }
}

impl<T> PartialEq for Sender<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.dst, self.handle) == (other.dst, other.handle)
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("context", &self.dst).field("handle", &self.handle).finish_non_exhaustive()
    }
}

impl<T: Serialize> Sender<T> {
    /// Queues a value, at once and in order. The future ends when the
    /// receiver's window has had room for it; awaiting it is what keeps a
    /// sender from outrunning its receiver.
    ///
    /// Dropping the future does not take the value back.
    ///
    /// # Errors
    ///
    /// [`Error::Channel`] if the receiver has gone or refuses (learnt by this
    /// value or an earlier one), [`Error::Payload`] if the value cannot be
    /// encoded, [`Error::TooLarge`].
    pub fn send(&self, value: T) -> Sending {
        Sending(match payload::encode(&value) {
            Ok(data) => self.send_message(Message { data: data.into(), ..Message::default() }),
            Err(why) => {
                let of = std::any::type_name::<T>();
                Err(Error::Payload(format!("value of type {of} cannot be sent: {why}")))
            }
        })
    }

    /// [`Sender::send`] for code that is not async: blocks until there is
    /// room.
    ///
    /// # Errors
    ///
    /// As [`Sender::send`].
    pub fn blocking_send(&self, value: T) -> Result<(), Error> {
        block_on(self.send(value))
    }

    /// Tells the receiver that nothing more will come, after all that was
    /// sent before.
    pub fn close(&self) {
        drop(self.send_message(Message::dead("Sender was explicitly closed")));
    }

    fn send_message(&self, message: Message) -> Result<oneshot::Receiver<Result<(), Error>>, Error> {
        let size = message.data.len() as u64;
        if size > self.shared.max_message_size {
            return Err(Error::TooLarge { size, max: self.shared.max_message_size });
        }
        let (accepted, sending) = oneshot::channel();
        let message = Message { dst: self.dst, handle: self.handle, ..message };
        self.shared.command(Command::SendMetered { message, accepted: Some(accepted) });
        Ok(sending)
    }
}

/// A value on its way into a receiver's window; see [`Sender::send`].
#[derive(Debug)]
#[must_use = "await it, or the sender outruns its receiver"]
pub struct Sending(Result<oneshot::Receiver<Result<(), Error>>, Error>);

impl Future for Sending {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Ok(accepted) => {
                Pin::new(accepted).poll(cx).map(|result| result.unwrap_or_else(|_| Err(Error::router_ended())))
            }
            Err(error) => Poll::Ready(Err(error.clone())),
        }
    }
}

impl<T> Serialize for Sender<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.dst, self.handle).serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for Sender<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (dst, handle) = <(ContextId, Handle)>::deserialize(deserializer)?;
        if handle == Handle::NONE {
            return Err(serde::de::Error::custom("a Sender needs a handle"));
        }
        let shared = payload::current_router()
            .ok_or_else(|| serde::de::Error::custom("a Sender can be decoded only from a message"))?;
        Ok(Self { shared, dst, handle, of: PhantomData })
    }
}

/// Runs a future on this thread until it ends. For futures that need no
/// runtime, as all of this crate's.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut cx = TaskContext::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
