//! The router: the place of one context in the tree, and the interface to it for the rest of the process.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;

use crate::api::context::Context;
use crate::engine::broker::{Broker, Thread};
use crate::engine::descendants::Descendants;
use crate::engine::log::{self, Record};
use crate::engine::shared::{Alive, Request, Shared};
use crate::engine::stats::Stats;
use crate::wire::error::{Closed, Error};
use crate::wire::message::{ContextId, Message};

/// The variable that makes [`RouterBuilder::profiling`] the default.
const PROFILING: &str = "OFFSHOOT_PROFILING";

/// Default of [`RouterBuilder::max_message_size`], in bytes.
///
/// [`RouterBuilder`] has an example with another value.
pub const MAX_MESSAGE_SIZE: u64 = 128 * 1024 * 1024;

/// The place of this context in the tree. A router starts children, and reaches every other context.
///
/// Cloning is cheap. When the last clone is dropped, the children end. Every function can be called from any
/// thread, with or without an executor.
///
/// ```
/// use offshoot::{Error, Router, export};
///
/// fn hostname() -> std::io::Result<String> {
///     std::fs::read_to_string("/proc/sys/kernel/hostname")
/// }
/// export!(hostname);
///
/// fn main() -> Result<(), Error> {
///     offshoot::child(); // a child never gets past this line
///     let router = Router::new()?;
///     let child = router.local().blocking_connect()?;
///     let grandchild = router.local().name("below").via(&child).blocking_connect()?;
///     assert_eq!(grandchild.name(), format!("{child}.below"));
///     assert_eq!(grandchild.blocking_call(hostname, ())?, child.blocking_call(hostname, ())?);
///     router.blocking_shutdown();
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Router {
    shared: Arc<Shared>,
    /// Ends the router when its last clone is dropped.
    alive: Arc<Alive>,
}

/// A router that does not keep its children alive.
///
/// Use it in handlers and hooks that need the router they belong to. A handler that held a [`Router`] would
/// prevent the router from ending.
///
/// [`Router::downgrade`] has an example.
#[derive(Clone)]
pub struct WeakRouter {
    shared: Arc<Shared>,
}

impl WeakRouter {
    pub(crate) fn of(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared) }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Returns the router, or `None` if its last clone has been dropped.
    pub fn upgrade(&self) -> Option<Router> {
        Some(Router { alive: self.shared.alive()?, shared: Arc::clone(&self.shared) })
    }
}

impl fmt::Debug for WeakRouter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakRouter").field("router", &self.shared).finish_non_exhaustive()
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}

/// Settings of a new router.
///
/// ```
/// use std::sync::mpsc;
///
/// use offshoot::{Error, Router, export};
///
/// fn add(a: u32, b: u32) -> u32 {
///     a + b
/// }
/// export!(add);
///
/// fn main() -> Result<(), Error> {
///     offshoot::child();
///     // Messages have at most 1 MiB. At its end, each context logs where its time has gone.
///     let router = Router::builder().max_message_size(1 << 20).profiling(true).build()?;
///     let (send, records) = mpsc::channel();
///     router.on_log(move |record| drop(send.send(record.clone())));
///     let child = router.local().blocking_connect()?;
///     assert_eq!(child.blocking_call(add, (2, 3))?, 5);
///     child.blocking_shutdown();
///     let told = records.iter().find(|record| record.target == "offshoot::profile").expect("a profile");
///     assert_eq!(told.context_name, child.name());
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone)]
pub struct RouterBuilder {
    pub(crate) broker: Option<Broker>,
    pub(crate) max_message_size: u64,
    pub(crate) unidirectional: bool,
    pub(crate) profiling: bool,
}

impl RouterBuilder {
    /// The I/O thread to use. Default: a new thread for this router.
    #[must_use]
    pub fn broker(mut self, broker: &Broker) -> Self {
        self.broker = Some(broker.clone());
        self
    }

    /// The maximum size of a message that is sent or received, in bytes. All descendants inherit it. Default:
    /// 128 MiB.
    #[must_use]
    pub fn max_message_size(mut self, bytes: u64) -> Self {
        self.max_message_size = bytes;
        self
    }

    /// Whether contexts may communicate only with the contexts above and below them, and not with their
    /// siblings. All descendants inherit it. Default: false.
    #[must_use]
    pub fn unidirectional(mut self, on: bool) -> Self {
        self.unidirectional = on;
        self
    }

    /// Whether this context and all its descendants log a profile when they end. The profile has level info
    /// and the target `offshoot::profile`. It contains how often and for how long each function ran, the same
    /// for each handle, and the processor time of the process and its I/O thread. A context that is killed
    /// logs no profile. Default: true if the environment variable `OFFSHOOT_PROFILING` is set, and is neither
    /// empty nor `0`.
    #[must_use]
    #[doc(alias = "MITOGEN_PROFILING")]
    pub fn profiling(mut self, on: bool) -> Self {
        self.profiling = on;
        self
    }
}

impl Router {
    /// Returns a builder for a router with settings.
    pub fn builder() -> RouterBuilder {
        let profiling = std::env::var_os(PROFILING).is_some_and(|value| !value.is_empty() && value != "0");
        RouterBuilder { broker: None, max_message_size: MAX_MESSAGE_SIZE, unidirectional: false, profiling }
    }

    pub(crate) fn from_parts(shared: Arc<Shared>, thread: &Arc<Thread>) -> Self {
        Self { alive: Alive::new(&shared, thread), shared }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Returns a handle to this router that does not keep its children alive.
    ///
    /// ```
    /// # use offshoot::{Error, Router};
    /// # fn main() -> Result<(), Error> {
    /// # offshoot::child();
    /// let router = Router::new()?;
    /// let weak = router.downgrade();
    /// assert!(weak.upgrade().is_some());
    /// drop(router);
    /// assert!(weak.upgrade().is_none());
    /// # Ok(()) }
    /// ```
    pub fn downgrade(&self) -> WeakRouter {
        WeakRouter::of(&self.shared)
    }

    /// Whether this context is the root of its tree: no other context started it, or it has detached.
    pub fn is_master(&self) -> bool {
        self.shared.parent().is_none()
    }

    /// The children of this context that are connected, the oldest first.
    #[doc(alias = "get_streams")]
    pub fn children(&self) -> Vec<Context> {
        let children = self.shared.directory().children();
        children.into_iter().map(|(id, name)| Context::new(Arc::clone(&self.shared), id, &name)).collect()
    }

    /// The contexts above this one, the parent first. They are printed as their numbers, such as
    /// `context 0` for the master: a context does not know the names above it.
    pub fn parents(&self) -> Vec<Context> {
        self.shared.parent_ids().iter().map(|&id| self.context_by_id(id)).collect()
    }

    /// This context. It is printed as `self`, whatever its name in other contexts is.
    pub fn myself(&self) -> Context {
        Context::new(Arc::clone(&self.shared), self.shared.me, "self")
    }

    /// The context with this id, with its name if the router knows it. The context need not exist: calls to
    /// one that does not exist fail with `no route to ..`. Two contexts of one router are equal if their ids
    /// are equal.
    pub fn context_by_id(&self, id: ContextId) -> Context {
        Context::known(Arc::clone(&self.shared), id)
    }

    /// The maximum size of a message that is sent or received, in bytes.
    pub fn max_message_size(&self) -> u64 {
        self.shared.max_message_size
    }

    /// Sends a message unchanged and without flow control. If it cannot be delivered, a dead message to its
    /// `reply_to` handle is the only report. Does not block.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if the router has ended.
    pub fn route(&self, message: Message) -> Result<(), Error> {
        if self.shared.request(Request::Send(message)) { Ok(()) } else { Err(Error::Closed(Closed::Router)) }
    }

    /// Sets whether a second process supervises each child that is connected from now on, and each of their
    /// own children. If the child is killed, the supervisor ends the processes that it leaves behind:
    /// [`Descendants::Supervise`]. Default: off. Linux only.
    pub fn supervise(&self, on: bool) {
        let what = if on { Descendants::Supervise } else { Descendants::End };
        self.shared.set_descendants(what);
    }

    /// Closes the link to a child of this context. The child and everything behind it end as if this process
    /// had died. Everything that waits for one of these contexts gets an error. Has no effect on contexts
    /// that are not children of this one. Does not block.
    ///
    /// [`Context::shutdown`] ends a context in an orderly way.
    #[doc(alias = "disconnect_stream")]
    #[doc(alias = "disconnect_all")]
    pub fn disconnect(&self, context: &Context) {
        self.shared.request(Request::Disconnect(context.id()));
    }

    /// Calls `hook` for each log record of another context. The calls happen on a separate thread, one at a
    /// time, and keep the order of the records of each context. The hook may block. Meanwhile up to 1 MiB of
    /// records of each context wait; further records are dropped and counted. A panic in the hook is logged.
    ///
    /// Default without a hook: a record becomes a `tracing` event with the record's target and level, and the
    /// name of its context in the field `context`.
    ///
    /// The records that a child sends are decided when it connects: with a hook, all records of level info
    /// and above, and also the more verbose ones that the `tracing` subscriber of this process shows of their
    /// targets.
    pub fn on_log(&self, hook: impl Fn(&Record) + Send + Sync + 'static) {
        self.shared.hooked.store(true, Ordering::Relaxed);
        self.shared.request(Request::SetLogHook(Arc::new(hook)));
    }

    /// Returns the state of this context: counters, links, calls, queues. [`Context::stats`] does the same
    /// for another context. Cancel safe. Code that is not async uses [`block_on`](crate::block_on).
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if the router has ended.
    #[doc(alias = "get_stats")]
    pub async fn stats(&self) -> Result<Stats, Error> {
        let (reply, stats) = oneshot::channel();
        self.shared.request(Request::Stats(reply));
        stats.await.map_err(|_| Error::Closed(Closed::Router))
    }

    /// Logs the state of this context, in the form that [`Stats`] displays. There is one record per line,
    /// with level info and the target `offshoot::stats`. Does not block.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if the router has ended.
    #[doc(alias = "dump_to_logger")]
    pub fn dump(&self) -> Result<(), Error> {
        if self.shared.request(Request::Dump) { Ok(()) } else { Err(Error::Closed(Closed::Router)) }
    }

    /// Logs the state, as [`Router::dump`] does, each time this process gets SIGUSR2, as long as the router
    /// lives. Without this call, the signal ends the process of a master, as it ends any program. All other
    /// contexts log their state on the signal by default. One call is enough. Does not block.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if the router has ended.
    #[doc(alias = "install_handler")]
    pub fn dump_on_sigusr2(&self) -> Result<(), Error> {
        if self.shared.request(Request::DumpOnSignal) { Ok(()) } else { Err(Error::Closed(Closed::Router)) }
    }

    /// Makes this process, and all descendants that start from now on, write a debug log. It contains all log
    /// events down to level debug, and a line for each frame that arrives or is queued to leave.
    ///
    /// Each process writes its own file on its own machine: `/tmp/offshoot.PID.YYYYmmdd_HHMMSS.log`, where
    /// the time is UTC. Only the owner can read it. Its size is at most 64 MiB. Its first line names the
    /// context and the process that started it. Offshoot does not remove these files: they are the only files
    /// that it leaves behind on purpose.
    ///
    /// Returns the path of this process's own file. Returns `None` if another `tracing` subscriber receives
    /// the log of this process; that subscriber then has to store the log. Blocks until the file is open.
    /// Further calls have no effect.
    ///
    /// # Errors
    ///
    /// The error of the operating system if the file cannot be created. Descendants still write their files.
    pub fn enable_debug(&self) -> std::io::Result<Option<PathBuf>> {
        self.shared.debug.store(true, Ordering::Relaxed);
        log::enable_debug(self.shared.me, &self.shared.name)
    }

    /// Ends all children and waits for them. Children that have not ended after 5 s are killed;
    /// [`Broker::set_shutdown_timeout`] changes this time. Pending calls fail. Every later use of the router
    /// fails with [`Error::Closed`]. After the first poll, dropping the future only ends the wait.
    /// Code that is not async uses [`Router::blocking_shutdown`].
    pub async fn shutdown(&self) {
        let (done, ended) = oneshot::channel();
        if self.shared.request(Request::Shutdown { done: Some(done) }) {
            // An error means that the I/O side has ended without an answer.
            let _ = ended.await;
        }
    }

    /// [`Router::shutdown`] for code that is not async: blocks until the children have ended.
    pub fn blocking_shutdown(&self) {
        crate::sys::blocking::block_on(self.shutdown());
    }

    /// The I/O thread of this router.
    pub fn broker(&self) -> Broker {
        Broker::of(&self.alive.thread)
    }
}
