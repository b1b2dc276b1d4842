//! The threads that run concurrent functions, and the methods of services.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::engine::callee::Failure;
use crate::engine::dispatch::{Ended, Invocation, lock};
use crate::sys::allocator::Cached;

/// Maximum number of threads for concurrent functions. Further calls wait.
const MAX_THREADS: usize = 64;
/// A thread that has been idle for this long ends.
const IDLE: Duration = Duration::from_secs(10);

/// A pool of at most 64 threads for concurrent functions. It starts a thread when a call needs one.
#[derive(Default)]
pub(super) struct Pool {
    state: Mutex<PoolState>,
    work: Condvar,
}

struct PoolState {
    queue: VecDeque<Invocation>,
    threads: usize,
    idle: usize,
    /// The most threads.
    max: usize,
    /// The keys of the running calls that run one at a time; see [`Callee::serial`].
    busy: Vec<&'static str>,
}

impl Default for PoolState {
    fn default() -> Self {
        Self { queue: VecDeque::new(), threads: 0, idle: 0, max: MAX_THREADS, busy: Vec::new() }
    }
}

impl PoolState {
    /// Takes the first call that may run now.
    fn next(&mut self) -> Option<Invocation> {
        let Self { queue, busy, .. } = self;
        let may_run = |call: &Invocation| call.callee.serial().is_none_or(|key| !busy.contains(&key));
        let next = queue.iter().position(may_run).and_then(|place| queue.remove(place))?;
        busy.extend(next.callee.serial());
        Some(next)
    }
}

/// Answers a call for which there is no thread.
fn fail(invocation: Invocation, why: &std::io::Error) {
    let shared = Arc::clone(&invocation.shared);
    let why = format!("no thread can be started: {why}");
    let failed = Ended::Outcome(Err(Failure::new("offshoot::Error", why)));
    invocation.taken();
    shared.request(invocation.answer(failed));
}

impl Pool {
    /// Sets how many functions may run at once.
    pub(super) fn set_size(&self, threads: usize) {
        lock(&self.state).max = threads.clamp(1, MAX_THREADS);
        // Threads that are too many end.
        self.work.notify_all();
    }

    pub(super) fn submit(self: &Arc<Self>, invocation: Invocation) {
        let mut state = lock(&self.state);
        state.queue.push_back(invocation);
        if state.idle > 0 {
            self.work.notify_one();
        }
        if state.idle < state.queue.len() && state.threads < state.max {
            let pool = Arc::clone(self);
            let spawned = std::thread::Builder::new().name("offshoot-call".into()).spawn(move || pool.serve());
            match spawned {
                Ok(_) => state.threads += 1,
                // An existing thread takes the call later.
                Err(error) if state.threads > 0 => tracing::warn!("no further thread for calls: {error}"),
                Err(error) => {
                    let invocation = state.queue.pop_back();
                    drop(state);
                    invocation.into_iter().for_each(|invocation| fail(invocation, &error));
                }
            }
        }
    }

    fn serve(&self) {
        let _cached = Cached::here();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let mut state = lock(&self.state);
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => {
                state.threads -= 1;
                // Other threads take the calls later, if there are any.
                let left = if state.threads == 0 { std::mem::take(&mut state.queue) } else { VecDeque::new() };
                drop(state);
                return left.into_iter().for_each(|invocation| fail(invocation, &error));
            }
        };
        loop {
            if state.threads > state.max {
                state.threads -= 1;
                // It may have been woken for a call.
                self.work.notify_one();
                return;
            }
            if let Some(invocation) = state.next() {
                drop(state);
                let key = invocation.callee.serial();
                invocation.run_here(&runtime);
                state = lock(&self.state);
                if key.is_some() {
                    state.busy.retain(|busy| Some(*busy) != key);
                    // Calls that have waited for this one may need further threads.
                    self.work.notify_all();
                }
                continue;
            }
            state.idle += 1;
            let (woken, timeout) = self.work.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if timeout.timed_out() && state.queue.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }
}
