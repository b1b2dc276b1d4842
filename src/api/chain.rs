//! Chains of calls: after one call has failed, the later calls do not run.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::api::call::Call;
use crate::api::context::Context;
use crate::api::function::Function;
use crate::api::with_timeout::WithTimeout;
use crate::engine::shared::Request;
use crate::wire::call_payload;
use crate::wire::error::Error;
use crate::wire::message::{Handle, Message};

/// A series of calls to one context. Each call runs only if all calls before it have succeeded. The caller
/// does not have to wait for one answer before it makes the next call.
///
/// After one call of the chain has failed, every later call fails with the same error and does not run. This
/// includes calls that were already sent. A call that is dropped before its end, or that exceeds its time
/// limit, counts as failed. The calls of a chain run one after the other, even if the functions are
/// `concurrent`. A failure does not affect other chains, or calls outside of a chain.
///
/// The chain ends when this value is dropped. The called context then discards its record of the chain. It
/// also does so when this context has gone.
///
/// ```
/// use offshoot::{Error, Router, export};
///
/// fn check(divisor: u32) -> Result<(), String> {
///     if divisor == 0 { Err("division by zero".into()) } else { Ok(()) }
/// }
/// fn divide(by: u32) -> u32 {
///     100 / by
/// }
/// export!(check, divide);
///
/// fn main() -> Result<(), Error> {
///     offshoot::child();
///     let router = Router::new()?;
///     let child = router.local().blocking_connect()?;
///     let chain = child.call_chain();
///     chain.call_no_reply(check, (0,))?;
///     let error = chain.blocking_call(divide, (0,)).unwrap_err();
///     assert!(error.to_string().contains("division by zero"));
///     chain.reset();
///     assert_eq!(chain.blocking_call(divide, (4,))?, 25);
///     router.blocking_shutdown();
///     Ok(())
/// }
/// ```
pub struct CallChain {
    context: Context,
    /// The time limit of each call.
    limit: Option<Duration>,
    here: Mutex<Here>,
}

/// What this side knows of the chain. A reset begins a new one.
#[derive(Default)]
struct Here {
    /// The number of the chain; 0 before the first call.
    number: u32,
    /// The error of a call that could not be sent. The calls after it are not sent either.
    failed: Option<Error>,
}

impl Context {
    /// Returns a chain of calls to this context: after one of them has failed, none of the later ones runs.
    /// See [`CallChain`].
    pub fn call_chain(&self) -> CallChain {
        CallChain::new(self, None)
    }
}

impl WithTimeout<'_> {
    /// As [`Context::call_chain`], but each awaited call of the chain ends with [`Error::Timeout`] when the
    /// time limit is reached, and each other one as [`WithTimeout::call_no_reply`]. The time that a call waits
    /// for earlier calls counts.
    pub fn call_chain(&self) -> CallChain {
        CallChain::new(self.context, Some(self.limit))
    }
}

impl CallChain {
    fn new(context: &Context, limit: Option<Duration>) -> Self {
        Self { context: context.clone(), limit, here: Mutex::default() }
    }

    /// The context that is called.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Calls `function`, as [`Context::call`] does.
    ///
    /// # Errors
    ///
    /// As [`Context::call`], and the error of an earlier call of this chain that has failed.
    pub fn call<F: Function<K>, K>(&self, function: F, args: F::Args) -> Call<F::Ok> {
        self.start(function, &args, self.limit)
    }

    /// [`CallChain::call`] for code that is not async: blocks until the answer arrives.
    ///
    /// # Errors
    ///
    /// As [`CallChain::call`].
    pub fn blocking_call<F: Function<K>, K>(&self, function: F, args: F::Args) -> Result<F::Ok, Error> {
        self.call(function, args).blocking_recv()
    }

    /// As [`CallChain::call`], but ends with [`Error::Timeout`] when `limit` has passed since the call was
    /// made.
    ///
    /// # Errors
    ///
    /// As [`CallChain::call`], and [`Error::Timeout`].
    pub fn call_within<F: Function<K>, K>(&self, limit: Duration, function: F, args: F::Args) -> Call<F::Ok> {
        self.start(function, &args, Some(limit))
    }

    /// Calls `function` and requests no answer. If the function fails, the next call of the chain returns its
    /// error. Does not block.
    ///
    /// # Errors
    ///
    /// As [`Context::call_no_reply`].
    pub fn call_no_reply<F: Function<K>, K>(&self, function: F, args: F::Args) -> Result<(), Error> {
        self.context.queue_no_reply(self.encode(function, &args)?, self.limit)
    }

    /// Starts a new chain: calls from now on run, even if earlier ones have failed. Calls that were made
    /// before still belong to the old chain. Does not block.
    pub fn reset(&self) {
        let number = std::mem::take(&mut *self.lock()).number;
        self.forget(number);
    }

    fn start<F: Function<K>, K>(&self, function: F, args: &F::Args, limit: Option<Duration>) -> Call<F::Ok> {
        self.context.start_encoded::<F, K>(self.encode(function, args), limit)
    }

    /// Encodes a call, unless one before it could not be sent.
    fn encode<F: Function<K>, K>(&self, _: F, args: &F::Args) -> Result<Message, Error> {
        let mut here = self.lock();
        if let Some(error) = &here.failed {
            return Err(error.clone());
        }
        if here.number == 0 {
            // A handle number is unique in this context, so it serves as the number of the chain.
            here.number = self.context.shared().next_handle().0;
        }
        let number = here.number;
        // Arguments may make calls of this chain while they are encoded.
        drop(here);
        let message = self.context.call_message::<F, K>(args, number, Handle::NONE);
        if let Err(error) = &message {
            let mut here = self.lock();
            if here.number == number {
                here.failed.get_or_insert_with(|| error.clone());
            }
        }
        message
    }

    fn lock(&self) -> MutexGuard<'_, Here> {
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, number: u32) {
        if number != 0 {
            let data = call_payload::encode_forget(number);
            let message = Message::new(self.context.id(), Handle::CALL_FUNCTION, data);
            self.context.shared().request(Request::SendMetered { message, accepted: None });
        }
    }
}

impl Drop for CallChain {
    fn drop(&mut self) {
        self.reset();
    }
}

impl fmt::Debug for CallChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallChain").field("context", &self.context).finish_non_exhaustive()
    }
}
