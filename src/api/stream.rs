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

/// The values that a call sends while it runs, and then its result.
///
/// [`Context::stream`] makes one. The values are items in the order in which
/// the function has sent them. The stream ends when the call ends, however
/// that comes about: nobody has to close anything. If the call fails, its
/// error is the last item. [`CallStream::result`] gives what the function
/// returned.
///
/// The function's sender waits while 64 KiB (growing to 1 MiB while this end
/// keeps up) are under way, so a stream that nobody reads holds no more than
/// that, and keeps the function from ending.
///
/// The function may pass its sender on to contexts below its own. What others
/// send to it is refused.
///
/// For async code this is a [`Stream`] and has [`CallStream::next`]; for code
/// that blocks, `for item in &mut stream` iterates. Dropping it cancels the
/// call.
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
    /// How the call has ended: its encoded result.
    ended: Option<Result<Bytes, Error>>,
    /// Nothing more is an item.
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
                // A sender that was closed says no more than the end of the call will.
                Poll::Ready(Some(Err(Error::Channel(_)))) => continue,
                // Nothing more can come but the end of the call.
                Poll::Ready(_) | Poll::Pending => {}
            }
            if self.ended.is_some() {
                // The answer comes behind all values, and they have been taken.
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
    /// Calls `function` there with a sender among its arguments, and gives the
    /// values that the function sends, and then its result. `args` takes the
    /// sender and makes the arguments of it. See [`CallStream`].
    ///
    /// # Errors
    ///
    /// As [`Context::call`]; the error is the last item.
    pub fn stream<F, K, T, A>(&self, function: F, args: A) -> CallStream<T, F::Ok>
    where
        F: Function<K>,
        A: FnOnce(Sender<T>) -> F::Args,
    {
        start(self, function, args, None)
    }
}

impl WithTimeout<'_> {
    /// As [`Context::stream`], but the call ends with [`Error::Timeout`] when
    /// the time is up.
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
    /// The next value; `None` when the call has ended and all values have been
    /// taken. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`Error::Payload`] if a value is not a `T` (the stream goes on). If the
    /// call fails, its error is the last item: see
    /// [`Context::call`](crate::Context::call).
    pub async fn next(&mut self) -> Option<Result<T, Error>> {
        poll_fn(|cx| self.poll_item(cx)).await
    }

    /// [`CallStream::next`] for code that is not async: blocks.
    pub fn blocking_next(&mut self) -> Option<Result<T, Error>> {
        block_on(self.next())
    }

    /// What the function returned. Takes and drops the values that are left,
    /// so the call can end. Can be asked again, and gives the same again.
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// As [`Context::call`](crate::Context::call); also when the error was an
    /// item already.
    pub async fn result(&mut self) -> Result<R, Error> {
        while poll_fn(|cx| self.poll_raw(cx)).await.is_some() {}
        match &self.ended {
            Some(Ok(value)) => self.call.inner.decode(value),
            Some(Err(error)) => Err(error.clone()),
            None => Err(Error::router_ended(self.context().shared().me)),
        }
    }

    /// [`CallStream::result`] for code that is not async: blocks.
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

/// An iterator over a [`CallStream`] that blocks.
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

    /// Blocks for each item; leaves the result to be asked for.
    fn into_iter(self) -> Self::IntoIter {
        StreamIter(self)
    }
}

impl<T: DeserializeOwned, R: DeserializeOwned> IntoIterator for CallStream<T, R> {
    type Item = Result<T, Error>;
    type IntoIter = StreamIter<Self>;

    /// Blocks for each item.
    fn into_iter(self) -> Self::IntoIter {
        StreamIter(self)
    }
}
