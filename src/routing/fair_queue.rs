//! A queue with several waiters, first come, first served. No I/O.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as TaskContext, Poll, Waker};

/// Called after each item and at the end, on the thread that puts the item.
pub(crate) type Hook = Arc<dyn Fn() + Send + Sync>;

/// The most wakers of watchers that are kept. Tasks that have ended leave theirs behind.
const MAX_WATCHERS: usize = 64;

/// A queue of items, and a line of waiters.
///
/// The waiter at place `n` of the line owns the item at place `n` of the queue. So each waiter gets
/// its own item, in whatever order the waiters wake up. A waiter that leaves the line passes its
/// item on to the next one.
pub(crate) struct FairQueue<I> {
    state: Mutex<State<I>>,
}

struct State<I> {
    items: VecDeque<I>,
    /// The waiters, each with its ticket. Tickets rise.
    line: VecDeque<(u64, Waker)>,
    next_ticket: u64,
    /// The watchers, which take items that no waiter owns.
    watchers: Vec<Waker>,
    hook: Option<Hook>,
    closed: bool,
}

/// The result of [`FairQueue::wait`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Got<I> {
    Item(I),
    /// No more items will come.
    Closed,
    /// The queue was poked. The waiter must check its condition and wait again.
    Poked,
}

impl<I> Default for FairQueue<I> {
    fn default() -> Self {
        let state = State {
            items: VecDeque::new(),
            line: VecDeque::new(),
            next_ticket: 0,
            watchers: Vec::new(),
            hook: None,
            closed: false,
        };
        Self { state: Mutex::new(state) }
    }
}

impl<I> FairQueue<I> {
    /// Adds an item. Returns the item if the queue is closed.
    pub(crate) fn put(&self, item: I) -> Result<(), I> {
        let mut state = self.lock();
        if state.closed {
            return Err(item);
        }
        state.items.push_back(item);
        let next = state.line.get(state.items.len() - 1).map(|(_, waker)| waker.clone());
        let watchers = std::mem::take(&mut state.watchers);
        let hook = state.hook.clone();
        drop(state);
        ring(next, watchers, hook);
        Ok(())
    }

    /// Takes an item that no waiter owns, if there is one.
    pub(crate) fn try_take(&self) -> Got<I> {
        take_unclaimed(&mut self.lock())
    }

    /// Does the same as [`FairQueue::try_take`]. If there is no such item, `waker` is woken when
    /// there may be one.
    pub(crate) fn poll_watch(&self, waker: &Waker) -> Poll<Got<I>> {
        let mut state = self.lock();
        match take_unclaimed(&mut state) {
            Got::Poked => {
                if !state.watchers.iter().any(|known| known.will_wake(waker)) {
                    let many = state.watchers.len() >= MAX_WATCHERS;
                    let watchers = if many { std::mem::take(&mut state.watchers) } else { Vec::new() };
                    state.watchers.push(waker.clone());
                    drop(state);
                    // A task that still watches registers again when it is woken.
                    ring(None, watchers, None);
                }
                Poll::Pending
            }
            got => Poll::Ready(got),
        }
    }

    /// Waits in the line. Cancel safe: dropping the future passes its item on.
    pub(crate) fn wait(&self) -> Wait<'_, I> {
        Wait { fair_queue: self, ticket: None }
    }

    /// Ends the queue. Items that are in it can still be taken.
    pub(crate) fn finish(&self) {
        self.end(false);
    }

    /// Does the same as [`FairQueue::finish`], and drops the items.
    pub(crate) fn close(&self) {
        self.end(true);
    }

    /// Wakes all waiters, so that they check their conditions.
    pub(crate) fn poke(&self) {
        let mut state = self.lock();
        let (line, watchers) = (std::mem::take(&mut state.line), std::mem::take(&mut state.watchers));
        drop(state);
        ring(line.into_iter().map(|(_, waker)| waker), watchers, None);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().items.len()
    }

    /// Sets the hook, unless there is one. Returns the number of items that are in the queue
    /// already. The hook is not called for them. `None` if there is a hook already.
    pub(crate) fn set_hook(&self, hook: Hook) -> Option<usize> {
        let mut state = self.lock();
        if state.hook.is_some() {
            return None;
        }
        state.hook = Some(hook);
        // The end counts as an item, because the hook would be called for it too.
        Some(state.items.len() + usize::from(state.closed))
    }

    pub(crate) fn clear_hook(&self) {
        let hook = self.lock().hook.take();
        drop(hook);
    }

    fn end(&self, discard: bool) {
        let mut state = self.lock();
        state.closed = true;
        let discarded = if discard { std::mem::take(&mut state.items) } else { VecDeque::new() };
        // The waiters keep their places. There may be items for some of them.
        let line: Vec<Waker> = state.line.iter().map(|(_, waker)| waker.clone()).collect();
        let watchers = std::mem::take(&mut state.watchers);
        let hook = state.hook.clone();
        drop(state);
        drop(discarded);
        ring(line, watchers, hook);
    }

    fn poll_line(&self, ticket: &mut Option<u64>, waker: &Waker) -> Poll<Got<I>> {
        let mut state = self.lock();
        let place = match *ticket {
            Some(ticket) => match state.line.binary_search_by_key(&ticket, |(ticket, _)| *ticket) {
                Ok(place) => place,
                Err(_) => return Poll::Ready(Got::Poked),
            },
            None => state.line.len(),
        };
        let got = match state.items.remove(place) {
            Some(item) => Got::Item(item),
            None if state.closed => Got::Closed,
            None => {
                if let Some((_, known)) = state.line.get_mut(place) {
                    known.clone_from(waker);
                } else {
                    let new = state.next_ticket;
                    state.next_ticket += 1;
                    state.line.push_back((new, waker.clone()));
                    *ticket = Some(new);
                }
                return Poll::Pending;
            }
        };
        state.line.remove(place);
        Poll::Ready(got)
    }

    /// Removes a waiter from the line.
    fn leave(&self, ticket: u64) {
        let mut state = self.lock();
        let Ok(place) = state.line.binary_search_by_key(&ticket, |(ticket, _)| *ticket) else {
            return;
        };
        state.line.remove(place);
        if place >= state.items.len() {
            return;
        }
        // One item now belongs to another waiter, or to none.
        let next = state.line.get(state.items.len() - 1).map(|(_, waker)| waker.clone());
        let watchers = std::mem::take(&mut state.watchers);
        let hook = if next.is_none() { state.hook.clone() } else { None };
        drop(state);
        ring(next, watchers, hook);
    }

    fn lock(&self) -> MutexGuard<'_, State<I>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn take_unclaimed<I>(state: &mut State<I>) -> Got<I> {
    match state.items.remove(state.line.len()) {
        Some(item) => Got::Item(item),
        None if state.closed => Got::Closed,
        None => Got::Poked,
    }
}

fn ring(line: impl IntoIterator<Item = Waker>, watchers: Vec<Waker>, hook: Option<Hook>) {
    line.into_iter().chain(watchers).for_each(Waker::wake);
    if let Some(hook) = hook {
        hook();
    }
}

/// A waiter in the line. See [`FairQueue::wait`].
pub(crate) struct Wait<'a, I> {
    fair_queue: &'a FairQueue<I>,
    ticket: Option<u64>,
}

impl<I> Future for Wait<'_, I> {
    type Output = Got<I>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Got<I>> {
        let fair_queue = self.fair_queue;
        let poll = fair_queue.poll_line(&mut self.ticket, cx.waker());
        if poll.is_ready() {
            self.ticket = None;
        }
        poll
    }
}

impl<I> Drop for Wait<'_, I> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.fair_queue.leave(ticket);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use proptest::prelude::*;

    use super::*;
    use crate::sys::blocking::block_on;

    /// Counts how often it was woken.
    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    type Waiter<'a> = (Wait<'a, u32>, Arc<Count>);

    fn waiter(fair_queue: &FairQueue<u32>) -> Waiter<'_> {
        let mut waiter = (fair_queue.wait(), Arc::default());
        assert_eq!(poll(&mut waiter), Poll::Pending);
        waiter
    }

    fn poll((wait, count): &mut Waiter<'_>) -> Poll<Got<u32>> {
        Pin::new(wait).poll(&mut TaskContext::from_waker(&Waker::from(Arc::clone(count))))
    }

    fn woken((_, count): &Waiter<'_>) -> usize {
        count.0.load(Ordering::SeqCst)
    }

    #[test]
    fn five_waiters_are_served_in_the_order_in_which_they_came() {
        let fair_queue = FairQueue::default();
        let mut waiters: Vec<_> = (0..5).map(|_| waiter(&fair_queue)).collect();
        for item in 0..5 {
            fair_queue.put(item).unwrap();
        }
        // The item belongs to the waiter, even if another one asks before it wakes up.
        assert_eq!(fair_queue.try_take(), Got::Poked);
        for place in [3, 0, 4, 2, 1] {
            assert_eq!(woken(&waiters[place]), 1);
            assert_eq!(poll(&mut waiters[place]), Poll::Ready(Got::Item(place as u32)));
        }
        assert_eq!(fair_queue.len(), 0);
    }

    #[test]
    fn closing_wakes_all_five_and_throws_away_what_is_there() {
        let fair_queue = FairQueue::default();
        let mut waiters: Vec<_> = (0..5).map(|_| waiter(&fair_queue)).collect();
        fair_queue.put(1).unwrap();
        fair_queue.close();
        fair_queue.close();
        for waiter in &mut waiters {
            assert!(woken(waiter) > 0);
            assert_eq!(poll(waiter), Poll::Ready(Got::Closed));
        }
        assert_eq!(fair_queue.put(2), Err(2));
        assert_eq!((fair_queue.try_take(), fair_queue.len()), (Got::Closed, 0));
    }

    #[test]
    fn what_is_finished_can_still_be_taken() {
        let fair_queue = FairQueue::default();
        fair_queue.put(1).unwrap();
        fair_queue.finish();
        assert_eq!([fair_queue.try_take(), fair_queue.try_take()], [Got::Item(1), Got::Closed]);
    }

    #[test]
    fn who_gives_up_his_place_passes_on_what_he_was_owed() {
        let fair_queue = FairQueue::default();
        let (first, mut second) = (waiter(&fair_queue), waiter(&fair_queue));
        fair_queue.put(7).unwrap();
        assert_eq!((woken(&first), woken(&second)), (1, 0));
        drop(first);
        assert_eq!(woken(&second), 1);
        assert_eq!(poll(&mut second), Poll::Ready(Got::Item(7)));
    }

    #[test]
    fn the_hook_hears_of_every_item_and_of_the_end() {
        let fair_queue = FairQueue::default();
        fair_queue.put(0).unwrap();
        let count = Arc::new(Count::default());
        let heard = Arc::clone(&count);
        assert_eq!(fair_queue.set_hook(Arc::new(move || heard.clone().wake())), Some(1));
        assert_eq!(fair_queue.set_hook(Arc::new(|| {})), None);
        fair_queue.put(1).unwrap();
        fair_queue.finish();
        assert_eq!(count.0.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn threads_that_wait_get_each_item_once() {
        let fair_queue = FairQueue::default();
        let sum = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while let Got::Item(item) = block_on(fair_queue.wait()) {
                        sum.fetch_add(item, Ordering::SeqCst);
                    }
                });
            }
            (1..=1000).for_each(|item| fair_queue.put(item).unwrap());
            fair_queue.finish();
        });
        assert_eq!(sum.into_inner(), 500_500);
    }

    proptest! {
        /// In every order of putting, waiting, leaving and taking, each item is taken once, the
        /// waiters get theirs in the order of the line, and no waiter sleeps while an item is its
        /// own.
        #[test]
        fn nothing_is_lost_and_nobody_sleeps_beside_his_item(steps in prop::collection::vec((0u8..5, 0usize..4), 1..80)) {
            let fair_queue = FairQueue::default();
            let mut line: Vec<Waiter<'_>> = Vec::new();
            let (mut put, mut taken) = (0, Vec::new());
            for (step, which) in steps {
                match step {
                    0 | 1 => {
                        fair_queue.put(put).unwrap();
                        put += 1;
                    }
                    2 => {
                        let mut new = (fair_queue.wait(), Arc::default());
                        match poll(&mut new) {
                            Poll::Ready(Got::Item(item)) => taken.push(item),
                            _ => line.push(new),
                        }
                    }
                    3 if which < line.len() => drop(line.remove(which)),
                    _ if which < line.len() => {
                        let before = fair_queue.len();
                        if let Poll::Ready(Got::Item(item)) = poll(&mut line[which]) {
                            prop_assert!(which < before);
                            taken.push(item);
                            line.remove(which);
                        }
                    }
                    _ => {}
                }
                for waiter in line.iter().take(fair_queue.len()) {
                    prop_assert!(woken(waiter) > 0);
                }
            }
            while let Got::Item(item) = { line.clear(); fair_queue.try_take() } {
                taken.push(item);
            }
            taken.sort_unstable();
            prop_assert_eq!(taken, (0..put).collect::<Vec<_>>());
        }
    }
}
