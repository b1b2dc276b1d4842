//! Calls with a time limit.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::api::call::Call;
use crate::api::context::Context;
use crate::api::function::Function;
use crate::engine::stats::Stats;
use crate::sys::blocking::block_on;
use crate::sys::deadline::deadline;
use crate::wire::error::Error;
use crate::wire::message::Message;

impl Context {
    /// Returns this context with a time limit on every operation that waits. Calls, streams, commands, file
    /// operations and waits for the end fail with [`Error::Timeout`] when `limit` has passed since they
    /// began. The remaining time is sent along with a call. See [`WithTimeout`].
    pub fn timeout(&self, limit: Duration) -> WithTimeout<'_> {
        WithTimeout { context: self, limit }
    }
}

/// A context with a time limit on each call; see [`Context::timeout`].
///
/// It has all functions of [`Context`] that wait.
///
/// ```
/// use std::time::Duration;
///
/// use offshoot::{Error, Router, export};
///
/// async fn for_ever() {
///     std::future::pending().await
/// }
/// export!(for_ever);
///
/// fn main() -> Result<(), Error> {
///     offshoot::child();
///     let router = Router::new()?;
///     let child = router.local().blocking_connect()?;
///     let error = child.timeout(Duration::from_millis(50)).blocking_call(for_ever, ()).unwrap_err();
///     assert!(matches!(error, Error::Timeout { .. }));
///     router.blocking_shutdown();
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct WithTimeout<'a> {
    pub(crate) context: &'a Context,
    pub(crate) limit: Duration,
}

impl WithTimeout<'_> {
    /// As [`Context::call`], but ends with [`Error::Timeout`] when the time limit is reached, even if the
    /// function could not be stopped. If another function of the context ran until shortly before, the error
    /// names it (with the feature `cli`).
    ///
    /// # Errors
    ///
    /// As [`Context::call`], and [`Error::Timeout`].
    pub fn call<F: Function<K>, K>(&self, function: F, args: F::Args) -> Call<F::Ok> {
        self.context.start(function, &args, Some(self.limit))
    }

    /// [`WithTimeout::call`] for code that is not async: blocks for at most the time limit.
    ///
    /// # Errors
    ///
    /// As [`WithTimeout::call`].
    pub fn blocking_call<F: Function<K>, K>(&self, function: F, args: F::Args) -> Result<F::Ok, Error> {
        block_on(self.call(function, args))
    }

    /// As [`Context::call_no_reply`], but the called context ends the call when the time limit is reached, as
    /// if the caller had cancelled it, and logs that. The time that the call waits for other calls counts.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use offshoot::{Econtext, Error, Receiver, Router, Sender, export};
    /// fn work(econtext: &Econtext, ended: Sender<String>) -> Result<(), Error> {
    ///     while !econtext.is_cancelled() {
    ///         std::thread::sleep(Duration::from_millis(1));
    ///     }
    ///     ended.blocking_send("out of time".into())
    /// }
    /// export!(work);
    /// # fn main() -> Result<(), Error> {
    /// # offshoot::child();
    /// # let router = Router::new()?;
    /// # let child = router.local().blocking_connect()?;
    /// let ended = Receiver::new(&router);
    /// child.timeout(Duration::from_millis(50)).call_no_reply(work, (ended.sender(),))?;
    /// assert_eq!(ended.blocking_recv()?, "out of time");
    /// # router.blocking_shutdown();
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Context::call_no_reply`]. A timeout is not among them, because this returns at once.
    pub fn call_no_reply<F: Function<K>, K>(&self, function: F, args: F::Args) -> Result<(), Error> {
        self.context.start_no_reply(function, &args, Some(self.limit))
    }

    /// As [`Context::stats`], but ends with [`Error::Timeout`] when the time limit is reached.
    ///
    /// # Errors
    ///
    /// As [`Context::stats`], and [`Error::Timeout`].
    pub fn stats(&self) -> Call<Stats> {
        self.context.ask_stats(Some(self.limit))
    }

    /// As [`Context::send_await`], but ends with [`Error::Timeout`] when the time limit is reached. Cancel
    /// safe. Code that is not async uses [`WithTimeout::blocking_send_await`].
    ///
    /// # Errors
    ///
    /// As [`Context::send_await`], and [`Error::Timeout`].
    pub async fn send_await<T: DeserializeOwned>(&self, message: Message) -> Result<T, Error> {
        self.context.send_async(message)?.recv_timeout(self.limit).await
    }

    /// [`WithTimeout::send_await`] for code that is not async: blocks for at most the time limit.
    ///
    /// # Errors
    ///
    /// As [`WithTimeout::send_await`].
    pub fn blocking_send_await<T: DeserializeOwned>(&self, message: Message) -> Result<T, Error> {
        self.context.send_async(message)?.blocking_recv_timeout(self.limit)
    }

    /// As [`Context::shutdown`], but waits no longer than the time limit. The context ends even after a
    /// timeout. Code that is not async uses [`WithTimeout::blocking_shutdown`].
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if the context is not known to have gone within the time limit.
    pub async fn shutdown(&self) -> Result<(), Error> {
        let gone = self.context.shutdown_nowait();
        self.within("shutdown", async {
            gone.await;
            Ok(())
        })
        .await
    }

    /// [`WithTimeout::shutdown`] for code that is not async: blocks for at most the time limit.
    ///
    /// # Errors
    ///
    /// As [`WithTimeout::shutdown`].
    pub fn blocking_shutdown(&self) -> Result<(), Error> {
        block_on(self.shutdown())
    }

    /// As [`Context::closed`], but waits no longer than the time limit. Cancel safe.
    /// Code that is not async uses [`block_on`](crate::block_on).
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if the context is not known to have gone within the time limit.
    pub async fn closed(&self) -> Result<(), Error> {
        let ended = self.context.closed();
        self.within("end", async {
            ended.await;
            Ok(())
        })
        .await
    }

    /// Returns the result of `work`. When the time limit is reached first, drops `work` and returns an error.
    pub(crate) async fn within<T>(&self, what: &str, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let mut work = pin!(work);
        let mut time_is_up = self.context.shared().sleep_until(deadline(self.limit));
        poll_fn(|cx| {
            if let Poll::Ready(result) = work.as_mut().poll(cx) {
                return Poll::Ready(result);
            }
            Pin::new(&mut time_is_up)
                .poll(cx)
                .map(|_| Err(Error::Timeout { after: self.limit, what: format!("{what} of {}", self.context) }))
        })
        .await
    }
}
