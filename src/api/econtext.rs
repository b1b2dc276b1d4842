//! What a called function knows of where it runs.

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

/// What a called function knows of where it runs. Ask for it by a first
/// parameter of type `&Econtext`; the caller does not pass it.
///
/// ```
/// use std::time::Duration;
///
/// use offshoot::{ContextId, Econtext, Error, Router, export};
///
/// /// Works until nobody waits for it any more.
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
///     // It is told to stop at the far end, too.
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
    /// That of a call which this context makes to itself: it has no deadline
    /// and nobody cancels it. For tests of functions that take an `Econtext`,
    /// and for programs that call such functions directly.
    pub fn new(router: &Router) -> Self {
        Self::of(router.clone(), IncomingCall::own(router.shared().me))
    }

    pub(crate) fn of(router: Router, call: IncomingCall) -> Self {
        Self { router, call }
    }

    /// This context's router.
    #[doc(alias = "takes_router")]
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// This context itself.
    pub fn myself(&self) -> Context {
        self.router.myself()
    }

    /// The context that started this one.
    #[doc(alias = "parent_id")]
    pub fn parent(&self) -> Option<Context> {
        self.parent_ids().first().map(|&id| self.router.context_by_id(id))
    }

    /// All contexts above this one, the parent first; none once it has
    /// detached.
    pub fn parent_ids(&self) -> Arc<[ContextId]> {
        self.shared().parent_ids()
    }

    /// Takes this context out of the tree: it and what is behind it live on
    /// when the contexts above end.
    ///
    /// The context becomes the leader of a session of its own, tells its
    /// parent, lets all that it has to say leave, and closes the link. Then it
    /// is the root of its own tree: it has no parents, its children and those
    /// behind them stay usable from here, and new ones can be started. Nobody
    /// can call it any more, and whoever above waits for an answer, this call
    /// included, gets [`Error::Channel`]. What is logged and printed here and
    /// below goes nowhere, unless a file takes it
    /// ([`log_to_file`](crate::log::log_to_file)).
    ///
    /// It ends when the calls that were running or waiting here have ended, or
    /// by SIGTERM; calls have no deadline any more. Behind `ssh`, detaching
    /// ends the connection; what waits for the command that it runs, such as
    /// `sudo`, lives on with it.
    ///
    /// Does nothing in a context that has detached already. Not cancel safe:
    /// a call that is dropped while it waits may still detach.
    ///
    /// # Errors
    ///
    /// [`Error::Channel`] if the parent refuses or has gone,
    /// [`Error::Timeout`] if it does not answer within 5 s; the context is
    /// still in the tree.
    pub async fn detach(&self) -> Result<(), Error> {
        let (done, detached) = oneshot::channel();
        self.shared().request(Request::Detach(done));
        detached.await.unwrap_or_else(|_| Err(Error::router_ended(self.shared().me)))
    }

    /// [`Econtext::detach`] for code that is not async: blocks.
    ///
    /// # Errors
    ///
    /// As [`Econtext::detach`].
    pub fn blocking_detach(&self) -> Result<(), Error> {
        block_on(self.detach())
    }

    /// The context that made this call.
    pub fn caller(&self) -> Context {
        self.router.context_by_id(self.call.caller)
    }

    pub(crate) fn caller_id(&self) -> ContextId {
        self.call.caller
    }

    /// When the caller stops waiting, if it ever does.
    pub fn deadline(&self) -> Option<Instant> {
        self.call.deadline
    }

    /// Whether nobody waits for this call any more. For functions that block.
    pub fn is_cancelled(&self) -> bool {
        self.call.cancelled.is_cancelled()
    }

    /// Ends when nobody waits for this call any more. Cancel safe.
    pub fn cancelled(&self) -> impl Future<Output = ()> + '_ {
        self.call.cancelled.cancelled()
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
