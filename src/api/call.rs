//! Calls in progress: futures of results.

use std::fmt;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot::{self, error::TryRecvError};

use crate::api::context::Context;
use crate::engine::io::Io;
use crate::engine::shared::{Request, Shared};
use crate::sys::blocking::block_on;
use crate::sys::blocking::block_until;
use crate::sys::deadline::deadline;
use crate::sys::process::describe;
use crate::wire::call_payload;
use crate::wire::codec::{self, Origin};
use crate::wire::error::builtin_words::{in_words, shown};
use crate::wire::error::{ChannelErrorKind, Closed, Error};
use crate::wire::message::{ContextId, Handle, Message};

/// A call in progress: a future of its result.
///
/// Dropping it cancels the call:
///
/// - If the call is still queued, it never runs.
/// - If the function is async, it is dropped at its next await.
/// - If the function is blocking, it runs to its end, and its result is discarded.
///
/// Processes that the call has started through this crate are killed.
///
/// ```
/// use offshoot::{Error, Router, export};
///
/// fn add(a: u32, b: u32) -> u32 {
///     a + b
/// }
/// export!(add);
///
/// fn main() -> Result<(), Error> {
///     offshoot::child();
///     let router = Router::new()?;
///     let child = router.local().blocking_connect()?;
///     // Both calls are sent before the first result is awaited.
///     let calls = [child.call(add, (1, 2)), child.call(add, (3, 4))];
///     let sums: Result<Vec<u32>, Error> = calls.into_iter().map(|call| call.blocking_recv()).collect();
///     assert_eq!(sums?, [3, 7]);
///     router.blocking_shutdown();
///     Ok(())
/// }
/// ```
#[must_use = "dropping a call cancels it: await it or detach it"]
pub struct Call<R> {
    pub(crate) inner: RawCall,
    of: PhantomData<fn() -> R>,
}

/// A call without the type of its result.
pub(crate) struct RawCall {
    /// The context that runs it.
    context: Context,
    state: Option<Pending>,
    /// The outcome, if it has not been taken yet. It is also set if the call could not be sent.
    ended: Option<Result<Bytes, Error>>,
    timeout: Option<(Instant, Duration)>,
    function: &'static str,
    /// The source and the authority of the reply.
    by: (ContextId, ContextId),
    /// Maximum size of the result, in bytes. A larger result is not decoded.
    max: usize,
    #[cfg(feature = "cli")]
    convert: Option<Convert>,
}

/// Converts a result to JSON for the caller.
#[cfg(feature = "cli")]
pub(crate) type Convert = fn(&[u8], Origin) -> Result<String, String>;

struct Pending {
    answer: oneshot::Receiver<Message>,
    handle: Handle,
}

impl RawCall {
    /// Sends the call, unless its encoding failed.
    pub(crate) fn start(
        context: &Context,
        function: &'static str,
        message: Result<Message, Error>,
        timeout: Option<Duration>,
    ) -> Self {
        let shared = context.shared();
        // Before the request, as the I/O thread counts the time from when it handles that.
        let begun = timeout.map(|limit| (Instant::now(), limit));
        let sent = message.and_then(|mut message| {
            let (reply, answer) = oneshot::channel();
            let handle = shared.next_handle();
            message.reply_to = handle;
            if !shared.request(Request::Call { message, reply, timeout, function }) {
                return Err(Error::router_ended(shared.me));
            }
            Ok(Pending { answer, handle })
        });
        let (state, ended) = match sent {
            Ok(pending) => (Some(pending), None),
            Err(error) => (None, Some(Err(error))),
        };
        Self {
            context: context.clone(),
            state,
            ended,
            timeout: begun,
            function,
            by: (shared.me, shared.me),
            max: usize::MAX,
            #[cfg(feature = "cli")]
            convert: None,
        }
    }

    /// The encoded result.
    pub(crate) fn poll(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<Bytes, Error>> {
        if !self.is_ready(cx.waker()) {
            return Poll::Pending;
        }
        let ended = self.ended.take();
        Poll::Ready(ended.unwrap_or_else(|| Err(Error::Closed(Closed::Call))))
    }

    /// Whether the call has ended. If it has not, `waker` is woken at its end.
    pub(crate) fn is_ready(&mut self, waker: &Waker) -> bool {
        if let Some(pending) = &mut self.state {
            match Pin::new(&mut pending.answer).poll(&mut TaskContext::from_waker(waker)) {
                Poll::Pending => return false,
                Poll::Ready(answer) => {
                    self.state = None;
                    self.ended = Some(self.finish(answer.ok()));
                }
            }
        }
        true
    }

    /// The encoded result, if it has arrived.
    pub(crate) fn try_recv(&mut self) -> Option<Result<Bytes, Error>> {
        if let Some(pending) = &mut self.state {
            let answer = match pending.answer.try_recv() {
                Ok(answer) => Some(answer),
                Err(TryRecvError::Closed) => None,
                Err(TryRecvError::Empty) => return None,
            };
            self.state = None;
            return Some(self.finish(answer));
        }
        self.ended.take()
    }

    /// Whether the result or an error has arrived.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.is_some() || self.state.as_ref().is_some_and(|pending| !pending.answer.is_empty())
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        self.context.shared()
    }

    fn finish(&mut self, answer: Option<Message>) -> Result<Bytes, Error> {
        let Some(message) = answer else {
            return Err(match self.timeout {
                Some((started, limit)) if started.elapsed() >= limit => self.timed_out(limit, ""),
                _ => Error::router_ended(self.shared().me),
            });
        };
        if message.handle == Handle::WAITS {
            let limit = self.timeout.map_or(Duration::ZERO, |(_, limit)| limit);
            let waited = format!(", which waited there for the end of {},", String::from_utf8_lossy(&message.data));
            return Err(self.timed_out(limit, &waited));
        }
        // It was refused before it was whole.
        if message.is_dead() && message.dead_kind == ChannelErrorKind::TooLarge && self.max < usize::MAX {
            return Err(self.unreadable(&format!("it is too large (max {})", self.max)));
        }
        if message.is_dead() {
            return Err(self.named(message.dead_error(self.shared().me)));
        }
        self.by = (message.src, message.auth);
        let value = call_payload::decode_reply(&message.data)?;
        #[cfg(feature = "cli")]
        if let Some(convert) = self.convert {
            let converted = convert(&value, self.origin()).and_then(|value| codec::encode(&value));
            return converted.map(Bytes::from).map_err(|why| self.unreadable(&why));
        }
        Ok(value)
    }

    fn timed_out(&self, after: Duration, waited: &str) -> Error {
        let what = match in_words(self.function) {
            Some(words) => format!("{words} in {}{waited}", self.context),
            None => format!("call of {} in {}{waited}", self.function, self.context),
        };
        Error::Timeout { after, what }
    }

    /// Adds to the error of a context that has gone during the call the name of the function, and how the
    /// process has ended if this context has started it.
    fn named(&self, error: Error) -> Error {
        match error {
            Error::Channel(mut error) if error.kind == ChannelErrorKind::Disconnected => {
                let status = self.context.exit_status().map(|status| format!(": its process {}", describe(status)));
                let (context, status) = (&self.context, status.unwrap_or_default());
                let during = match in_words(self.function) {
                    Some(words) => format!("during {words}"),
                    None => format!("in a call of {}", self.function),
                };
                error.reason = format!("{}, {during} in {context}{status}", error.reason);
                Error::Channel(error)
            }
            error => error,
        }
    }

    pub(crate) fn decode<R: DeserializeOwned>(&self, value: &[u8]) -> Result<R, Error> {
        if value.len() > self.max {
            return Err(self.unreadable(&format!("it has {} bytes (max {})", value.len(), self.max)));
        }
        codec::decode(value, Some(self.origin())).map_err(|why| self.unreadable(&why))
    }

    fn origin(&self) -> Origin {
        Origin::at(self.shared(), self.by.0, self.by.1)
    }

    fn unreadable(&self, why: &str) -> Error {
        Error::Payload(format!("the result of {} in {} cannot be read: {why}", shown(self.function), self.context))
    }

    async fn recv_timeout(&mut self, limit: Duration) -> Result<Bytes, Error> {
        let mut sleep = None;
        poll_fn(|cx| {
            if let Poll::Ready(value) = self.poll(cx) {
                return Poll::Ready(value);
            }
            let sleep = sleep.get_or_insert_with(|| self.shared().sleep_until(deadline(limit)));
            Pin::new(sleep).poll(cx).map(|_| Err(self.late(limit)))
        })
        .await
    }

    fn late(&self, after: Duration) -> Error {
        Error::Timeout { after, what: format!("waiting for {} in {}", shown(self.function), self.context) }
    }
}

impl Drop for RawCall {
    fn drop(&mut self) {
        if let Some(pending) = &self.state {
            self.shared().request(Request::Cancel(pending.handle));
        }
    }
}

impl<R> Call<R> {
    /// Makes the called context stop the work. The reply is still received if it is already on its way.
    pub(crate) fn give_up(&self, io: &Rc<Io>, callee: ContextId) {
        if let Some(pending) = &self.inner.state {
            io.outgoing().call_off(io, callee, pending.handle);
        }
    }

    /// Limits the size of the result: more than `max` bytes are an error, and are neither kept nor decoded.
    pub(crate) fn at_most(mut self, max: usize) -> Self {
        self.inner.max = max;
        if let Some(pending) = &self.inner.state {
            let (handle, most) = (pending.handle, max as u64 + 1);
            let limit = move |io: &Rc<Io>| io.with_inboxes(|inboxes| inboxes.limit(handle, most));
            self.inner.shared().request(Request::Do(Box::new(limit)));
        }
        self
    }

    pub(crate) fn from_raw(inner: RawCall) -> Self {
        Self { inner, of: PhantomData }
    }

    #[cfg(feature = "cli")]
    pub(crate) fn converted(mut inner: RawCall, convert: Convert) -> Self {
        inner.convert = Some(convert);
        Self::from_raw(inner)
    }

    /// The context that runs the function.
    pub fn context(&self) -> &Context {
        &self.inner.context
    }

    /// The full name of the function.
    pub fn function(&self) -> &'static str {
        self.inner.function
    }

    /// Whether the call has ended, so that [`Call::try_recv`] returns the result. Does not block.
    pub fn is_finished(&self) -> bool {
        self.inner.has_ended()
    }

    /// Lets the call run to its end without waiting for it. Its result or error is discarded. Does not block.
    pub fn detach(mut self) {
        self.inner.state = None;
    }
}

impl<R: DeserializeOwned> Call<R> {
    /// Waits for the result, for code that is not async: blocks.
    ///
    /// # Errors
    ///
    /// As [`Context::call`](crate::Context::call).
    pub fn blocking_recv(self) -> Result<R, Error> {
        block_on(self)
    }

    /// Returns the result if the call has ended. Returns `None` if it has not, or if the result was taken
    /// before. Does not block.
    ///
    /// # Errors
    ///
    /// As [`Context::call`](crate::Context::call).
    pub fn try_recv(&mut self) -> Result<Option<R>, Error> {
        match self.inner.try_recv() {
            Some(value) => self.inner.decode(&value?).map(Some),
            None => Ok(None),
        }
    }

    /// Waits for the result for at most `limit`. After a timeout the call continues, and a later call of this
    /// function can still return the result. To end the call itself after a time, see
    /// [`Context::timeout`](crate::Context::timeout). Cancel safe.
    /// Code that is not async uses [`Call::blocking_recv_timeout`].
    ///
    /// # Errors
    ///
    /// As [`Context::call`](crate::Context::call), and [`Error::Timeout`].
    #[doc(alias = "get")]
    pub async fn recv_timeout(&mut self, limit: Duration) -> Result<R, Error> {
        let value = self.inner.recv_timeout(limit).await?;
        self.inner.decode(&value)
    }

    /// [`Call::recv_timeout`] for code that is not async: blocks for at most `limit`.
    ///
    /// # Errors
    ///
    /// As [`Call::recv_timeout`].
    pub fn blocking_recv_timeout(&mut self, limit: Duration) -> Result<R, Error> {
        let value = block_until(poll_fn(|cx| self.inner.poll(cx)), deadline(limit));
        let value = value.unwrap_or_else(|| Err(self.inner.late(limit)))?;
        self.inner.decode(&value)
    }
}

impl<R> fmt::Debug for Call<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("function", &self.inner.function)
            .field("context", &self.inner.context)
            .finish_non_exhaustive()
    }
}

impl<R: DeserializeOwned> Future for Call<R> {
    type Output = Result<R, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        self.inner.poll(cx).map(|value| self.inner.decode(&value?))
    }
}
