//! The router: one context's place in the tree, as the rest of its process
//! sees it.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use tokio::sync::oneshot;

use crate::api::context::Context;
use crate::engine::broker::{Broker, Thread};
use crate::engine::descendants::Descendants;
use crate::engine::log::{self, Record};
use crate::engine::shared::{Request, Shared};
use crate::engine::stats::Stats;
use crate::wire::error::{Closed, Error};
use crate::wire::message::{ContextId, Message};

/// The variable that makes [`RouterBuilder::profiling`] the default.
const PROFILING: &str = "OFFSHOOT_PROFILING";

/// Default of [`RouterBuilder::max_message_size`], in bytes.
///
/// [`RouterBuilder`] has an example of another one.
pub const MAX_MESSAGE_SIZE: u64 = 128 * 1024 * 1024;

/// A context's place in the tree: the way to start children and to reach
/// every other context.
///
/// Cheap to clone. When the last clone is dropped, the children end. All of it
/// can be used from any thread, under any executor or none.
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
    /// Ends the router when its last clone goes.
    alive: Arc<Alive>,
}

struct Alive {
    shared: Arc<Shared>,
    thread: Arc<Thread>,
}

/// A router that does not keep its children alive.
///
/// For handlers and hooks that need the router they belong to: one that held
/// a [`Router`] would keep it from ending.
///
/// [`Router::downgrade`] has an example.
#[derive(Clone)]
pub struct WeakRouter {
    shared: Arc<Shared>,
    alive: Weak<Alive>,
}

impl WeakRouter {
    /// The router, unless its last clone has been dropped.
    pub fn upgrade(&self) -> Option<Router> {
        Some(Router { alive: self.alive.upgrade()?, shared: Arc::clone(&self.shared) })
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

impl Drop for Alive {
    fn drop(&mut self) {
        // The thread goes on until the children have ended; nobody waits here.
        self.shared.request(Request::Shutdown { done: None });
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
///     // Messages of a megabyte at most, and at the end who has used how much time.
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
    /// The I/O thread to use. Default: one of its own.
    #[must_use]
    pub fn broker(mut self, broker: &Broker) -> Self {
        self.broker = Some(broker.clone());
        self
    }

    /// The largest message that is sent or taken, in bytes. All descendants
    /// inherit it. Default: 128 MiB.
    #[must_use]
    pub fn max_message_size(mut self, bytes: u64) -> Self {
        self.max_message_size = bytes;
        self
    }

    /// Whether contexts may talk only to their parents and children, not to
    /// their siblings. All descendants inherit it. Default: false.
    #[must_use]
    pub fn unidirectional(mut self, on: bool) -> Self {
        self.unidirectional = on;
        self
    }

    /// Whether this context and all its descendants tell where their time has
    /// gone: at its end each logs, at level info and with the target
    /// `offshoot::profile`, how often and for how long each function ran and
    /// each handle was served, and what the process and its I/O thread have
    /// used of the processor. A context that is killed tells nothing.
    /// Default: whether the environment variable `OFFSHOOT_PROFILING` is set
    /// to anything but nothing or 0.
    #[must_use]
    #[doc(alias = "MITOGEN_PROFILING")]
    pub fn profiling(mut self, on: bool) -> Self {
        self.profiling = on;
        self
    }
}

impl Router {
    /// A router with settings.
    pub fn builder() -> RouterBuilder {
        let profiling = std::env::var_os(PROFILING).is_some_and(|value| !value.is_empty() && value != "0");
        RouterBuilder { broker: None, max_message_size: MAX_MESSAGE_SIZE, unidirectional: false, profiling }
    }

    pub(crate) fn from_parts(shared: Arc<Shared>, thread: &Arc<Thread>) -> Self {
        let alive = Alive { shared: Arc::clone(&shared), thread: Arc::clone(thread) };
        Self { shared, alive: Arc::new(alive) }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The same router, without keeping its children alive.
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
        WeakRouter { shared: Arc::clone(&self.shared), alive: Arc::downgrade(&self.alive) }
    }

    /// Whether this is the root of its tree: nobody started this context, or
    /// it has detached.
    pub fn is_master(&self) -> bool {
        self.shared.parent().is_none()
    }

    /// The children of this context that are up, the oldest first.
    #[doc(alias = "get_streams")]
    pub fn children(&self) -> Vec<Context> {
        let children = self.shared.directory().children();
        children.into_iter().map(|(id, name)| Context::new(Arc::clone(&self.shared), id, &name)).collect()
    }

    /// The contexts above this one, the parent first.
    pub fn parents(&self) -> Vec<Context> {
        self.shared.parent_ids().iter().map(|&id| self.context_by_id(id)).collect()
    }

    /// This context.
    pub fn myself(&self) -> Context {
        Context::new(Arc::clone(&self.shared), self.shared.me, "self")
    }

    /// The context with this id, by the name that is known of it, whether or
    /// not it exists: calls of one that
    /// does not fail with `no route to ..`. Two contexts of one router with one
    /// id are equal.
    pub fn context_by_id(&self, id: ContextId) -> Context {
        Context::known(Arc::clone(&self.shared), id)
    }

    /// The largest message that is sent or taken, in bytes.
    pub fn max_message_size(&self) -> u64 {
        self.shared.max_message_size
    }

    /// Sends a message as it stands, without a window. Failure is reported
    /// only by a dead message to its `reply_to`.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if the router has ended.
    pub fn route(&self, message: Message) -> Result<(), Error> {
        if self.shared.request(Request::Send(message)) { Ok(()) } else { Err(Error::Closed(Closed::Router)) }
    }

    /// Has children that are connected from now on, and their own children,
    /// each watched over by a second process, which ends what is left below a
    /// context that was killed: [`Descendants::Supervise`]. Linux only.
    pub fn supervise(&self, on: bool) {
        let what = if on { Descendants::Supervise } else { Descendants::End };
        self.shared.set_descendants(what);
    }

    /// Cuts the link to a child of this context: the child and everything
    /// behind it ends as if this process had died, and whoever waits for one
    /// of them is told. Does nothing to contexts behind others.
    ///
    /// [`Context::shutdown`] is the orderly way.
    #[doc(alias = "disconnect_stream")]
    #[doc(alias = "disconnect_all")]
    pub fn disconnect(&self, context: &Context) {
        self.shared.request(Request::Disconnect(context.id()));
    }

    /// Calls `hook` for each log record that comes from another context, on a
    /// thread of its own, one after the other and in the order of each
    /// context. It may block: meanwhile 1 MiB of records of each context
    /// waits, and what is beyond that is dropped and counted. A panic in it is
    /// logged.
    ///
    /// Default: a record becomes a `tracing` event with its own target and
    /// level, and the context's name in the field `context`.
    ///
    /// Children send what is shown here at the time of their `connect`: with
    /// a hook at least level info, and beyond it what this process's own
    /// `tracing` subscriber shows of their targets.
    pub fn on_log(&self, hook: impl Fn(&Record) + Send + Sync + 'static) {
        self.shared.hooked.store(true, Ordering::Relaxed);
        self.shared.request(Request::SetLogHook(Arc::new(hook)));
    }

    /// What this context is doing: counters, links, calls, queues. Cancel
    /// safe. [`Context::stats`] is the same of another one.
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

    /// Logs what this context is doing, as [`Stats`] shows it: at level info,
    /// with the target `offshoot::stats`, a record for each line. Returns at
    /// once.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if the router has ended.
    #[doc(alias = "dump_to_logger")]
    pub fn dump(&self) -> Result<(), Error> {
        if self.shared.request(Request::Dump) { Ok(()) } else { Err(Error::Closed(Closed::Router)) }
    }

    /// As [`Router::dump`], whenever this process gets SIGUSR2, for as long as
    /// the router lives. Without it the signal ends a master, as it does any
    /// program; all other contexts do so by themselves. Once is enough.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if the router has ended.
    #[doc(alias = "install_handler")]
    pub fn dump_on_sigusr2(&self) -> Result<(), Error> {
        if self.shared.request(Request::DumpOnSignal) { Ok(()) } else { Err(Error::Closed(Closed::Router)) }
    }

    /// Has this process, and all descendants that are started from now on,
    /// write a debug log: all that is logged, down to level debug, and a line
    /// for each frame that comes in or is queued to go out.
    ///
    /// Each is a file of its own, `/tmp/offshoot.PID.YYYYmmdd_HHMMSS.log` on
    /// its own machine (the time is UTC), readable by its owner alone, of at
    /// most 64 MiB; the first line names the context, and the process that
    /// started it. These files stay: they are the one thing that is left
    /// behind on purpose.
    ///
    /// Returns the path of this process's own file; `None` if another
    /// `tracing` subscriber has the log of this process, which then must keep
    /// it. Blocks for as long as opening a file takes; does nothing when
    /// repeated.
    ///
    /// # Errors
    ///
    /// If the file cannot be made. Descendants write theirs all the same.
    pub fn enable_debug(&self) -> std::io::Result<Option<PathBuf>> {
        self.shared.debug.store(true, Ordering::Relaxed);
        log::enable_debug(self.shared.me, &self.shared.name)
    }

    /// Ends all children and waits for them: 5 s at most, then they are
    /// killed. Pending calls fail. Every later use of the router fails with
    /// [`Error::Closed`].
    pub async fn shutdown(&self) {
        let (done, ended) = oneshot::channel();
        if self.shared.request(Request::Shutdown { done: Some(done) }) {
            // An error means that the I/O side has ended without saying so.
            let _ = ended.await;
        }
    }

    /// [`Router::shutdown`] for code that is not async: blocks.
    pub fn blocking_shutdown(&self) {
        crate::sys::blocking::block_on(self.shutdown());
    }

    /// The I/O thread of this router.
    pub fn broker(&self) -> Broker {
        Broker::of(&self.alive.thread)
    }
}
