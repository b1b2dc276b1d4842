//! The state that every handle to a router shares, and the requests to the I/O thread.

use std::any::Any;
use std::fmt;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::engine::broker::Thread;
use crate::engine::descendants::Descendants;
use crate::engine::inboxes::Target;
use crate::engine::io;
use crate::engine::log::{self, LogHook, Record};
use crate::engine::mailbox;
use crate::engine::ports::Ports;
use crate::engine::profile::Profile;
use crate::engine::queue::Queue;
use crate::engine::stats::Stats;
use crate::routing::directory::Directory;
use crate::routing::handles::Registration;
use crate::routing::window::Grant;
use crate::wire::codec::Origin;
use crate::wire::error::{DeadReason, Error};
use crate::wire::message::{ContextId, Handle, Message};
use crate::wire::port::Port;

/// The state that every handle to a router shares, with the queue to its I/O side.
pub(crate) struct Shared {
    pub(crate) me: ContextId,
    /// The name of this context, as it appears in errors.
    pub(crate) name: String,
    /// The contexts above, the parent first. Empty in a master.
    parent_ids: RwLock<Arc<[ContextId]>>,
    /// What happens to the processes below new children, if that was set.
    descendants: AtomicU8,
    pub(crate) max_message_size: u64,
    pub(crate) unidirectional: bool,
    /// The names of the functions that run here, if not all do.
    pub(crate) allowed: Option<Vec<String>>,
    levels: Levels,
    pub(crate) debug: AtomicBool,
    /// The profile, if it was requested.
    pub(crate) profile: Option<Mutex<Profile>>,
    /// Whether a hook of the user receives the log records.
    pub(crate) hooked: AtomicBool,
    ports: Ports,
    /// The contexts below this one.
    directory: Arc<Directory>,
    /// What the handles to the router share, and ends it when the last of them is dropped.
    owner: Mutex<Weak<Alive>>,
    /// The services of this context, as the layer that has them keeps them.
    pub(crate) services: OnceLock<Arc<dyn Any + Send + Sync>>,
    /// How to ask the contexts above for what this one cannot know. The layer that asks keeps it here.
    pub(crate) voucher: OnceLock<Box<dyn Any + Send + Sync>>,
    requests: mailbox::Sender<Request>,
}

/// What all handles to a router share. It ends the router when it is dropped.
pub(crate) struct Alive {
    shared: Arc<Shared>,
    pub(crate) thread: Arc<Thread>,
}

impl Alive {
    pub(crate) fn new(shared: &Arc<Shared>, thread: &Arc<Thread>) -> Arc<Self> {
        let alive = Arc::new(Self { shared: Arc::clone(shared), thread: Arc::clone(thread) });
        *shared.owner() = Arc::downgrade(&alive);
        alive
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        // The thread runs until the children have ended. This drop does not wait for it.
        self.shared.request(Request::Shutdown { done: None });
    }
}

/// Stands for no [`Descendants`] setting.
const UNDECIDED: u8 = u8::MAX;

/// Work for the I/O thread.
pub(crate) type Work = Box<dyn FnOnce(&Rc<io::Io>) + Send>;

/// A request to the I/O side. Requests are handled in the order in which they are made.
pub(crate) enum Request {
    /// Send a message, without a window.
    Send(Message),
    /// Send a message when all earlier ones to the same handle have left, and when its window has room.
    SendMetered {
        message: Message,
        accepted: Option<oneshot::Sender<Result<(), Error>>>,
    },
    /// Call a function: register the handle for the reply and send.
    Call {
        message: Message,
        reply: oneshot::Sender<Message>,
        timeout: Option<Duration>,
        /// The name of the function, for messages to the user.
        function: &'static str,
    },
    /// The caller no longer waits for a reply.
    Cancel(Handle),
    /// A call has ended, with or without a reply.
    Answer {
        call: (ContextId, Handle),
        /// The handle that the call came to.
        handle: Handle,
        /// The caller and the number of its chain, if it belongs to one.
        chain: Option<(ContextId, u32)>,
        /// The reply is sent after the values that wait for room in this handle of the caller.
        /// [`Handle::NONE`] if the call sends no values.
        values: Handle,
        reply: Option<Message>,
        grant: Option<Grant>,
    },
    /// Give room back to a sender.
    Grant(Grant),
    AddHandler {
        handle: Handle,
        registration: Registration<Target>,
        overwrite: bool,
    },
    /// Release a handle. If a queue is given, release it only if it still belongs to that queue.
    DelHandler(Handle, Option<Arc<Queue>>),
    /// Notify when the context has gone.
    Watch {
        context: ContextId,
        gone: oneshot::Sender<()>,
    },
    /// Order a context to end.
    End(ContextId),
    /// Leave the tree.
    Detach(oneshot::Sender<Result<(), Error>>),
    /// Other work, which is requested too rarely to have its own variant.
    Do(Work),
    /// Close the link to a child.
    Disconnect(ContextId),
    /// Start or stop reading from the link to a child.
    Read {
        context: ContextId,
        on: bool,
    },
    Log(Record),
    SetLogHook(LogHook),
    Sleep {
        until: Instant,
        woken: oneshot::Sender<()>,
    },
    Stats(oneshot::Sender<Stats>),
    /// Log the state of this context.
    Dump,
    /// Log the state on each SIGUSR2.
    DumpOnSignal,
    /// End the router and everything behind it.
    Shutdown {
        done: Option<oneshot::Sender<()>>,
    },
    #[cfg(test)]
    Crash,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").field("me", &self.me).field("name", &self.name).finish_non_exhaustive()
    }
}

impl Port for Shared {
    fn me(&self) -> ContextId {
        self.me
    }

    fn answer(&self, message: Message, metered: bool) -> bool {
        self.request(if metered { Request::SendMetered { message, accepted: None } } else { Request::Send(message) })
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl Origin {
    /// The origin of a message that this router got from `src`, under the authority of `auth`.
    pub(crate) fn at(shared: &Arc<Shared>, src: ContextId, auth: ContextId) -> Self {
        Self { port: Arc::clone(shared) as Arc<dyn Port>, src, auth }
    }

    /// The router that contexts and senders in the value belong to.
    pub(crate) fn shared(self) -> Option<Arc<Shared>> {
        self.port.into_any().downcast().ok()
    }
}

/// The source of the levels that decide which log records are wanted.
pub(crate) enum Levels {
    /// The levels of the master, which this context got when it started.
    Copied(log::Levels),
    /// In the master: a function that returns the current levels. Its argument is whether a hook of the user
    /// receives the records.
    Ask(AskLevels),
}

/// Returns the levels of the log records that are wanted.
pub(crate) type AskLevels = Box<dyn Fn(bool) -> log::Levels + Send + Sync>;

/// The settings that a router got, and passes on to its children.
pub(crate) struct Settings {
    pub(crate) max_message_size: u64,
    pub(crate) unidirectional: bool,
    pub(crate) allowed: Option<Vec<String>>,
    pub(crate) levels: Levels,
    /// Whether new children write a debug log.
    pub(crate) debug: bool,
    pub(crate) profiling: bool,
}

impl Shared {
    /// Creates the shared state and the request queue of a new router.
    pub(crate) fn new(
        me: ContextId,
        name: String,
        parent_ids: Vec<ContextId>,
        settings: Settings,
    ) -> (Arc<Self>, mailbox::Receiver<Request>) {
        // Callers queue at once by contract. Windows bound what leaves, and each caller holds its own backlog.
        let (requests, queue) = mailbox::mailbox();
        let shared = Self {
            me,
            name,
            parent_ids: RwLock::new(parent_ids.into()),
            descendants: AtomicU8::new(UNDECIDED),
            max_message_size: settings.max_message_size,
            unidirectional: settings.unidirectional,
            allowed: settings.allowed,
            levels: settings.levels,
            debug: AtomicBool::new(settings.debug),
            profile: settings.profiling.then(|| Mutex::new(Profile::new())),
            hooked: AtomicBool::new(false),
            ports: Ports::default(),
            directory: Arc::default(),
            owner: Mutex::default(),
            services: OnceLock::new(),
            voucher: OnceLock::new(),
            requests,
        };
        (Arc::new(shared), queue)
    }

    /// Whether a function of this name may run here.
    pub(crate) fn allows(&self, function: &str) -> bool {
        self.allowed.as_ref().is_none_or(|allowed| allowed.iter().any(|name| name == function))
    }

    /// Refuses a call of a function that may not run here.
    ///
    /// # Errors
    ///
    /// If it may not.
    pub(crate) fn check_allowed(&self, function: &str) -> Result<(), Error> {
        if self.allows(function) {
            return Ok(());
        }
        let why =
            format!("{} runs only the functions that its connect allows, and {function} is none of them", self.name);
        Err(DeadReason::refused(why).at(self.me))
    }

    /// All contexts above this one, the parent first.
    pub(crate) fn parent_ids(&self) -> Arc<[ContextId]> {
        Arc::clone(&self.parent_ids.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn parent(&self) -> Option<ContextId> {
        self.parent_ids().first().copied()
    }

    /// Removes the parents, because this context has left the tree.
    pub(crate) fn forget_parents(&self) {
        *self.parent_ids.write().unwrap_or_else(PoisonError::into_inner) = [].into();
    }

    pub(crate) fn set_descendants(&self, what: Descendants) {
        self.descendants.store(what as u8, Ordering::Relaxed);
    }

    /// The setting for new children that have none of their own.
    pub(crate) fn descendants(&self) -> Option<Descendants> {
        let all = [Descendants::Leave, Descendants::End, Descendants::Supervise];
        let this = self.descendants.load(Ordering::Relaxed);
        all.into_iter().find(|what| *what as u8 == this)
    }

    /// Queues a request. Returns false if the router has ended.
    pub(crate) fn request(&self, request: Request) -> bool {
        self.requests.send(request)
    }

    /// The levels of the log records that a new child sends.
    pub(crate) fn wanted_levels(&self) -> log::Levels {
        match &self.levels {
            Levels::Copied(levels) => levels.clone(),
            Levels::Ask(ask) => ask(self.hooked.load(Ordering::Relaxed)),
        }
    }

    /// Whether new children write a debug log.
    pub(crate) fn debugs(&self) -> bool {
        self.debug.load(Ordering::Relaxed)
    }

    /// If there is a profile, adds to it the time since `began`.
    pub(crate) fn profile(&self, began: Option<Instant>, note: impl FnOnce(&mut Profile, Duration)) {
        if let (Some(profile), Some(began)) = (&self.profile, began) {
            note(&mut profile.lock().unwrap_or_else(PoisonError::into_inner), began.elapsed());
        }
    }

    /// The current time, if there is a profile.
    pub(crate) fn profile_clock(&self) -> Option<Instant> {
        self.profile.is_some().then(Instant::now)
    }

    /// What the handles to the router share, if one of them is left.
    pub(crate) fn alive(&self) -> Option<Arc<Alive>> {
        self.owner().upgrade()
    }

    fn owner(&self) -> MutexGuard<'_, Weak<Alive>> {
        self.owner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn next_handle(&self) -> Handle {
        self.ports.next()
    }

    pub(crate) fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// Whether a context is known to have gone. For contexts that are not below this one, this is not known.
    pub(crate) fn has_gone(&self, context: ContextId) -> bool {
        let is_root = self.parent().is_none();
        self.requests.is_closed()
            || self.directory.has_gone(context)
            || (is_root && context != self.me && !self.directory.contains(context))
    }

    pub(crate) fn ports(&self) -> &Ports {
        &self.ports
    }

    /// A future that is ready at `until`. The I/O side's clock drives it, so any executor can poll it.
    pub(crate) fn sleep_until(&self, until: Instant) -> oneshot::Receiver<()> {
        let (woken, sleep) = oneshot::channel();
        self.request(Request::Sleep { until, woken });
        sleep
    }
}
