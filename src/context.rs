//! Contexts: calling functions elsewhere, and what a called function knows of
//! where it runs.

use std::fmt;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::channel::{Receiver, block_on};
use crate::dispatch;
use crate::error::Error;
use crate::function::{Function, Table};
use crate::message::{ContextId, Handle, Message, printable};
use crate::payload;
use crate::router::{Command, Router, Shared};

/// A process in the tree, as others see it.
///
/// Cheap to clone; dropping it ends nothing. It can be an argument or a
/// result of a call.
#[derive(Clone)]
pub struct Context {
    shared: Arc<Shared>,
    id: ContextId,
    name: Arc<str>,
}

impl Context {
    pub(crate) fn new(shared: Arc<Shared>, id: ContextId, name: &str) -> Self {
        Self { shared, id, name: name.into() }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Its number in the tree.
    pub fn id(&self) -> ContextId {
        self.id
    }

    /// Its name, as `ssh.web1` or `ssh.web1.local.4711`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Calls `function` there, at once and in order. Await the result, or
    /// drop it, which cancels the call.
    ///
    /// Plain functions of one context run one at a time, first in, first out.
    /// A function that calls back into a context that waits for it deadlocks.
    ///
    /// # Errors
    ///
    /// The future ends with [`Error::Call`] if the function failed or
    /// panicked, [`Error::Channel`] if the context cannot be reached, has
    /// gone, or refuses, [`Error::NotExported`] if the function is in no
    /// table, [`Error::Payload`] or [`Error::TooLarge`] if arguments or
    /// result cannot be sent.
    pub fn call<F: Function<K>, K>(&self, function: F, args: F::Args) -> Call<F::Ok> {
        self.start(function, &args, None)
    }

    /// [`Context::call`] for code that is not async: blocks until the answer
    /// is there.
    ///
    /// # Errors
    ///
    /// As [`Context::call`].
    pub fn blocking_call<F: Function<K>, K>(&self, function: F, args: F::Args) -> Result<F::Ok, Error> {
        block_on(self.call(function, args))
    }

    /// Calls `function` there and wants no answer. A failure is logged there.
    ///
    /// # Errors
    ///
    /// What can be known at once: [`Error::NotExported`], [`Error::Payload`],
    /// [`Error::TooLarge`], [`Error::Closed`].
    pub fn call_no_reply<F: Function<K>, K>(&self, function: F, args: F::Args) -> Result<(), Error> {
        let message = self.call_message::<F, K>(function, &args)?;
        self.queue(Command::SendMetered { message, accepted: None })
    }

    /// Calls made on the result fail with [`Error::Timeout`] when `limit` has
    /// passed. What remains of it travels with the call.
    pub fn timeout(&self, limit: Duration) -> Limited<'_> {
        Limited { context: self, limit }
    }

    /// Sends a message there as it stands, without a window.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if the router has ended.
    pub fn send(&self, message: Message) -> Result<(), Error> {
        self.queue(Command::Send(Message { dst: self.id, ..message }))
    }

    /// Sends a message there and returns a receiver for what comes back.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if the router has ended.
    pub fn send_async<T: DeserializeOwned>(&self, router: &Router, message: Message) -> Result<Receiver<T>, Error> {
        let receiver = Receiver::<T>::builder(router).respondent(self.id).build();
        self.send(Message { reply_to: receiver.handle(), ..message })?;
        Ok(receiver)
    }

    /// Sends a message there and waits for the answer.
    ///
    /// # Errors
    ///
    /// [`Error::Channel`], [`Error::Payload`], [`Error::Closed`].
    pub async fn send_await<T: DeserializeOwned>(&self, router: &Router, message: Message) -> Result<T, Error> {
        self.send_async(router, message)?.recv().await
    }

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
    pub fn shutdown_nowait(&self) -> Ending {
        let (gone, ended) = oneshot::channel();
        self.shared.command(Command::Watch { context: self.id, gone });
        self.shared.command(Command::End(self.id));
        Ending { ended }
    }

    fn start<F: Function<K>, K>(&self, function: F, args: &F::Args, timeout: Option<Duration>) -> Call<F::Ok> {
        let message = self.call_message::<F, K>(function, args);
        let decode = |value: &[u8], shared: &Arc<Shared>| payload::decode(value, Some(shared));
        self.start_encoded(std::any::type_name::<F>(), message, timeout, decode)
    }

    /// Makes a call whose message is ready; `decode` makes the result of what
    /// comes back.
    pub(crate) fn start_encoded<R>(
        &self,
        function: &'static str,
        message: Result<Message, Error>,
        timeout: Option<Duration>,
        decode: fn(&[u8], &Arc<Shared>) -> Result<R, String>,
    ) -> Call<R> {
        let state = message.and_then(|mut message| {
            let (reply, answer) = oneshot::channel();
            let handle = self.shared.next_handle();
            message.reply_to = handle;
            self.queue(Command::Call { message, reply, timeout })?;
            Ok(Pending { answer, handle })
        });
        let (state, error) = match state {
            Ok(pending) => (Some(pending), None),
            Err(error) => (None, Some(error)),
        };
        Call {
            shared: Arc::clone(&self.shared),
            state,
            error,
            timeout: timeout.map(|limit| (Instant::now(), limit)),
            function,
            decode,
        }
    }

    fn call_message<F: Function<K>, K>(&self, _: F, args: &F::Args) -> Result<Message, Error> {
        const {
            assert!(
                size_of::<F>() == 0,
                "only plain functions can be called: no closures that capture, no fn pointers"
            );
        };
        let function = std::any::type_name::<F>();
        if Table::get().find(function).is_none() {
            return Err(Error::NotExported { function: function.to_owned() });
        }
        let data = dispatch::encode_call(function, args)
            .map_err(|why| Error::Payload(format!("the arguments of {function} cannot be sent: {why}")))?;
        self.message_of(data)
    }

    /// The message of a call that is encoded.
    pub(crate) fn message_of(&self, data: Vec<u8>) -> Result<Message, Error> {
        let (size, max) = (data.len() as u64, self.shared.max_message_size);
        if size > max {
            return Err(Error::TooLarge { size, max });
        }
        Ok(Message::new(self.id, Handle::CALL_FUNCTION, data))
    }

    fn queue(&self, command: Command) -> Result<(), Error> {
        if self.shared.command(command) { Ok(()) } else { Err(Error::router_ended()) }
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Context({}, {:?})", self.id, self.name)
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl PartialEq for Context {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Eq for Context {}

impl Hash for Context {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl Serialize for Context {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.id, &*self.name).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Context {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (id, name) = <(ContextId, String)>::deserialize(deserializer)?;
        let shared = payload::current_router()
            .ok_or_else(|| serde::de::Error::custom("a Context can be decoded only from a message"))?;
        Ok(Self::new(shared, id, &printable(&name)))
    }
}

/// The end of a context that is on its way: a future that is ready when the
/// context has gone and, if this context had started it, has been reaped.
///
/// Dropping it changes nothing.
#[derive(Debug)]
pub struct Ending {
    ended: oneshot::Receiver<()>,
}

impl Ending {
    /// Awaits it, for code that is not async: blocks.
    pub fn wait(self) {
        block_on(self);
    }
}

impl Future for Ending {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        // An error means that there was nothing to wait for.
        Pin::new(&mut self.ended).poll(cx).map(drop)
    }
}

/// A context with a limit on the time of each call; see [`Context::timeout`].
#[derive(Debug, Clone, Copy)]
pub struct Limited<'a> {
    context: &'a Context,
    limit: Duration,
}

impl Limited<'_> {
    /// As [`Context::call`], but ends with [`Error::Timeout`] when the time is
    /// up, whether the work could be stopped or not.
    ///
    /// # Errors
    ///
    /// As [`Context::call`], and [`Error::Timeout`].
    pub fn call<F: Function<K>, K>(&self, function: F, args: F::Args) -> Call<F::Ok> {
        self.context.start(function, &args, Some(self.limit))
    }

    /// [`Limited::call`] for code that is not async: blocks.
    ///
    /// # Errors
    ///
    /// As [`Limited::call`].
    pub fn blocking_call<F: Function<K>, K>(&self, function: F, args: F::Args) -> Result<F::Ok, Error> {
        block_on(self.call(function, args))
    }
}

/// A call on its way: a future of its result.
///
/// Dropping it cancels the call: a queued one never runs, an async one is
/// dropped at its next await, a blocking one runs on and its result is thrown
/// away, and processes that it has started through this crate are killed.
#[must_use = "dropping a call cancels it: await it or detach it"]
pub struct Call<R> {
    shared: Arc<Shared>,
    state: Option<Pending>,
    /// Why it was not even sent.
    error: Option<Error>,
    timeout: Option<(Instant, Duration)>,
    function: &'static str,
    decode: fn(&[u8], &Arc<Shared>) -> Result<R, String>,
}

struct Pending {
    answer: oneshot::Receiver<Message>,
    handle: Handle,
}

impl<R> Call<R> {
    /// Lets the call run on without anybody waiting for it.
    pub fn detach(mut self) {
        self.state = None;
    }

    fn finish(&self, answer: Result<Message, oneshot::error::RecvError>) -> Result<R, Error> {
        let message = answer.map_err(|_| match self.timeout {
            Some((started, limit)) if started.elapsed() >= limit => {
                Error::Timeout { after: limit, what: format!("call of {}", self.function) }
            }
            _ => Error::router_ended(),
        })?;
        if message.is_dead() {
            return Err(Error::Channel { context: message.src, reason: message.dead_reason(self.shared.me) });
        }
        let value = dispatch::decode_reply(&message.data, &self.shared)?;
        (self.decode)(value, &self.shared)
            .map_err(|why| Error::Payload(format!("the result of {} cannot be read: {why}", self.function)))
    }
}

impl<R> fmt::Debug for Call<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("function", &self.function).finish_non_exhaustive()
    }
}

impl<R> Future for Call<R> {
    type Output = Result<R, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        if let Some(pending) = &mut self.state {
            return match Pin::new(&mut pending.answer).poll(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(answer) => {
                    self.state = None;
                    Poll::Ready(self.finish(answer))
                }
            };
        }
        Poll::Ready(Err(self.error.take().unwrap_or_else(|| Error::Closed("the call has already ended".into()))))
    }
}

impl<R> Drop for Call<R> {
    fn drop(&mut self) {
        if let Some(pending) = &self.state {
            self.shared.command(Command::Cancel(pending.handle));
        }
    }
}

/// What a called function knows of where it runs. Ask for it by a first
/// parameter of type `&Econtext`.
pub struct Econtext {
    router: Router,
    caller: ContextId,
    deadline: Option<Instant>,
    cancelled: CancellationToken,
}

impl Econtext {
    pub(crate) fn new(
        router: Router,
        caller: ContextId,
        deadline: Option<Instant>,
        cancelled: CancellationToken,
    ) -> Self {
        Self { router, caller, deadline, cancelled }
    }

    /// This context's router.
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// This context itself.
    pub fn myself(&self) -> Context {
        self.router.myself()
    }

    /// The context that started this one.
    pub fn parent(&self) -> Option<Context> {
        self.parent_ids().first().map(|&id| self.router.context_by_id(id))
    }

    /// All contexts above this one, the parent first.
    pub fn parent_ids(&self) -> &[ContextId] {
        &self.shared().parent_ids
    }

    /// The context that made this call.
    pub fn caller(&self) -> ContextId {
        self.caller
    }

    /// When the caller stops waiting, if it ever does.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Whether nobody waits for this call any more. For functions that block.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.is_cancelled()
    }

    /// Ends when nobody waits for this call any more. Cancel safe.
    pub fn cancelled(&self) -> impl Future<Output = ()> + '_ {
        self.cancelled.cancelled()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        self.router.shared()
    }
}

impl fmt::Debug for Econtext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Econtext").field("router", &self.router).field("caller", &self.caller).finish_non_exhaustive()
    }
}
