//! A queue to another thread, which takes all that is there at once.
//!
//! A channel of messages costs several atomic operations for each of them, and one more to look for somebody who waits. Many
//! small calls at once cost little else, so here a message costs one lock, of which the receiver takes one for all of
//! them.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// The most items that are taken at once, unless they were sent at once.
pub(crate) const BATCH: usize = 128;
/// The memory of a batch of more items is not used again.
const MAX_SPARE: usize = 1024;

/// Creates a mailbox.
pub(crate) fn mailbox<T>() -> (Sender<T>, Receiver<T>) {
    let inner = Arc::new(Inner { state: Mutex::new(State::default()), is_closed: AtomicBool::new(false) });
    (Sender { inner: Arc::clone(&inner) }, Receiver { inner })
}

/// The end that adds items. Threads share it by reference. The mailbox ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Sender<T> {
    inner: Arc<Inner<T>>,
}

/// The end that takes the items.
#[derive(Debug)]
pub(crate) struct Receiver<T> {
    inner: Arc<Inner<T>>,
}

#[derive(Debug)]
struct Inner<T> {
    state: Mutex<State<T>>,
    /// Whether no items are accepted any more. It changes only under the lock.
    is_closed: AtomicBool,
}

#[derive(Debug)]
struct State<T> {
    /// These are taken before those of `last`.
    full: VecDeque<Vec<T>>,
    last: Vec<T>,
    /// An empty batch, whose memory is used again.
    spare: Vec<T>,
    /// The receiver, if it waits.
    waiter: Option<Waker>,
    has_sender: bool,
}

impl<T> Default for State<T> {
    fn default() -> Self {
        Self { full: VecDeque::new(), last: Vec::new(), spare: Vec::new(), waiter: None, has_sender: true }
    }
}

impl<T> Inner<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    /// Begins a new batch.
    fn next_batch(&mut self) {
        let mut next = std::mem::take(&mut self.spare);
        next.reserve_exact(BATCH);
        self.full.push_back(std::mem::replace(&mut self.last, next));
    }
}

/// Wakes the receiver if it waits. Afterwards the state is not locked any more.
fn wake<T>(mut state: MutexGuard<'_, State<T>>) {
    let waiter = state.waiter.take();
    drop(state);
    if let Some(waiter) = waiter {
        waiter.wake();
    }
}

impl<T> Sender<T> {
    /// Adds an item. Returns false, and drops the item, if the receiver has ended.
    pub(crate) fn send(&self, item: T) -> bool {
        let mut state = self.inner.state();
        if self.is_closed() {
            return false;
        }
        if state.last.len() >= BATCH {
            state.next_batch();
        }
        state.last.push(item);
        wake(state);
        true
    }

    /// Adds all of these items. If the receiver has ended, it drops them.
    pub(crate) fn send_all(&self, items: &mut Vec<T>) {
        let mut state = self.inner.state();
        if self.is_closed() {
            drop(state);
            return items.clear();
        }
        if state.last.len() + items.len() <= BATCH && !state.last.is_empty() {
            state.last.append(items);
        } else {
            if !state.last.is_empty() {
                let last = std::mem::take(&mut state.last);
                state.full.push_back(last);
            }
            std::mem::swap(&mut state.last, items);
        }
        wake(state);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.inner.is_closed.load(Ordering::Relaxed)
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = self.inner.state();
        state.has_sender = false;
        wake(state);
    }
}

impl<T> Receiver<T> {
    /// Waits for items and moves some to `batch`, which must be empty. Returns false if the mailbox is empty and its sender
    /// has been dropped. Cancel safe.
    pub(crate) async fn take(&mut self, batch: &mut Vec<T>) -> bool {
        poll_fn(|cx| self.poll_take(cx, batch)).await
    }

    fn poll_take(&mut self, cx: &mut Context<'_>, batch: &mut Vec<T>) -> Poll<bool> {
        debug_assert!(batch.is_empty(), "the items of the last batch have been handled");
        if batch.capacity() > MAX_SPARE {
            *batch = Vec::new();
        }
        let mut state = self.inner.state();
        let next = state.full.pop_front().unwrap_or_else(|| std::mem::take(&mut state.last));
        if next.is_empty() {
            state.last = next;
            if !state.has_sender {
                return Poll::Ready(false);
            }
            if !state.waiter.as_ref().is_some_and(|waiter| waiter.will_wake(cx.waker())) {
                state.waiter = Some(cx.waker().clone());
            }
            return Poll::Pending;
        }
        let handled = std::mem::replace(batch, next);
        // `last` has no memory if the items were in it.
        let place = if state.last.capacity() == 0 { &mut state.last } else { &mut state.spare };
        *place = handled;
        Poll::Ready(true)
    }

    /// Accepts no items from now on, and drops those that are there.
    pub(crate) fn close(&mut self) {
        let left = {
            let mut state = self.inner.state();
            self.inner.is_closed.store(true, Ordering::Relaxed);
            (std::mem::take(&mut state.full), std::mem::take(&mut state.last))
        };
        drop(left);
    }

    /// What is there now, batch by batch.
    #[cfg(test)]
    pub(crate) fn taken(&mut self) -> Vec<Vec<T>> {
        let mut cx = Context::from_waker(Waker::noop());
        let next = || {
            let mut batch = Vec::new();
            matches!(self.poll_take(&mut cx, &mut batch), Poll::Ready(true)).then_some(batch)
        };
        std::iter::from_fn(next).collect()
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    }

    #[test]
    fn items_come_in_their_order_and_in_batches() {
        let (sender, mut receiver) = mailbox();
        assert!((0..300).all(|item| sender.send(item)));
        sender.send_all(&mut (300..1000).collect());
        assert!(sender.send(1000));
        let batches = receiver.taken();
        assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [128, 128, 44, 700, 1]);
        assert_eq!(batches.concat(), (0..=1000).collect::<Vec<_>>());
    }

    #[test]
    fn what_one_thread_sends_arrives_at_another_one() {
        let (sender, mut receiver) = mailbox();
        let sender = Arc::new(sender);
        let threads: Vec<_> = (0..4u64)
            .map(|thread| {
                let sender = Arc::clone(&sender);
                std::thread::spawn(move || {
                    for item in 0..20_000u64 {
                        match item % 100 {
                            50 => sender.send_all(&mut vec![(thread, item)]),
                            // The receiver has nothing to do and waits.
                            99 => std::thread::yield_now(),
                            _ => assert!(sender.send((thread, item))),
                        }
                    }
                })
            })
            .collect();
        drop(sender);
        let mut next = [0; 4];
        runtime().block_on(async {
            let mut batch = Vec::new();
            while receiver.take(&mut batch).await {
                for (thread, item) in batch.drain(..) {
                    let next = &mut next[thread as usize];
                    *next += u64::from(*next % 100 == 99);
                    assert_eq!(item, *next);
                    *next += 1;
                }
            }
        });
        assert_eq!(next, [19_999; 4]);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }

    #[test]
    fn a_receiver_that_ends_drops_the_items_and_refuses_more() {
        let (sender, mut receiver) = mailbox();
        let item = Arc::new(());
        assert!((0..300).all(|_| sender.send(Arc::clone(&item))));
        receiver.close();
        assert_eq!(Arc::strong_count(&item), 1);
        assert!(sender.is_closed() && !sender.send(Arc::clone(&item)));
        let mut more = vec![Arc::clone(&item)];
        sender.send_all(&mut more);
        assert_eq!(Arc::strong_count(&item), 1);

        let (sender, receiver) = mailbox();
        sender.send(Arc::clone(&item));
        drop(receiver);
        assert_eq!(Arc::strong_count(&item), 1, "also if it is dropped");
    }

    #[test]
    fn the_end_of_the_sender_comes_after_its_items() {
        let (sender, mut receiver) = mailbox();
        sender.send(1);
        drop(sender);
        let mut batch = Vec::new();
        assert!(runtime().block_on(receiver.take(&mut batch)));
        assert_eq!(std::mem::take(&mut batch), [1]);
        assert!(!runtime().block_on(receiver.take(&mut batch)));

        let (sender, mut receiver) = mailbox::<u8>();
        let waits = std::thread::spawn(move || runtime().block_on(receiver.take(&mut Vec::new())));
        while sender.inner.state().waiter.is_none() {
            std::thread::yield_now();
        }
        drop(sender);
        assert!(!waits.join().unwrap());
    }

    #[test]
    fn a_wait_that_is_dropped_takes_nothing() {
        let (sender, mut receiver) = mailbox();
        let mut batch = Vec::new();
        runtime().block_on(async {
            let wait = tokio::time::timeout(Duration::from_millis(1), receiver.take(&mut batch));
            assert!(wait.await.is_err());
            sender.send(7);
            assert!(receiver.take(&mut batch).await);
        });
        assert_eq!(batch, [7]);
    }

    #[test]
    fn items_that_wait_take_no_more_memory_than_they_need() {
        let (sender, mut receiver) = mailbox();
        for item in 0..10_000 {
            sender.send_all(&mut vec![item]);
        }
        {
            let state = sender.inner.state();
            let taken = state.full.iter().map(Vec::capacity).sum::<usize>() + state.last.capacity();
            assert!(taken <= 20_000, "{taken}");
        }
        assert_eq!(receiver.taken().concat(), (0..10_000).collect::<Vec<_>>());
    }

    #[test]
    fn the_memory_of_many_items_is_not_kept() {
        let (sender, mut receiver) = mailbox();
        let mut batch = Vec::new();
        let mut cx = Context::from_waker(Waker::noop());
        for round in 0..3 {
            assert!((0..100_000).all(|item| sender.send(item)));
            while receiver.poll_take(&mut cx, &mut batch).is_ready() {
                batch.clear();
            }
            let state = sender.inner.state();
            let kept = state.last.capacity() + state.spare.capacity() + batch.capacity();
            assert!(kept <= 3 * BATCH, "{kept} items after round {round}");
        }
    }
}
