//! Panics of user code: caught, and reported to the caller instead of being printed.

use std::any::Any;
use std::cell::RefCell;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Once;
use std::task::Poll;
use std::time::Duration;

use super::process::exit_now;

thread_local! {
    /// Where the panic of the call that runs on this thread happened.
    static PLACE: RefCell<Option<Place>> = const { RefCell::new(None) };
}

/// Where a panic happened.
#[derive(Clone, Default)]
struct Place {
    line: Option<String>,
    backtrace: Option<String>,
}

/// The stack of this thread, if `RUST_BACKTRACE` or `RUST_LIB_BACKTRACE` is set to request it.
pub(crate) fn backtrace() -> Option<String> {
    let backtrace = std::backtrace::Backtrace::capture();
    (backtrace.status() == std::backtrace::BacktraceStatus::Captured).then(|| backtrace.to_string())
}

/// How long other threads have to pass on what a panic has printed.
const LAST_WORD: Duration = Duration::from_millis(100);

/// Lets a program that ends at a panic exit with this code. SIGABRT, which would end it otherwise, may leave a dump of its
/// memory. In a program that unwinds, this does nothing.
pub(crate) fn exit_with(code: i32) {
    if cfg!(panic = "unwind") {
        return;
    }
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        before(info);
        std::thread::sleep(LAST_WORD);
        exit_now(code);
    }));
}

/// Awaits `work`. If it panics, returns the panic.
pub(crate) async fn caught<T>(work: impl Future<Output = T>) -> std::thread::Result<T> {
    let mut work = pin!(work);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

/// While a value of this type lives, a panic on this thread is recorded instead of printed.
pub(crate) struct Quiet {
    /// Makes the type neither `Send` nor `Sync`: it belongs to its thread.
    thread: PhantomData<*const ()>,
}

impl Quiet {
    pub(crate) fn begin() -> Self {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                let noted = PLACE.with(|place| {
                    let mut place = place.borrow_mut();
                    let quiet = place.is_some();
                    if quiet {
                        let line = info.location().map(ToString::to_string);
                        *place = Some(Place { line, backtrace: backtrace() });
                    }
                    quiet
                });
                // Nobody catches it where it ends the process.
                if !noted || cfg!(panic = "abort") {
                    before(info);
                }
            }));
        });
        PLACE.with(|place| *place.borrow_mut() = Some(Place::default()));
        Self { thread: PhantomData }
    }

    /// The stack where the panic happened, if one was taken.
    pub(crate) fn backtrace(&self) -> Option<String> {
        PLACE.with(|place| place.borrow().as_ref()?.backtrace.clone())
    }

    /// The panic's text and place.
    pub(crate) fn describe(&self, payload: &(dyn Any + Send)) -> String {
        let text = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "the panic has no text".into());
        match PLACE.with(|place| place.borrow().as_ref()?.line.clone()) {
            Some(place) => format!("{text}, at {place}"),
            None => text,
        }
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        PLACE.with(|place| *place.borrow_mut() = None);
    }
}
