//! Information for a called function about its call, and about the context in which it runs.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use crate::api::context::Context;
use crate::api::router::Router;
use crate::engine::callee::IncomingCall;
use crate::engine::shared::{Request, Shared};
use crate::sys::blocking::block_on;
use crate::wire::error::Error;
use crate::wire::message::ContextId;

/// Information for a called function about its call, and about the context in which it runs. A function gets it
/// if its first parameter has the type `&Econtext`; the caller does not pass it.
///
/// ```
/// use std::time::Duration;
///
/// use offshoot::{ContextId, Econtext, Error, Router, export};
///
/// /// Works until the call is cancelled.
/// fn work(econtext: &Econtext) -> Vec<ContextId> {
///     assert_eq!(econtext.caller().id(), ContextId::MASTER);
///     while !econtext.is_cancelled() && econtext.deadline().is_some() {
///         std::thread::sleep(Duration::from_millis(1));
///     }
///     econtext.parent_ids().to_vec()
/// }
/// export!(work);
///
/// fn main() -> Result<(), Error> {
///     offshoot::child();
///     let router = Router::new()?;
///     let child = router.local().blocking_connect()?;
///     assert_eq!(child.blocking_call(work, ())?, [ContextId::MASTER]);
///     // The timeout also cancels the call in the child.
///     let late = child.timeout(Duration::from_millis(20)).blocking_call(work, ());
///     assert!(matches!(late, Err(Error::Timeout { .. })));
///     assert!(child.blocking_call(work, ()).is_ok(), "the first has ended, or this one would wait");
///     router.blocking_shutdown();
///     Ok(())
/// }
/// ```
#[derive(Clone)]
#[doc(alias = "ExternalContext")]
#[doc(alias = "takes_econtext")]
pub struct Econtext {
    router: Router,
    call: IncomingCall,
}

impl Econtext {
    /// Creates the `Econtext` of a call that this context makes to itself. It has no deadline and is never
    /// cancelled. Use it in tests of functions that take an `Econtext`, and in programs that call such
    /// functions directly.
    pub fn new(router: &Router) -> Self {
        Self::of(router.clone(), IncomingCall::own(router.shared().me))
    }

    pub(crate) fn of(router: Router, call: IncomingCall) -> Self {
        Self { router, call }
    }

    /// The router of this context.
    #[doc(alias = "takes_router")]
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// This context. It is printed as `self`, whatever its name in other contexts is.
    pub fn myself(&self) -> Context {
        self.router.myself()
    }

    /// The context that started this one; `None` if there is none, or if this context has detached. It is
    /// printed as its number, such as `context 0` for the master: a context does not know the names above it.
    #[doc(alias = "parent_id")]
    pub fn parent(&self) -> Option<Context> {
        self.parent_ids().first().map(|&id| self.router.context_by_id(id))
    }

    /// All contexts above this one, the parent first. Empty after this context has detached.
    pub fn parent_ids(&self) -> Arc<[ContextId]> {
        self.shared().parent_ids()
    }

    /// Takes this context out of the tree. It, and all contexts behind it, continue to run when the contexts
    /// above end.
    ///
    /// The context becomes the leader of a new session, and tells its parent that it leaves. It sends all
    /// queued messages, and closes the link. After that it is the root of its own tree, without parents. It
    /// can still use its children and the contexts behind them, and can start new ones. Other contexts can no
    /// longer call it. Contexts above that wait for an answer from it get [`Error::Channel`]; this includes
    /// the caller of this function. Log records and output of this context and of those below are discarded,
    /// unless they are written to a file ([`log_to_file`](crate::log::log_to_file)).
    ///
    /// The context ends when all calls that run or wait in it have ended, or on SIGTERM. The deadlines of
    /// these calls are removed. If the context was started by `ssh`, detaching ends the connection. A process
    /// such as `sudo`, which waits for its command to end, keeps running as long as the context.
    ///
    /// Has no effect if the context has already detached. Not cancel safe: if the future is dropped while it
    /// waits, the context may still detach. Code that is not async uses [`Econtext::blocking_detach`].
    ///
    /// # Errors
    ///
    /// [`Error::Channel`] if the parent refuses or has gone, [`Error::Timeout`] if the parent does not answer
    /// within 5 s. After an error, the context is still in the tree.
    pub async fn detach(&self) -> Result<(), Error> {
        let (done, detached) = oneshot::channel();
        self.shared().request(Request::Detach(done));
        detached.await.unwrap_or_else(|_| Err(Error::router_ended(self.shared().me)))
    }

    /// [`Econtext::detach`] for code that is not async: blocks until the context has detached.
    ///
    /// # Errors
    ///
    /// As [`Econtext::detach`].
    pub fn blocking_detach(&self) -> Result<(), Error> {
        block_on(self.detach())
    }

    /// The context that made this call. It is printed as its number, such as `context 0` for the master; see
    /// [`Econtext::parent`].
    pub fn caller(&self) -> Context {
        self.router.context_by_id(self.call.caller)
    }

    pub(crate) fn caller_id(&self) -> ContextId {
        self.call.caller
    }

    /// The authority under which the call acts.
    pub(crate) fn authority(&self) -> ContextId {
        self.call.auth
    }

    /// The time at which the caller stops waiting; `None` if the call has no time limit.
    pub fn deadline(&self) -> Option<Instant> {
        self.call.deadline
    }

    /// Whether the call was cancelled or its time limit was reached. For functions that block. Does not
    /// block.
    pub fn is_cancelled(&self) -> bool {
        self.call.state.is_cancelled()
    }

    /// A future that is ready when the call is cancelled or its time limit is reached. Cancel safe.
    pub fn cancelled(&self) -> impl Future<Output = ()> + '_ {
        self.call.state.cancelled()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        self.router.shared()
    }
}

impl fmt::Debug for Econtext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Econtext")
            .field("router", &self.router)
            .field("caller", &self.call.caller)
            .finish_non_exhaustive()
    }
}
