//! How a program makes the router of a new tree: the master.

use std::os::fd::OwnedFd;
use std::sync::Arc;

#[cfg(feature = "cli")]
use crate::api::function::LocalFunctions;
use crate::api::function::Table;
use crate::api::router::{Router, RouterBuilder};
use crate::connect::child;
use crate::connect::handshake::Welcome;
use crate::engine::broker::Broker;
use crate::engine::dispatch::Dispatcher;
use crate::engine::io::{Role, Setup};
#[cfg(feature = "cli")]
use crate::engine::log::levels::LAUNCHER;
use crate::engine::log::{self, MasterSink};
use crate::engine::shared::{AskLevels, Levels, Settings, Shared};
use crate::sys::panic;
#[cfg(feature = "cli")]
use crate::wire::error::Closed;
use crate::wire::error::Error;
use crate::wire::message::ContextId;
#[cfg(feature = "cli")]
use crate::wire::message::Handle;

/// The level of what launchers print.
#[cfg(feature = "cli")]
const DEBUG: u8 = 4;

impl RouterBuilder {
    /// Starts the router and its I/O thread.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the I/O thread cannot be started, [`Error::Misuse`] if this process is a child whose
    /// `main` has not called [`child`](crate::child()) first.
    pub fn build(self) -> Result<Router, Error> {
        self.build_with(Box::new(log_levels))
    }

    /// The router. `levels` gives the log levels for its children.
    pub(super) fn build_with(self, levels: AskLevels) -> Result<Router, Error> {
        self.build_master(levels, |_| None)
    }

    /// A master to which other contexts send what their launchers print, for
    /// [`Context::last_words`](crate::Context::last_words).
    #[cfg(feature = "cli")]
    pub(crate) fn build_with_words(self) -> Result<Router, Error> {
        self.build_with(Box::new(|hooked| {
            let levels = log_levels(hooked);
            let level = levels.of(LAUNCHER).max(DEBUG);
            levels.with(LAUNCHER, level)
        }))
    }

    /// A master that also runs functions, for programs that have joined its tree. The second part is what the main
    /// thread has to do; it never returns.
    #[cfg(feature = "cli")]
    pub(crate) fn build_server(self) -> Result<(Router, impl FnOnce() -> Result<(), String>), Error> {
        let mut received = None;
        let router = self.build_master(Box::new(log_levels), |router| {
            let (dispatcher, calls) = Dispatcher::new(Box::new(LocalFunctions(router.clone())), Handle::CALL_FUNCTION);
            received = Some(calls);
            Some(Box::new(dispatcher))
        })?;
        let calls = received.ok_or(Error::Closed(Closed::Router))?;
        Ok((router, move || child::run_calls(calls)))
    }

    fn build_master(
        self,
        levels: AskLevels,
        dispatcher: impl FnOnce(&Router) -> Option<Box<Dispatcher>>,
    ) -> Result<Router, Error> {
        if child::is_unclaimed() {
            child::tell_unclaimed();
            return Err(Error::Misuse(
                "this process was started as a child: call offshoot::child() (or offshoot::run) first in main".into(),
            ));
        }
        if let Err(why) = Table::checked() {
            return Err(Error::Misuse(why.clone()));
        }
        let broker = match self.broker {
            Some(broker) => broker,
            None => Broker::new()?,
        };
        let settings = Settings {
            max_message_size: self.max_message_size,
            unidirectional: self.unidirectional,
            allowed: None,
            levels: Levels::Ask(levels),
            debug: false,
            profiling: self.profiling,
        };
        let (shared, queue) = Shared::new(ContextId::MASTER, "master".into(), Vec::new(), settings);
        let also = Arc::clone(&shared);
        let router = Router::from_parts(shared, broker.thread());
        let dispatcher = dispatcher(&router);
        broker.add_router(move || {
            let logs = Box::new(MasterSink::default());
            Setup { shared: also, queue, role: Role::Master { logs, dispatcher } }
        })?;
        Ok(router)
    }
}

/// The router of a program that has joined the tree of another one, by its welcome and the socket to it.
pub(crate) fn join(broker: &Broker, welcome: Welcome, stream: OwnedFd) -> Result<Router, Error> {
    let settings = Settings {
        max_message_size: welcome.max_message_size,
        unidirectional: welcome.unidirectional,
        allowed: welcome.allowed,
        levels: Levels::Ask(Box::new(log_levels)),
        debug: welcome.debug,
        profiling: welcome.profiling,
    };
    let (shared, queue) = Shared::new(welcome.id, welcome.name, welcome.parent_ids, settings);
    shared.set_descendants(welcome.descendants);
    let also = Arc::clone(&shared);
    broker.add_router(move || {
        let logs = Box::new(MasterSink::default());
        Setup { shared: also, queue, role: Role::Client { stream, logs } }
    })?;
    Ok(Router::from_parts(shared, broker.thread()))
}

/// Which log records of other contexts this process shows.
pub(super) fn log_levels(hooked: bool) -> log::Levels {
    log::wanted(hooked, Table::get().modules())
}

impl Router {
    /// Makes a router with the default settings, on an I/O thread of its own. It is the master of a new tree.
    ///
    /// # Errors
    ///
    /// As [`RouterBuilder::build`].
    pub fn new() -> Result<Self, Error> {
        Self::builder().build()
    }
}

/// Runs `f` with a new router. Ends the router and its I/O thread when `f` returns or panics.
/// Dropping the future drops that of `f`; the router then ends with its last clone.
/// Code that is not async uses [`block_on`](crate::block_on).
///
/// # Errors
///
/// As [`Router::new`].
///
/// # Panics
///
/// If `f` panics.
///
/// ```
/// fn main() -> Result<(), offshoot::Error> {
///     offshoot::child();
///     let name = offshoot::block_on(offshoot::connect::run_with_router(async |router| {
///         Ok::<_, offshoot::Error>(router.local().await?.name().to_owned())
///     }))??;
///     assert!(name.starts_with("local."));
///     Ok(())
/// }
/// ```
#[doc(alias = "with_router")]
pub async fn run_with_router<T>(f: impl AsyncFnOnce(Router) -> T) -> Result<T, Error> {
    let router = Router::new()?;
    let result = panic::caught(f(router.clone())).await;
    let broker = router.broker();
    broker.shutdown();
    let thread = Arc::clone(broker.thread());
    drop((router, broker));
    thread.join().await;
    result.or_else(|panic| std::panic::resume_unwind(panic))
}
