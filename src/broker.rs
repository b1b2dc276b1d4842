//! The I/O side of a process: one thread that routes, logs, answers and shuts
//! down, whatever the user's code is doing.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::error::Error;

type Job = Box<dyn FnOnce() + Send>;

/// The I/O thread, shared by any number of routers.
///
/// Cheap to clone. The thread ends when the last clone is gone and every
/// router on it has shut down.
#[derive(Clone)]
pub struct Broker {
    inner: Arc<Inner>,
}

struct Inner {
    jobs: mpsc::UnboundedSender<Job>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").finish_non_exhaustive()
    }
}

impl Broker {
    /// Starts the I/O thread.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if the system refuses a thread or an event queue.
    pub fn new() -> Result<Self, Error> {
        #[expect(clippy::disallowed_methods, reason = "jobs are rare: one per router, and what users defer")]
        let (jobs, mut queue) = mpsc::unbounded_channel::<Job>();
        let runtime = Builder::new_current_thread()
            .enable_all()
            // Files are read and written by these threads for the I/O thread.
            .max_blocking_threads(16)
            .build()
            .map_err(|error| Error::Closed(format!("the I/O thread has no event queue: {error}")))?;
        let thread = std::thread::Builder::new()
            .name("offshoot-io".into())
            .spawn(move || {
                let local = LocalSet::new();
                local.block_on(&runtime, async {
                    while let Some(job) = queue.recv().await {
                        job();
                    }
                });
                // What routers still have to finish, they finish here.
                runtime.block_on(local);
            })
            .map_err(|error| Error::Closed(format!("the I/O thread cannot be started: {error}")))?;
        Ok(Self { inner: Arc::new(Inner { jobs, thread: Mutex::new(Some(thread)) }) })
    }

    /// Runs `job` on the I/O thread, soon. It must not block.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if the thread has ended; the job will not run.
    pub fn defer(&self, job: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        self.inner.jobs.send(Box::new(job)).map_err(|_| Error::router_ended())
    }

    /// Waits until the I/O thread has ended, which it does once every other
    /// clone is gone and all routers have shut down.
    ///
    /// Blocks. Does nothing when called on the I/O thread, which cannot wait
    /// for itself, or while other clones exist.
    pub fn join(self) {
        let Ok(inner) = Arc::try_unwrap(self.inner) else {
            return;
        };
        drop(inner.jobs);
        let thread = inner.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("broker crashed");
        }
    }
}
