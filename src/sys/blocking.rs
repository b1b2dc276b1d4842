//! Waiting for futures without a runtime.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Instant;

use tokio::sync::oneshot;

/// Does what may block on a thread that may. For all that is done so there is
/// one kind of task, as each kind has its own code in every image. The receiver
/// fails if the work panics; dropping it does not stop the work.
pub(crate) fn on_other_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> oneshot::Receiver<T> {
    let (done, result) = oneshot::channel();
    let work: Box<dyn FnOnce() + Send> = Box::new(move || drop(done.send(work())));
    drop(tokio::task::spawn_blocking(work));
    result
}

thread_local! {
    /// Whether this thread has to do what others wait for.
    static SERVES: Cell<bool> = const { Cell::new(false) };
}

/// Notes that this is an I/O thread: waiting here would be for ever.
pub(crate) fn serve_here() {
    SERVES.set(true);
}

/// # Panics
///
/// On an I/O thread. A handler or policy that blocks is at fault; a panic in
/// it is logged, and everything else goes on.
fn may_wait() {
    assert!(!SERVES.get(), "handlers, policies and deferred jobs run on the I/O thread and must not block it");
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on this thread until it ends: the way to use what is async
/// from code that is not.
///
/// All futures of this crate can run here. It is no runtime: a future that
/// needs one, such as a tokio timer or socket, panics here as it would anywhere
/// else outside of its runtime. Blocks; inside an async function, `.await` is
/// the way.
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
/// On a router's I/O thread (in handlers, policies and hooks), if the future
/// has to wait: it would wait for ever.
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

/// As [`block_on`], until `deadline` at most.
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
