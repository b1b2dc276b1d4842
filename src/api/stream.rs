//! Calls that send values before they end.

use std::any::type_name;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use serde::de::DeserializeOwned;

use crate::api::call::{Call, RawCall};
use crate::api::context::Context;
use crate::api::function::Function;
use crate::api::receiver::Receiver;
use crate::api::sender::Sender;
use crate::api::with_timeout::WithTimeout;
use crate::sys::blocking::block_on;
use crate::wire::error::Error;
use crate::wire::message::Message;

/// The values that a call sends while it runs, followed by its result.
///
/// [`Context::stream`] creates one. The items are the values, in the order in which the function sends them.
/// The stream ends when the call ends, so the function does not have to close its sender. If the call fails,
/// its error is the last item. [`CallStream::result`] returns the result of the function.
///
/// The function's sender has a window of 64 KiB, which grows to 1 MiB if the stream is read fast enough. When
/// the window is full, the sender waits. A stream that is not read therefore uses a bounded amount of memory,
/// and the function cannot end until it is read or dropped.
///
/// The function may pass its sender on to contexts below its own. Values that other contexts send to it are
/// refused.
///
/// For async code, this is a [`Stream`] and has [`CallStream::next`]. In blocking code, `for item in &mut
/// stream` iterates over it. Dropping the stream cancels the call.
///
/// ```
/// use offshoot::{Context, Error, Router, Sender, export};
///
/// async fn count(from: u32, to: u32, numbers: Sender<u32>) -> Result<String, Error> {
///     for number in from..to {
///         numbers.send(number).await?; // waits while the reader is behind
///     }
///     Ok(format!("counted to {to}"))
/// }
/// export!(count);
///
/// fn main() -> Result<(), Error> {
///     offshoot::child();
///     let router = Router::new()?;
///     let child = router.local().blocking_connect()?;
///     let mut stream = child.stream(count, |numbers| (1, 4, numbers));
///     let numbers: Result<Vec<u32>, Error> = (&mut stream).into_iter().collect();
///     assert_eq!(numbers?, [1, 2, 3]);
///     assert_eq!(stream.blocking_result()?, "counted to 4");
///     offshoot::block_on(sum(&child))?;
///     router.blocking_shutdown();
///     Ok(())
/// }
///
/// async fn sum(child: &Context) -> Result<(), Error> {
///     let (mut stream, mut sum) = (child.stream(count, |numbers| (1, 101, numbers)), 0);
///     while let Some(number) = stream.next().await {
///         sum += number?;
///     }
///     assert_eq!(sum, 5050);
///     Ok(())
/// }
/// ```
#[must_use = "dropping a stream cancels its call"]
pub struct CallStream<T, R> {
    receiver: Receiver<T>,
    call: Call<R>,
    /// The outcome of the call: its encoded result or its error.
    ended: Option<Result<Bytes, Error>>,
    /// Whether all items have been returned.
    done: bool,
}

impl<T, R> CallStream<T, R> {
    /// The context that runs the function.
    pub fn context(&self) -> &Context {
        self.call.context()
    }

    /// The full name of the function.
    pub fn function(&self) -> &'static str {
        self.call.function()
    }

    fn poll_raw(&mut self, cx: &mut TaskContext<'_>) -> Poll<Option<Result<Message, Error>>> {
        loop {
            if self.done {
                return Poll::Ready(None);
            }
            match self.receiver.inner.poll_next(cx) {
                Poll::Ready(Some(Ok(message))) => return Poll::Ready(Some(Ok(message))),
                // A closed sender needs no item of its own. The stream ends with the call.
                Poll::Ready(Some(Err(Error::Channel(_)))) => continue,
                // No value waits. Only the end of the call can follow now.
                Poll::Ready(_) | Poll::Pending => {}
            }
            if self.ended.is_some() {
                // The reply arrives after all values, and all values have been taken.
                self.done = true;
                return Poll::Ready(self.failure().map(Err));
            }
            match self.call.inner.poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(ended) => self.ended = Some(ended),
            }
        }
    }

    fn failure(&self) -> Option<Error> {
        self.ended.as_ref().and_then(|ended| ended.as_ref().err().cloned())
    }
}

impl Context {
    /// Calls `function` in the context with a sender among its arguments. Returns a stream of the values that
    /// the function sends, and of its result. `args` is called with the sender and returns the arguments.
    /// Does not block. See [`CallStream`].
    ///
    /// # Errors
    ///
    /// As [`Context::call`]. The error is the last item of the stream.
    pub fn stream<F, K, T, A>(&self, function: F, args: A) -> CallStream<T, F::Ok>
    where
        F: Function<K>,
        A: FnOnce(Sender<T>) -> F::Args,
    {
        start(self, function, args, None)
    }
}

impl WithTimeout<'_> {
    /// As [`Context::stream`], but the call ends with [`Error::Timeout`] when the time limit is reached.
    ///
    /// # Errors
    ///
    /// As [`Context::stream`], and [`Error::Timeout`].
    pub fn stream<F, K, T, A>(&self, function: F, args: A) -> CallStream<T, F::Ok>
    where
        F: Function<K>,
        A: FnOnce(Sender<T>) -> F::Args,
    {
        start(self.context, function, args, Some(self.limit))
    }
}

fn start<F, K, T, A>(context: &Context, _: F, args: A, timeout: Option<Duration>) -> CallStream<T, F::Ok>
where
    F: Function<K>,
    A: FnOnce(Sender<T>) -> F::Args,
{
    let receiver = Receiver::of_call(context.shared(), context.id());
    let message = context.call_message::<F, K>(&args(receiver.sender()), 0, receiver.handle());
    let call = Call::from_raw(RawCall::start(context, type_name::<F>(), message, timeout));
    CallStream { receiver, call, ended: None, done: false }
}

impl<T: DeserializeOwned, R: DeserializeOwned> CallStream<T, R> {
    /// Waits for the next value. Returns `None` when the call has ended and all values have been taken.
    /// Cancel safe. Code that is not async uses [`CallStream::blocking_next`].
    ///
    /// # Errors
    ///
    /// [`Error::Payload`] if a value is not a `T`; the stream continues after it. If the call fails, its
    /// error is the last item: see [`Context::call`](crate::Context::call).
    pub async fn next(&mut self) -> Option<Result<T, Error>> {
        poll_fn(|cx| self.poll_item(cx)).await
    }

    /// [`CallStream::next`] for code that is not async: blocks until an item arrives.
    ///
    /// # Errors
    ///
    /// As [`CallStream::next`].
    pub fn blocking_next(&mut self) -> Option<Result<T, Error>> {
        block_on(self.next())
    }

    /// Waits for the result of the function. Takes and discards the remaining values, so that the call can
    /// end. Can be called repeatedly, and returns the same result each time. Cancel safe.
    /// Code that is not async uses [`CallStream::blocking_result`].
    ///
    /// # Errors
    ///
    /// As [`Context::call`](crate::Context::call). The error is returned even if it was already an item.
    pub async fn result(&mut self) -> Result<R, Error> {
        while poll_fn(|cx| self.poll_raw(cx)).await.is_some() {}
        match &self.ended {
            Some(Ok(value)) => self.call.inner.decode(value),
            Some(Err(error)) => Err(error.clone()),
            None => Err(Error::router_ended(self.context().shared().me)),
        }
    }

    /// [`CallStream::result`] for code that is not async: blocks until the call has ended.
    ///
    /// # Errors
    ///
    /// As [`CallStream::result`].
    pub fn blocking_result(&mut self) -> Result<R, Error> {
        block_on(self.result())
    }

    fn poll_item(&mut self, cx: &mut TaskContext<'_>) -> Poll<Option<Result<T, Error>>> {
        self.poll_raw(cx).map(|next| next.map(|message| message?.decode()))
    }
}

impl<T, R> fmt::Debug for CallStream<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallStream").field("call", &self.call).field("done", &self.done).finish_non_exhaustive()
    }
}

impl<T, R> Unpin for CallStream<T, R> {}

impl<T: DeserializeOwned, R: DeserializeOwned> Stream for CallStream<T, R> {
    type Item = Result<T, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        self.poll_item(cx)
    }
}

/// A blocking iterator over a [`CallStream`].
///
/// [`CallStream`] has an example.
#[derive(Debug)]
pub struct StreamIter<S>(S);

impl<T: DeserializeOwned, R: DeserializeOwned> Iterator for StreamIter<&mut CallStream<T, R>> {
    type Item = Result<T, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.blocking_next()
    }
}

impl<T: DeserializeOwned, R: DeserializeOwned> Iterator for StreamIter<CallStream<T, R>> {
    type Item = Result<T, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.blocking_next()
    }
}

impl<'a, T: DeserializeOwned, R: DeserializeOwned> IntoIterator for &'a mut CallStream<T, R> {
    type Item = Result<T, Error>;
    type IntoIter = StreamIter<&'a mut CallStream<T, R>>;

    /// The iterator blocks for each item. [`CallStream::blocking_result`] can be called afterwards.
    fn into_iter(self) -> Self::IntoIter {
        StreamIter(self)
    }
}

impl<T: DeserializeOwned, R: DeserializeOwned> IntoIterator for CallStream<T, R> {
    type Item = Result<T, Error>;
    type IntoIter = StreamIter<Self>;

    /// The iterator blocks for each item.
    fn into_iter(self) -> Self::IntoIter {
        StreamIter(self)
    }
}
