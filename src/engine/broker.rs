//! The I/O side of a process: one thread that routes messages, logs, answers requests and shuts down routers.
//! It does not wait for the user's code.

use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::{Rc, Weak as RcWeak};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread::{JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinSet, LocalSet};
use tokio_util::sync::CancellationToken;

use crate::engine::io::{self, EndOfPass, Io, Setup};
use crate::engine::timers::{Due, TimerKey, TimerKeys, Timers};
use crate::sys::allocator::Cached;
use crate::sys::blocking;
use crate::sys::blocking::block_on;
use crate::sys::process;
use crate::wire::error::{Closed, Error, IoError};

/// Time for file operations that are in progress when the thread ends.
const LAST_FILES: Duration = Duration::from_secs(1);

/// The time that children have to end when a router of a master ends.
const MASTER_GRACE: Duration = Duration::from_secs(5);
/// The time that children have to end when the router of a child ends.
const CHILD_GRACE: Duration = Duration::from_secs(3);

/// A request to the thread.
enum Job {
    Run(Box<dyn FnOnce() + Send>),
    /// Start the I/O side of a router.
    Router(Box<dyn FnOnce() -> Setup + Send>),
    Schedule(TimerKey, Scheduled),
    Unschedule(TimerKey),
    KeepAlive(oneshot::Sender<bool>),
    Shutdown,
    /// The last handle has been dropped.
    Released,
}

struct Scheduled {
    cancelled: Arc<AtomicBool>,
    job: Box<dyn FnOnce() + Send>,
}

impl Due for Scheduled {
    fn is_void(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }
}

/// An I/O thread. Any number of routers can share it.
///
/// Cloning is cheap. The thread ends when the last clone is dropped and every router on it has ended, or
/// after [`Broker::shutdown`].
///
/// ```
/// use std::time::{Duration, Instant};
///
/// use offshoot::{Broker, Error, Router};
///
/// fn main() -> Result<(), Error> {
///     offshoot::child();
///     let broker = Broker::new()?;
///     // Two routers on one thread have separate children.
///     let (one, two) = (Router::builder().broker(&broker).build()?, Router::builder().broker(&broker).build()?);
///     let child = one.local().blocking_connect()?;
///     broker.stop_receive(&child);
///     let timer = broker.schedule(Instant::now() + Duration::from_secs(60), || println!("a minute later"))?;
///     timer.cancel();
///     assert_eq!(broker.defer_sync(|| 6 * 7)?, 42);
///     broker.start_receive(&child);
///     broker.shutdown();
///     broker.join()?;
///     assert!(two.local().blocking_connect().is_err());
///     Ok(())
/// }
/// ```
pub struct Broker {
    thread: Arc<Thread>,
}

/// The state that all handles to an I/O thread share. Holding it does not keep the thread alive.
pub(crate) struct Thread {
    jobs: mpsc::UnboundedSender<Job>,
    id: OnceLock<ThreadId>,
    handle: Mutex<Option<JoinHandle<()>>>,
    /// The number of handles that keep the thread alive.
    held: AtomicUsize,
    default_grace: Duration,
    /// The time that [`Broker::set_shutdown_timeout`] has set, in ms; 0 if it was not called.
    grace: AtomicU64,
    timer_keys: TimerKeys,
    ended: CancellationToken,
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").finish_non_exhaustive()
    }
}

impl Clone for Broker {
    fn clone(&self) -> Self {
        Self::of(&self.thread)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if self.thread.held.fetch_sub(1, Ordering::AcqRel) == 1 {
            let _ = self.thread.jobs.send(Job::Released);
        }
    }
}

impl Broker {
    /// Starts the I/O thread.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the system refuses a thread or an event queue.
    pub fn new() -> Result<Self, Error> {
        Self::start(MASTER_GRACE)
    }

    /// The I/O thread of a child.
    pub(crate) fn of_child() -> Result<Self, Error> {
        Self::start(CHILD_GRACE)
    }

    fn start(default_grace: Duration) -> Result<Self, Error> {
        process::heed_children();
        #[expect(clippy::disallowed_methods, reason = "jobs are rare: one per router, and what users defer")]
        let (jobs, queue) = mpsc::unbounded_channel();
        let runtime = Builder::new_current_thread()
            .enable_all()
            // These threads read and write files for the I/O thread.
            .max_blocking_threads(16)
            .build()
            .map_err(|error| Error::Io(IoError::while_doing("the I/O thread has no event queue", &error)))?;
        let thread = Arc::new(Thread {
            jobs,
            id: OnceLock::new(),
            handle: Mutex::default(),
            held: AtomicUsize::new(0),
            default_grace,
            grace: AtomicU64::new(0),
            timer_keys: TimerKeys::default(),
            ended: CancellationToken::new(),
        });
        let broker = Self::of(&thread);
        let spawned = std::thread::Builder::new().name("offshoot-io".into()).spawn(move || {
            let _cached = Cached::here();
            let _ended = thread.ended.clone().drop_guard();
            blocking::serve_here();
            let (local, end) = (LocalSet::new(), Rc::<EndOfPass>::default());
            let work = Loop::new(Arc::clone(&thread), Rc::clone(&end)).run(queue);
            // Not as a task of `local`: a thread that ends can wake it also when it has lost its thread-local values.
            let work = end.after(local.run_until(work));
            if catch_unwind(AssertUnwindSafe(|| runtime.block_on(work))).is_err() {
                tracing::error!("broker crashed");
            }
            // This drops the remaining routers. Their guards notify everything that waits for them.
            drop(local);
            end.come();
            runtime.shutdown_timeout(LAST_FILES);
        });
        let handle =
            spawned.map_err(|error| Error::Io(IoError::while_doing("the I/O thread cannot be started", &error)))?;
        let _ = broker.thread.id.set(handle.thread().id());
        *lock(&broker.thread.handle) = Some(handle);
        Ok(broker)
    }

    /// Creates a handle that keeps the thread alive.
    pub(crate) fn of(thread: &Arc<Thread>) -> Self {
        thread.held.fetch_add(1, Ordering::AcqRel);
        Self { thread: Arc::clone(thread) }
    }

    pub(crate) fn thread(&self) -> &Arc<Thread> {
        &self.thread
    }

    /// Starts the I/O side of the router that `setup` describes.
    pub(crate) fn add_router(&self, setup: impl FnOnce() -> Setup + Send + 'static) -> Result<(), Error> {
        self.queue(Job::Router(Box::new(setup)))
    }

    /// Runs `job` on the I/O thread, after all jobs that were deferred before. This also holds for calls on
    /// the I/O thread itself. The job must not block. A panic in it is logged and has no other effect. Does
    /// not block.
    ///
    /// A job that was accepted runs even if the routers are ending.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if the thread has ended; the job will not run.
    pub fn defer(&self, job: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        self.queue(Job::Run(Box::new(job)))
    }

    /// Runs `job` on the I/O thread and returns its result. Blocks until the job has ended. The job itself
    /// must not block.
    ///
    /// # Errors
    ///
    /// - [`Error::Closed`] if the thread has ended; the job did not run
    /// - [`Error::Deadlock`] if called on the I/O thread, which cannot wait for itself
    ///
    /// # Panics
    ///
    /// If the job panics, with the same panic.
    pub fn defer_sync<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        self.thread.may_wait()?;
        let (done, result) = oneshot::channel();
        self.defer(move || {
            let _ = done.send(catch_unwind(AssertUnwindSafe(job)));
        })?;
        match block_on(result) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(panic)) => resume_unwind(panic),
            Err(_) => Err(broker_ended()),
        }
    }

    /// Runs `job` on the I/O thread at `when` or shortly after it. If that time has passed, the job runs
    /// immediately. Jobs run in the order of their times. The job must not block. Does not block.
    ///
    /// Jobs that have not run when the thread ends are dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if the thread has ended.
    #[doc(alias = "timers")]
    pub fn schedule(&self, when: Instant, job: impl FnOnce() + Send + 'static) -> Result<Timer, Error> {
        let key = self.thread.timer_key(when);
        let cancelled = Arc::<AtomicBool>::default();
        let scheduled = Scheduled { cancelled: Arc::clone(&cancelled), job: Box::new(job) };
        self.queue(Job::Schedule(key, scheduled))?;
        Ok(Timer { thread: Arc::clone(&self.thread), key, cancelled })
    }

    /// Whether the thread would have to wait for something if it were shut down now: children, connects,
    /// processes that have to be reaped, or timers. Cancel safe.
    /// Code that is not async uses [`block_on`](crate::block_on).
    pub async fn keep_alive(&self) -> bool {
        let (reply, answer) = oneshot::channel();
        self.queue(Job::KeepAlive(reply)).is_ok() && answer.await.unwrap_or(false)
    }

    /// The time that children have to end when a router ends, before they are killed. Default: 5 s in a
    /// master and 3 s in a child.
    ///
    /// If [`Broker::set_shutdown_timeout`] was called, the same time applies to [`Context::shutdown`]. Its
    /// default is 3 s. There, the child is killed half a second after this time.
    ///
    /// [`Context::shutdown`]: crate::Context::shutdown
    pub fn shutdown_timeout(&self) -> Duration {
        self.thread.grace()
    }

    /// Sets [`Broker::shutdown_timeout`], with a resolution of 1 ms. It applies from the next shutdown on,
    /// and only in this context.
    pub fn set_shutdown_timeout(&self, limit: Duration) {
        let ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1);
        self.thread.grace.store(ms, Ordering::Relaxed);
    }

    /// Ends every router on this thread, and then the thread. Does not block; [`Broker::join`] waits for the
    /// end. Has no effect if the thread is already ending.
    ///
    /// [`Router::shutdown`](crate::Router::shutdown) describes how each router ends.
    pub fn shutdown(&self) {
        let _ = self.queue(Job::Shutdown);
    }

    /// Ends this thread, as [`Broker::shutdown`] does, when the calling thread ends. This ends the children
    /// of a router that was leaked.
    ///
    /// Programs need this only in that case. A router ends when its last clone is dropped, and the children
    /// of a process end with the process.
    pub fn install_watcher(&self) {
        WATCHED.with_borrow_mut(|watched| {
            watched.0.retain(|thread| thread.strong_count() > 0);
            watched.0.push(Arc::downgrade(&self.thread));
        });
    }

    /// Waits until the I/O thread has ended. That is the case after [`Broker::shutdown`], or when all routers
    /// and all other handles have ended. Blocks.
    ///
    /// # Errors
    ///
    /// [`Error::Deadlock`] if called on the I/O thread, which cannot wait for itself.
    pub fn join(self) -> Result<(), Error> {
        let thread = Arc::clone(&self.thread);
        thread.may_wait()?;
        drop(self);
        block_on(thread.join());
        Ok(())
    }

    fn queue(&self, job: Job) -> Result<(), Error> {
        self.thread.jobs.send(job).map_err(|_| broker_ended())
    }
}

/// A job that was passed to [`Broker::schedule`]. Dropping this does not cancel the job.
///
/// [`Broker`] has an example.
pub struct Timer {
    thread: Arc<Thread>,
    key: TimerKey,
    cancelled: Arc<AtomicBool>,
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Timer").field(&self.key.when()).finish()
    }
}

impl Timer {
    /// Cancels the job, unless it has begun. Does not block.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
        let _ = self.thread.jobs.send(Job::Unschedule(self.key));
    }
}

impl Thread {
    /// The time that children have to end when a router ends.
    pub(crate) fn grace(&self) -> Duration {
        self.grace_or(self.default_grace)
    }

    /// The time that one child has to end when only that child is ordered to end.
    pub(crate) fn child_grace(&self) -> Duration {
        self.grace_or(CHILD_GRACE)
    }

    /// Creates a key for a timer of this thread, or of a router on it.
    pub(crate) fn timer_key(&self, when: Instant) -> TimerKey {
        self.timer_keys.key(when)
    }

    fn grace_or(&self, default: Duration) -> Duration {
        match self.grace.load(Ordering::Relaxed) {
            0 => default,
            ms => Duration::from_millis(ms),
        }
    }

    /// Waits until the thread has ended. Must not be called on that thread.
    pub(crate) async fn join(&self) {
        self.ended.cancelled().await;
        // The thread has no work left. This waits until its stack is freed.
        if let Some(handle) = lock(&self.handle).take() {
            let _ = handle.join();
        }
    }

    fn may_wait(&self) -> Result<(), Error> {
        if self.id.get() == Some(&std::thread::current().id()) {
            return Err(Error::Deadlock("the I/O thread cannot wait for itself".into()));
        }
        Ok(())
    }
}

thread_local! {
    static WATCHED: RefCell<Watched> = const { RefCell::new(Watched(Vec::new())) };
}

/// The I/O threads that end when the thread that holds this value ends.
struct Watched(Vec<Weak<Thread>>);

impl Drop for Watched {
    fn drop(&mut self) {
        for thread in self.0.iter().filter_map(Weak::upgrade) {
            let _ = thread.jobs.send(Job::Shutdown);
        }
    }
}

/// The state of the thread.
struct Loop {
    thread: Arc<Thread>,
    end: Rc<EndOfPass>,
    routers: Vec<RcWeak<Io>>,
    running: JoinSet<()>,
    timers: Timers<Scheduled>,
    stopping: bool,
}

impl Loop {
    fn new(thread: Arc<Thread>, end: Rc<EndOfPass>) -> Self {
        let (routers, running, timers) = (Vec::new(), JoinSet::new(), Timers::default());
        Self { thread, end, routers, running, timers, stopping: false }
    }

    async fn run(mut self, mut queue: mpsc::UnboundedReceiver<Job>) {
        loop {
            let next = self.fire();
            tokio::select! {
                Some(job) = queue.recv() => self.carry_out(job),
                Some(_) = self.running.join_next() => self.routers.retain(|io| io.strong_count() > 0),
                () = io::sleep_until(next) => {}
            }
            // A job that the last handle queued is already in the queue when `held` becomes 0.
            let is_held = self.thread.held.load(Ordering::Acquire) > 0 || !queue.is_empty();
            let is_wanted = !self.stopping && is_held;
            if !is_wanted && self.running.is_empty() {
                break;
            }
        }
        // Jobs that were accepted still run. From here on, no further jobs are accepted.
        queue.close();
        while let Some(job) = queue.recv().await {
            if let Job::Run(job) = job {
                run_user_code(job);
            }
        }
    }

    fn carry_out(&mut self, job: Job) {
        match job {
            Job::Run(job) => run_user_code(job),
            // This drops the setup, and with it the queue of requests, which notifies everything that waits
            // for an answer.
            Job::Router(setup) if self.stopping => drop(setup()),
            Job::Router(setup) => {
                let (io, running) = io::prepare(setup(), Arc::clone(&self.thread), Rc::clone(&self.end));
                self.routers.push(Rc::downgrade(&io));
                self.running.spawn_local(running);
            }
            Job::Schedule(key, scheduled) => self.timers.insert(key, scheduled),
            Job::Unschedule(key) => self.timers.remove(key),
            Job::KeepAlive(reply) => {
                let mut routers = self.routers.iter().filter_map(RcWeak::upgrade);
                let _ = reply.send(!self.timers.is_empty() || routers.any(|io| io.is_busy()));
            }
            Job::Shutdown => {
                self.stopping = true;
                for io in self.routers.iter().filter_map(RcWeak::upgrade) {
                    io.begin_shutdown(None);
                }
            }
            Job::Released => {}
        }
    }

    /// Runs the timers that are due. Returns the time of the next one.
    fn fire(&mut self) -> Option<Instant> {
        loop {
            match self.timers.take_due() {
                Err(next) => return next,
                Ok(scheduled) if scheduled.is_void() => {}
                Ok(scheduled) => run_user_code(scheduled.job),
            }
        }
    }
}

fn run_user_code(job: Box<dyn FnOnce() + Send>) {
    if catch_unwind(AssertUnwindSafe(job)).is_err() {
        tracing::error!("a deferred job panicked");
    }
}

fn broker_ended() -> Error {
    Error::Closed(Closed::Broker)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::Receiver as Lines;

    use tracing::field::{Field, Visit};
    use tracing::{Event, Id, Metadata, Subscriber, span};

    use super::*;
    use crate::api::receiver::Receiver;
    use crate::api::router::Router;

    /// Every log text of a thread.
    struct Texts(Mutex<std::sync::mpsc::Sender<String>>);

    impl Visit for Texts {
        fn record_debug(&mut self, _: &Field, value: &dyn fmt::Debug) {
            let _ = lock(&self.0).send(format!("{value:?}"));
        }
    }

    impl Subscriber for Texts {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn event(&self, event: &Event<'_>) {
            event.record(&mut Self(Mutex::new(lock(&self.0).clone())));
        }
        fn new_span(&self, _: &span::Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    fn logged(lines: &Lines<String>, text: &str) {
        while !lines.recv_timeout(Duration::from_secs(10)).unwrap().contains(text) {}
    }

    #[test]
    fn a_crash_of_a_router_ends_every_wait_for_it_and_a_panic_of_a_job_nothing() {
        let (tell, lines) = std::sync::mpsc::channel();
        let broker = Broker::new().unwrap();
        let texts = Texts(Mutex::new(tell));
        broker.defer(|| std::mem::forget(tracing::subscriber::set_default(texts))).unwrap();
        let router = || Router::builder().broker(&broker).build().unwrap();
        let (router, other) = (router(), router());
        broker.defer(|| panic!("a job's own fault")).unwrap();
        logged(&lines, "a deferred job panicked");
        let receiver = Receiver::<u32>::new(&router);
        std::thread::scope(|scope| {
            let silent = router.local().exec_prefix(["sh", "-c", "exec sleep 1000"]);
            let connecting = scope.spawn(|| silent.blocking_connect());
            let waiting = scope.spawn(|| block_on(receiver.recv()));
            while !block_on(broker.keep_alive()) {}
            router.shared().request(crate::engine::shared::Request::Crash);
            assert_eq!(waiting.join().unwrap().unwrap_err().to_string(), "Broker has exitted");
            let error = connecting.join().unwrap().unwrap_err();
            assert!(matches!(error, Error::Connect(_) | Error::Closed(_)), "{error:?}");
        });
        logged(&lines, "broker crashed");
        assert!(matches!(block_on(router.stats()), Err(Error::Closed(_))));
        block_on(router.shutdown());
        assert!(block_on(other.stats()).is_ok(), "nothing has happened to the other router");
        broker.shutdown();
        broker.join().unwrap();
        assert!(block_on(other.stats()).is_err());
    }
}
