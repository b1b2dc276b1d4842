//! Waiting for futures without a runtime.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Instant;

use tokio::sync::oneshot;

/// Runs blocking work on another thread, where it may block. All such work shares one type of task,
/// because each type adds code of its own to every image. The receiver fails if the work panics.
/// Dropping the receiver does not stop the work.
pub(crate) fn on_other_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> oneshot::Receiver<T> {
    let (done, result) = oneshot::channel();
    let work: Box<dyn FnOnce() + Send> = Box::new(move || drop(done.send(work())));
    drop(tokio::task::spawn_blocking(work));
    result
}

thread_local! {
    /// Whether this thread serves others, so that a wait on it would never end.
    static SERVES: Cell<bool> = const { Cell::new(false) };
}

/// Marks this thread as an I/O thread. A blocking wait on it panics from now on, because it would
/// never end.
pub(crate) fn serve_here() {
    SERVES.set(true);
}

/// # Panics
///
/// On an I/O thread. A handler or policy that blocks has a fault. The panic is logged, and
/// everything else goes on.
fn may_wait() {
    assert!(!SERVES.get(), "handlers, policies and deferred jobs run on the I/O thread and must not block it");
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on this thread until it ends. Code that is not async uses it to call what is
/// async.
///
/// All futures of this crate can run here. It is not a runtime: a future that needs one, such as a
/// tokio timer or socket, panics here as it does anywhere outside of its runtime. Blocks; inside an
/// async function, use `.await`.
///
/// ```
/// use offshoot::{Error, Router};
///
/// fn main() -> Result<(), Error> {
///     offshoot::child();
///     let router = Router::new()?;
///     let child = offshoot::block_on(router.local().connect())?;
///     assert_eq!(offshoot::block_on(child.stats())?.context, child.id());
///     offshoot::block_on(router.shutdown());
///     Ok(())
/// }
/// ```
///
/// # Panics
///
/// The future has no runtime around it: what needs one, as the timers and sockets of tokio, panics. The futures of this
/// crate need none.
///
/// On a router's I/O thread (in handlers, policies and hooks), if the future has to wait: the wait
/// would never end.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut cx = TaskContext::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(output) => return output,
            Poll::Pending => {
                may_wait();
                std::thread::park();
            }
        }
    }
}

/// Does the same as [`block_on`], but only until `deadline`. Returns `None` if the future has not
/// ended by then.
pub(crate) fn block_until<F: Future>(future: F, deadline: Instant) -> Option<F::Output> {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut cx = TaskContext::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return Some(output);
        }
        may_wait();
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        std::thread::park_timeout(left);
    }
}
