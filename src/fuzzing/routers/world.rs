//! Routers in one process: a master, a child behind a bad link, a child of that child behind another one, and a child of the
//! master with a good link.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::functions;
use super::wire::Wire;
use crate::api::context::Context;
use crate::api::function::LocalFunctions;
use crate::api::router::Router;
use crate::engine::broker::Broker;
use crate::engine::dispatch::{Dispatcher, Invocation};
use crate::engine::io::{Parent, Role, Setup};
use crate::engine::log;
use crate::engine::mailbox;
use crate::engine::shared::{Levels, Settings, Shared};
use crate::engine::stats::Stats;
use crate::sys::blocking::{block_on, block_until};
use crate::sys::pipe::Stream;
use crate::sys::process;
use crate::wire::error::Error;
use crate::wire::message::{ContextId, Handle};

/// The time in which everything ends that has to end, on a machine that has other work as well.
pub(super) const LIMIT: Duration = Duration::from_secs(20);
/// The time that children have to end.
const GRACE: Duration = Duration::from_millis(30);
/// The largest message, in bytes.
const MAX_MESSAGE: u64 = 1 << 20;

/// A child in this process.
pub(super) struct Child {
    pub(super) router: Router,
    /// The child, as its parent names it.
    pub(super) context: Context,
    ended: oneshot::Receiver<()>,
    /// Calls for a main thread, of which there are none.
    _calls: mailbox::Receiver<Invocation>,
}

/// All routers share one I/O thread.
pub(super) struct World {
    broker: Broker,
    pub(super) master: Router,
    /// Behind bad links.
    pub(super) children: Vec<Child>,
    /// Each leads to the child with the same number.
    pub(super) wires: Vec<Wire>,
    honest: Child,
    before: Stats,
}

impl World {
    /// A master, a child with a good link, and two children, one behind the other.
    pub(super) fn new() -> Result<Self, Error> {
        process::keep_stdio();
        let broker = Broker::new()?;
        broker.set_shutdown_timeout(GRACE);
        // The main function of a fuzzer is not Rust's, which has SIGPIPE ignored. Once caught, it stays so.
        broker.defer_sync(|| drop(signal(SignalKind::pipe())))?;
        let master = Router::builder().broker(&broker).max_message_size(MAX_MESSAGE).build()?;
        let [near, far] = <[UnixStream; 2]>::from(UnixStream::pair()?);
        let honest = child(&broker, &master, near, far, "honest")?;
        // The first call opens a window, which stays.
        block_until(honest.context.call(functions::added, (1, 2)), Instant::now() + LIMIT);
        let before = idle(&master);
        let mut world = Self { broker, master, children: Vec::new(), wires: Vec::new(), honest, before };
        world.add_child(None)?;
        world.add_child(Some(0))?;
        Ok(world)
    }

    /// Starts a child behind a bad link, of the master or of another child.
    pub(super) fn add_child(&mut self, parent: Option<usize>) -> Result<(), Error> {
        let parent = parent.map_or(&self.master, |parent| &self.children[parent].router);
        let (wire, [near, far]) = Wire::new()?;
        let name = format!("child{}", self.children.len());
        let child = child(&self.broker, parent, near, far, &name)?;
        self.children.push(child);
        self.wires.push(wire);
        Ok(())
    }

    /// A child as the master names it.
    pub(super) fn context(&self, nth: usize) -> Context {
        let context = &self.children[nth % self.children.len()].context;
        Context::new(Arc::clone(self.master.shared()), context.id(), context.name())
    }

    /// Ends everything. Whatever the bad links have done, the honest child answers, what has gone has left nothing behind, and
    /// every router ends.
    pub(super) fn end(self) {
        let Self { broker, master, children, wires, honest, before } = self;
        let answer = block_until(honest.context.call(functions::added, (3, 4)), Instant::now() + LIMIT);
        assert_eq!(answer, Some(Ok(7)), "the honest child does not answer");
        wires.iter().for_each(Wire::cut);
        is_as_before(&master, &before);
        let answer = block_until(honest.context.call(functions::added, (5, 6)), Instant::now() + LIMIT);
        assert_eq!(answer, Some(Ok(11)), "the honest child does not answer after the others have gone");
        for Child { router, ended, context, .. } in children {
            drop(router);
            assert!(block_until(ended, Instant::now() + LIMIT).is_some(), "{context} does not end");
        }
        broker.shutdown();
        drop((master, honest));
        let thread = Arc::clone(broker.thread());
        drop(broker);
        assert!(block_until(thread.join(), Instant::now() + LIMIT).is_some(), "the I/O thread does not end");
    }
}

/// Waits until the master has nothing of what has gone.
fn is_as_before(master: &Router, before: &Stats) {
    let what = |stats: &Stats| {
        let Stats { links, routes, handles, windows, queued_bytes, waiting, chains, tasks, .. } = *stats;
        ([links, routes, handles, windows, queued_bytes, waiting, chains, tasks], stats.pending.len())
    };
    let deadline = Instant::now() + LIMIT;
    loop {
        let now = idle(master);
        if what(&now) == what(before) {
            return;
        }
        assert!(Instant::now() < deadline, "what has gone has left something behind: {now:#?}, before: {before:#?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The state of a router.
fn idle(router: &Router) -> Stats {
    block_until(router.stats(), Instant::now() + LIMIT).and_then(Result::ok).unwrap_or_else(|| panic!("no statistics"))
}

/// Starts a child whose link to its parent goes from `near` to `far`.
fn child(broker: &Broker, parent: &Router, near: UnixStream, far: UnixStream, name: &str) -> Result<Child, Error> {
    let id = block_until(parent.allocate_id(), Instant::now() + Duration::from_secs(1));
    let id = id.unwrap_or_else(|| Err(Error::router_ended(parent.myself().id())))?;
    let context = Context::new(Arc::clone(parent.shared()), id, name);
    let mut parents = vec![parent.myself().id()];
    parents.extend_from_slice(&parent.shared().parent_ids());
    let (router, ended, calls) = run(broker, id, name, parents, far)?;
    block_on(parent.register(&context, near, None))?;
    Ok(Child { router, context, ended, _calls: calls })
}

type Running = (Router, oneshot::Receiver<()>, mailbox::Receiver<Invocation>);

/// Starts the router of a child.
fn run(
    broker: &Broker,
    id: ContextId,
    name: &str,
    parent_ids: Vec<ContextId>,
    socket: UnixStream,
) -> Result<Running, Error> {
    let settings = Settings {
        max_message_size: MAX_MESSAGE,
        unidirectional: false,
        // However the name of a function is changed on its way: nothing else of this program runs.
        allowed: Some(functions::names()),
        levels: Levels::Copied(log::Levels::new(0)),
        debug: false,
        profiling: false,
    };
    let (shared, queue) = Shared::new(id, name.into(), parent_ids, settings);
    let router = Router::from_parts(Arc::clone(&shared), broker.thread());
    let (dispatcher, calls) = Dispatcher::new(Box::new(LocalFunctions(router.clone())), Handle::CALL_FUNCTION);
    let (ended, has_ended) = oneshot::channel();
    broker.add_router(move || {
        let stream = Stream::of_socket(socket.into()).unwrap_or_else(|error| panic!("no stream: {error}"));
        let parent = Parent { stream, dispatcher, printed: Vec::new(), ended, ends_descendants: false };
        Setup { shared, queue, role: Role::Child(Box::new(parent)) }
    })?;
    Ok((router, has_ended, calls))
}
