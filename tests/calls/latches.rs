//! Queues of values that stay in the process, alone and as members of a select.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use offshoot::error::Closed;
use offshoot::select::{Latch, Member};
use offshoot::{Error, Receiver, Select};

use super::{Tree, block_on, eventually, pid};

const SHORT: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(20);

/// Cannot be sent to another process.
#[derive(Debug)]
struct Local(Arc<AtomicU32>);

#[test]
fn five_threads_are_served_in_the_order_in_which_they_came() {
    let tree = Tree::new();
    let latch = Latch::new(&tree.0);
    std::thread::scope(|scope| {
        let mut waiting = Vec::new();
        for _ in 0..5 {
            waiting.push(scope.spawn(|| latch.blocking_recv().unwrap()));
            std::thread::sleep(SHORT);
        }
        for number in 0..5 {
            latch.put(number).unwrap();
        }
        let got: Vec<i32> = waiting.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert_eq!(got, [0, 1, 2, 3, 4]);
    });
}

#[test]
fn a_latch_that_is_closed_wakes_all_and_drops_what_it_holds() {
    let tree = Tree::new();
    let (latch, count) = (Latch::new(&tree.0), Arc::new(AtomicU32::new(0)));
    latch.put(Local(Arc::clone(&count))).unwrap();
    latch.blocking_recv().unwrap().0.fetch_add(1, Ordering::SeqCst);
    assert_eq!(count.load(Ordering::SeqCst), 1, "the value is the same one");
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..5).map(|_| scope.spawn(|| latch.blocking_recv().unwrap_err())).collect();
        std::thread::sleep(SHORT);
        latch.close();
        latch.close();
        for thread in waiting {
            assert_eq!(thread.join().unwrap(), Error::Closed(Closed::Latch));
        }
    });
    let full = Latch::new(&tree.0);
    full.put(Local(Arc::clone(&count))).unwrap();
    full.close();
    assert_eq!((Arc::strong_count(&count), full.len()), (1, 0));
    for error in [full.put(Local(count)).unwrap_err(), full.try_recv().unwrap_err(), block_on(full.recv()).unwrap_err()]
    {
        assert_eq!(error, Error::Closed(Closed::Latch));
    }
}

#[test]
fn a_wait_for_a_latch_ends_in_time_and_takes_nothing() {
    let tree = Tree::new();
    let latch = Latch::new(&tree.0);
    for (limit, blocking) in [(Duration::ZERO, true), (SHORT, true), (Duration::ZERO, false), (SHORT, false)] {
        let begun = Instant::now();
        let wait = latch.recv_timeout(limit);
        let late = if blocking { latch.blocking_recv_timeout(limit) } else { block_on(wait) };
        assert!(matches!(late, Err(Error::Timeout { after, .. }) if after == limit), "{late:?}");
        assert!(begun.elapsed() >= limit && begun.elapsed() < LONG);
    }
    assert_eq!(latch.try_recv().unwrap(), None);
    latch.put(7).unwrap();
    assert_eq!((latch.len(), block_on(latch.recv_timeout(LONG)).unwrap(), latch.is_empty()), (1, 7, true));
    tree.0.blocking_shutdown();
    latch.put(8).unwrap();
    assert_eq!(latch.blocking_recv().unwrap(), 8, "it outlives the router");
}

#[test]
fn notify_is_called_where_the_value_is_put() {
    let tree = Tree::new();
    let latch = Latch::new(&tree.0);
    latch.put(1).unwrap();
    let threads = Arc::new(std::sync::Mutex::new(Vec::new()));
    let heard = Arc::clone(&threads);
    latch.notify(move || heard.lock().unwrap().push(std::thread::current().id())).unwrap();
    let other = std::thread::scope(|scope| {
        let putting = scope.spawn(|| {
            latch.put(2).unwrap();
            std::thread::current().id()
        });
        putting.join().unwrap()
    });
    latch.close();
    let here = std::thread::current().id();
    assert_eq!(*threads.lock().unwrap(), [here, other, here]);
    assert!(matches!(latch.notify(|| {}), Err(Error::Select(_))));
    assert!(matches!(Select::new().add(&latch), Err(Error::Select(_))));
}

#[test]
fn a_latch_is_a_member_of_a_select_beside_calls_and_receivers() {
    let tree = Tree::new();
    let child = tree.child();
    let (latch, receiver) = (Latch::new(&tree.0), Receiver::<u32>::new(&tree.0));
    latch.put(1).unwrap();
    latch.put(2).unwrap();
    let select = Select::new().oneshot(false);
    let local = select.add(&latch).unwrap();
    assert!(matches!(Select::new().add(&latch), Err(Error::Select(_))), "it has an owner");
    assert_eq!(select.waiting(), 2);
    assert_eq!([select.blocking_recv().unwrap(), select.blocking_recv().unwrap()], [(local, 1), (local, 2)]);
    assert_eq!(select.try_recv().unwrap(), None);
    assert!(matches!(block_on(select.recv_timeout(SHORT)), Err(Error::Timeout { .. })), "a latch has a clock");
    let far = select.add(&receiver).unwrap();
    let call = select.add(child.call(pid, ())).unwrap();
    assert_eq!(select.blocking_recv().unwrap().0, call);
    receiver.sender().blocking_send(3).unwrap();
    assert_eq!(select.blocking_recv().unwrap(), (far, 3));
    std::thread::scope(|scope| {
        let sleeping = scope.spawn(|| select.blocking_recv().unwrap());
        std::thread::sleep(SHORT);
        latch.put(4).unwrap();
        assert_eq!(sleeping.join().unwrap(), (local, 4));
    });
    latch.close();
    let event = select.blocking_recv_event().unwrap();
    assert_eq!((event.member, event.value), (local, Err(Error::Closed(Closed::Latch))));
    assert_eq!(select.members(), 1, "it has left, the receiver has not");
}

#[test]
fn a_latch_in_a_nested_select_rings_the_outer_one_and_comes_back_with_what_it_holds() {
    let tree = Tree::new();
    let (latch, inner, outer) = (Latch::new(&tree.0), Select::new(), Select::new().oneshot(false));
    let below = inner.add(&latch).unwrap();
    let direct = outer.add(&inner).unwrap();
    latch.put(5).unwrap();
    let event = outer.blocking_recv_event().unwrap();
    assert_eq!((event.member, event.source, event.value.unwrap()), (direct, below, 5));
    let back = inner.add(latch.clone()).unwrap();
    latch.put(6).unwrap();
    eventually("the value", || outer.waiting() == 1);
    let Member::Latch(held) = inner.remove(back).unwrap() else { panic!("another member") };
    assert_eq!(held.try_recv().unwrap(), Some(6));
    assert_eq!(
        Select::blocking_all([{
            latch.put(7).unwrap();
            &latch
        }])
        .unwrap(),
        [7]
    );
}
