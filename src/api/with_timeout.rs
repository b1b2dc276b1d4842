//! Calls that end in time.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use crate::api::call::Call;
use crate::api::context::Context;
use crate::api::function::Function;
use crate::engine::stats::Stats;
use crate::sys::blocking::block_on;
use crate::wire::error::Error;
use crate::wire::message::Message;

impl Context {
    /// The context with a limit on all that waits: calls, streams, commands,
    /// files and ends fail with [`Error::Timeout`] when `limit` has passed since
    /// they began. What remains of it travels with the call. See
    /// [`WithTimeout`].
    pub fn timeout(&self, limit: Duration) -> WithTimeout<'_> {
        WithTimeout { context: self, limit }
    }
}

/// A context with a limit on the time of each call; see [`Context::timeout`].
///
/// It has all verbs of [`Context`] that wait.
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
    /// As [`Context::call`], but ends with [`Error::Timeout`] when the time is
    /// up, whether the work could be stopped or not.
    ///
    /// # Errors
    ///
    /// As [`Context::call`], and [`Error::Timeout`].
    pub fn call<F: Function<K>, K>(&self, function: F, args: F::Args) -> Call<F::Ok> {
        self.context.start(function, &args, Some(self.limit), 0)
    }

    /// [`WithTimeout::call`] for code that is not async: blocks.
    ///
    /// # Errors
    ///
    /// As [`WithTimeout::call`].
    pub fn blocking_call<F: Function<K>, K>(&self, function: F, args: F::Args) -> Result<F::Ok, Error> {
        block_on(self.call(function, args))
    }

    /// As [`Context::stats`], but ends with [`Error::Timeout`] when the time is
    /// up.
    ///
    /// # Errors
    ///
    /// As [`Context::stats`], and [`Error::Timeout`].
    pub fn stats(&self) -> Call<Stats> {
        self.context.ask_stats(Some(self.limit))
    }

    /// As [`Context::send_await`], but ends with [`Error::Timeout`] when the
    /// time is up. Cancel safe.
    ///
    /// # Errors
    ///
    /// As [`Context::send_await`], and [`Error::Timeout`].
    pub async fn send_await<T: DeserializeOwned>(&self, message: Message) -> Result<T, Error> {
        self.context.send_async(message)?.recv_timeout(self.limit).await
    }

    /// [`WithTimeout::send_await`] for code that is not async: blocks.
    ///
    /// # Errors
    ///
    /// As [`WithTimeout::send_await`].
    pub fn blocking_send_await<T: DeserializeOwned>(&self, message: Message) -> Result<T, Error> {
        self.context.send_async(message)?.blocking_recv_timeout(self.limit)
    }

    /// As [`Context::shutdown`], but waits no longer than the limit. The
    /// context ends all the same.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if the context is not known to have gone.
    pub async fn shutdown(&self) -> Result<(), Error> {
        let gone = self.context.shutdown_nowait();
        self.within("shutdown", async {
            gone.await;
            Ok(())
        })
        .await
    }

    /// [`WithTimeout::shutdown`] for code that is not async: blocks.
    ///
    /// # Errors
    ///
    /// As [`WithTimeout::shutdown`].
    pub fn blocking_shutdown(&self) -> Result<(), Error> {
        block_on(self.shutdown())
    }

    /// As [`Context::closed`], but waits no longer than the limit. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if the context is not known to have gone.
    pub async fn closed(&self) -> Result<(), Error> {
        let ended = self.context.closed();
        self.within("end", async {
            ended.await;
            Ok(())
        })
        .await
    }

    /// What `work` gives, if that is in time; otherwise `work` is dropped.
    pub(crate) async fn within<T>(&self, what: &str, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let mut work = pin!(work);
        let mut time_is_up = self.context.shared().sleep_until(Instant::now() + self.limit);
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
