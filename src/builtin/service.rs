//! Services: values of your own types that live in one context, and whose methods other contexts call.
//!
//! A function that is [exported](crate::export) keeps nothing from one call to the next, and only the contexts
//! above may call it. A service has a state, and each of its methods says who may call it.
//!
//! A service is an ordinary type with ordinary methods. [`service!`](crate::service!) lists the methods that
//! can be called. [`Context::call_service`] calls one: the compiler checks the arguments and the result.
//!
//! ```
//! use std::sync::atomic::{AtomicU64, Ordering};
//!
//! use offshoot::service::{Allow, Pool, Service};
//! use offshoot::{Context, Error, Router, export};
//!
//! /// Hands out numbers. Each number is given once in the whole tree.
//! #[derive(Default)]
//! struct Tickets(AtomicU64);
//!
//! impl Tickets {
//!     fn take(&self, count: u64) -> u64 {
//!         self.0.fetch_add(count, Ordering::Relaxed)
//!     }
//!     fn reset(&self) {
//!         self.0.store(0, Ordering::Relaxed);
//!     }
//! }
//! impl Service for Tickets {}
//! offshoot::service!(Tickets { take: Allow::Any, reset: Allow::Parents });
//!
//! /// Runs in a child, and calls the service in the context that it is given.
//! async fn work(office: Context) -> Result<u64, Error> {
//!     office.call_service(Tickets::take, (1,)).await
//! }
//! export!(work);
//!
//! fn main() -> std::process::ExitCode {
//!     offshoot::run(app)
//! }
//!
//! async fn app(router: Router) -> Result<(), Error> {
//!     Pool::new(&router).add(Tickets::default())?;
//!     let child = router.local().await?;
//!     assert_eq!(child.call(work, (router.myself(),)).await?, 0);
//!     assert_eq!(child.call(work, (router.myself(),)).await?, 1);
//!     Ok(())
//! }
//! ```
//!
//! # Where services run
//!
//! In a context with a [`Pool`], anybody may call a service, as far as the policy of the method allows it. A
//! child has a pool from the first call on that a context above makes. Until then, the calls of other contexts
//! are refused. A service that nobody has [added](Pool::add) begins when a context above, or the context
//! itself, calls it for the first time: [`Service::activate`] makes it.
//!
//! # What others can do
//!
//! The arguments come from a context that need not be trusted. A [`Sender`](crate::Sender) among them acts under
//! the authority of the caller. Calls of one caller are bounded, as those of functions are.

#[cfg(feature = "files")]
pub mod files;
mod method;
mod registry;

use std::any::type_name;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::api::call::{Call, RawCall};
use crate::api::context::Context;
use crate::api::function::Table;
use crate::api::router::Router;
use crate::api::with_timeout::WithTimeout;
use crate::builtin::service::registry::{Registry, Services};
use crate::engine::shared::Request;
use crate::routing::handles::Peer;
use crate::routing::policy::has_parent_authority;
use crate::sys::blocking::block_on;
use crate::sys::deadline::deadline;
use crate::wire::call_payload;
use crate::wire::codec;
use crate::wire::error::Error;
use crate::wire::message::{Handle, Message};

#[cfg(feature = "files")]
pub use files::{FileService, PushFileService};
pub use method::Method;
#[doc(hidden)]
pub use method::{entry, run_method};

/// A type whose methods other contexts call.
///
/// The [module](mod@crate::service) has an example.
#[doc(alias = "expose")]
pub trait Service: Send + Sync + Sized + 'static {
    /// How the calls of its methods run. Default: several at once.
    const INVOKER: Invoker = Invoker::Concurrent;

    /// Makes the service, when it is called for the first time and nobody has [added](Pool::add) it. It runs on
    /// a thread where it may block. Default: `None`, which means that it has to be added.
    fn activate(router: &Router) -> Option<Self> {
        let _ = router;
        None
    }

    /// Runs when no further calls come and the last one has ended: after [`Pool::stop`], or when the context ends
    /// in order. It may block, as long as [`Broker::shutdown_timeout`](crate::Broker::shutdown_timeout) allows.
    /// Default: nothing.
    fn on_shutdown(&self) {}
}

/// How the calls of a service run.
///
/// [`Service::INVOKER`] says it:
///
/// ```
/// use offshoot::service::{Invoker, Service};
///
/// struct Journal;
/// impl Service for Journal {
///     const INVOKER: Invoker = Invoker::Serialized;
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Invoker {
    /// Several calls run at once.
    Concurrent,
    /// One call runs at a time, in the order of arrival.
    #[doc(alias = "SerializedInvoker")]
    Serialized,
    /// Calls of one method with equal arguments share one execution and its result. Results are kept while the
    /// service lives: the newest 1,024, of at most 16 KiB each. An error is shared by the calls that wait for it,
    /// and not kept.
    #[doc(alias = "DeduplicatingInvoker")]
    Deduplicated,
    /// Only for services of this crate, whose methods never block: several calls run at once, as tasks of the I/O
    /// thread. A call that waits takes no thread.
    #[doc(hidden)]
    Io,
}

/// Who may call a method.
///
/// The [module](mod@crate::service) has an example. A policy of your own:
///
/// ```
/// use offshoot::service::{Allow, Service};
///
/// struct Notes;
/// impl Notes {
///     fn read(&self) -> String {
///         String::new()
///     }
/// }
/// impl Service for Notes {}
/// // Only the children of this context, and its parent.
/// offshoot::service!(Notes { read: Allow::If(offshoot::policy::is_immediate_child) });
/// # fn main() {}
/// ```
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Allow {
    /// Every context of the tree.
    #[doc(alias = "AllowAny")]
    Any,
    /// The context itself and those above it, and what acts under their authority.
    #[doc(alias = "AllowParents")]
    Parents,
    /// Those that the function agrees to. It runs on the I/O thread and must not block. A panic is a refusal.
    If(fn(&Message, &Peer) -> bool),
}

impl fmt::Debug for Allow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "Any",
            Self::Parents => "Parents",
            Self::If(_) => "If",
        })
    }
}

impl Allow {
    const fn rule(self) -> fn(&Message, &Peer) -> bool {
        match self {
            Self::Any => |_, _| true,
            Self::Parents => has_parent_authority,
            Self::If(rule) => rule,
        }
    }
}

/// The services of this context: while it has a pool, other contexts can call them.
///
/// Dropping it changes nothing. The services run until [`Pool::stop`], or until the router ends.
///
/// The [module](mod@crate::service) has an example.
#[derive(Debug, Clone)]
pub struct Pool {
    router: Router,
}

impl Pool {
    /// Accepts calls of services from now on. At most 64 of them run at once. Does not block.
    pub fn new(router: &Router) -> Self {
        Self::open(router, None)
    }

    /// As [`Pool::new`], but at most `size` calls run at once, at least 1 and at most 64. Further ones wait.
    pub fn with_size(router: &Router, size: usize) -> Self {
        Self::open(router, Some(size))
    }

    fn open(router: &Router, size: Option<usize>) -> Self {
        Registry::of(router.shared()).open();
        let services = Services::new(router.downgrade());
        router.shared().request(Request::Do(Box::new(move |io| io.serve(Box::new(services), size))));
        Self { router: router.clone() }
    }

    /// Adds a service. Returns the pool, so that more can be added. Blocks only if the service begins by itself at
    /// the same time.
    ///
    /// # Errors
    ///
    /// [`Error::Misuse`] if there is a service of this type already.
    pub fn add<S: Service>(&self, service: S) -> Result<&Self, Error> {
        match Registry::of(self.router.shared()).add(service) {
            true => Ok(self),
            false => Err(Error::Misuse(format!("service named {} already registered", type_name::<S>()))),
        }
    }

    /// Refuses calls from now on, with `invalid handle`. Waits until those that run have ended, and
    /// [`Service::on_shutdown`] of every service has run. Calls that have not begun fail. Dropping the future
    /// only ends the wait. Code that is not async uses [`Pool::blocking_stop`].
    pub async fn stop(&self) {
        self.router.shared().request(Request::Do(Box::new(|io| io.stop_serving())));
        let registry = Registry::of(self.router.shared());
        let (done, ended) = oneshot::channel::<()>();
        // `Service::on_shutdown` may block, and this thread may serve other tasks.
        let end = move || {
            registry.end();
            drop(done);
        };
        match std::thread::Builder::new().name("offshoot-stop".into()).spawn(end) {
            Ok(_) => drop(ended.await),
            Err(_) => Registry::of(self.router.shared()).end(),
        }
    }

    /// [`Pool::stop`] for code that is not async: blocks until the services have ended.
    pub fn blocking_stop(&self) {
        block_on(self.stop());
    }
}

impl Context {
    /// Calls a method of a service in the context, as [`Context::call`] calls a function. The
    /// [module](mod@crate::service) has an example.
    ///
    /// # Errors
    ///
    /// As [`Context::call`], and:
    ///
    /// - [`Error::Channel`] of the kind `Refused` if the policy of the method does not allow the call, or if the
    ///   service has not begun and this context may not begin it
    /// - [`Error::Channel`] of the kind `InvalidHandle` if the context has no services
    /// - [`Error::Misuse`] if `service!` does not list the method
    #[doc(alias = "call_service_async")]
    pub fn call_service<F: Method<K>, K>(&self, method: F, args: F::Args) -> Call<F::Ok> {
        let _ = method;
        Call::from_raw(RawCall::start(self, type_name::<F>(), message::<F, K>(self, &args), None))
    }

    /// [`Context::call_service`] for code that is not async: blocks until the answer arrives.
    ///
    /// # Errors
    ///
    /// As [`Context::call_service`].
    pub fn blocking_call_service<F: Method<K>, K>(&self, method: F, args: F::Args) -> Result<F::Ok, Error> {
        block_on(self.call_service(method, args))
    }

    /// Calls a method of a service and requests no answer. The called context logs a failure. Does not block.
    ///
    /// # Errors
    ///
    /// As [`Context::call_no_reply`].
    #[doc(alias = "no_reply")]
    pub fn call_service_no_reply<F: Method<K>, K>(&self, method: F, args: F::Args) -> Result<(), Error> {
        let _ = method;
        self.queue(Request::SendMetered { message: message::<F, K>(self, &args)?, accepted: None })
    }
}

impl WithTimeout<'_> {
    /// As [`Context::call_service`], but ends with [`Error::Timeout`] when the time limit is reached.
    ///
    /// # Errors
    ///
    /// As [`Context::call_service`], and [`Error::Timeout`].
    pub fn call_service<F: Method<K>, K>(&self, method: F, args: F::Args) -> Call<F::Ok> {
        let _ = method;
        let message = message::<F, K>(self.context, &args);
        Call::from_raw(RawCall::start(self.context, type_name::<F>(), message, Some(self.limit)))
    }

    /// [`WithTimeout::call_service`] for code that is not async: blocks for at most the time limit.
    ///
    /// # Errors
    ///
    /// As [`WithTimeout::call_service`].
    pub fn blocking_call_service<F: Method<K>, K>(&self, method: F, args: F::Args) -> Result<F::Ok, Error> {
        block_on(self.call_service(method, args))
    }

    /// As [`Context::call_service_no_reply`], but the called context ends the call when the time limit is
    /// reached, and logs that.
    ///
    /// # Errors
    ///
    /// As [`Context::call_no_reply`].
    pub fn call_service_no_reply<F: Method<K>, K>(&self, method: F, args: F::Args) -> Result<(), Error> {
        let _ = method;
        let mut message = message::<F, K>(self.context, &args)?;
        message.deadline = Some(deadline(self.limit));
        self.context.queue(Request::SendMetered { message, accepted: None })
    }
}

/// The message that calls a method.
fn message<F: Method<K>, K>(context: &Context, args: &F::Args) -> Result<Message, Error> {
    let method = type_name::<F>();
    if Table::get().find(method).is_none() {
        let advice = "list it in `offshoot::service!`, beside who may call it";
        return Err(Error::Misuse(format!("{method} is no method of a service; {advice}")));
    }
    let data = call_payload::encode_call(method, args, 0, Handle::NONE)
        .map_err(|why| Error::Payload(format!("the arguments of {method} cannot be sent: {why}")))?;
    Ok(Message { secret: codec::held_secret(), handle: Handle::CALL_SERVICE, ..context.message_of(data)? })
}

/// The instance of a service. Its end is the end of the service.
struct Instance<S: Service> {
    service: S,
    /// Tells who waits for the end, by its own end.
    _ended: Arc<oneshot::Sender<()>>,
}

impl<S: Service> Drop for Instance<S> {
    fn drop(&mut self) {
        // A panic here could meet another one, and abort the process.
        if catch_unwind(AssertUnwindSafe(|| self.service.on_shutdown())).is_err() {
            tracing::error!("on_shutdown of service {} panicked", type_name::<S>());
        }
    }
}

/// An instance without its type.
type AnyInstance = Arc<dyn std::any::Any + Send + Sync>;

/// Lists the methods of a service that other contexts can call, and says of each who may call it.
///
/// The [module](mod@crate::service) has an example. A method that is not listed cannot be called.
#[macro_export]
macro_rules! service {
    ($service:ty { $($method:ident: $allow:expr),+ $(,)? }) => { $(
        const _: () = {
            fn run<'a>(econtext: &'a $crate::Econtext, args: &[u8]) -> $crate::__private::Running<'a> {
                $crate::__private::run_method(<$service>::$method, econtext, args)
            }
            $crate::__private::inventory::submit! {
                $crate::__private::entry(<$service>::$method, run, $allow, concat!(file!(), ":", line!()))
            }
        };
    )+ };
}
