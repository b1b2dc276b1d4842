//! Waiting for whichever of several comes first.

use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use offshoot::error::Closed;
use offshoot::select::Member;
use offshoot::{Error, Receiver, Select, Sender, export};

use super::{Tree, at_best, block_on, eventually, pid};

const SHORT: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(20);

fn after(millis: u64, value: u32) -> Result<u32, String> {
    std::thread::sleep(Duration::from_millis(millis));
    if value == 0 { Err("nothing".into()) } else { Ok(value) }
}
export!(concurrent after);

fn tell_when_gone(told: Sender<u32>) -> u32 {
    struct Tell(Sender<u32>);
    impl Drop for Tell {
        fn drop(&mut self) {
            self.0.blocking_send(1).ok();
        }
    }
    let _tell = Tell(told);
    std::thread::sleep(SHORT);
    1
}
export!(tell_when_gone);

async fn wait_until_cancelled(begun: Sender<u32>) -> Result<u32, Error> {
    struct Tell(Sender<u32>);
    impl Drop for Tell {
        fn drop(&mut self) {
            drop(self.0.send(2));
        }
    }
    // Before it says so: who hears it may cancel at once.
    let _tell = Tell(begun.clone());
    begun.send(1).await?;
    std::future::pending().await
}
export!(wait_until_cancelled);

fn filled<const N: usize>(tree: &Tree, values: [u32; N]) -> Receiver<u32> {
    let receiver = Receiver::new(&tree.0);
    values.into_iter().for_each(|value| receiver.sender().blocking_send(value).unwrap());
    eventually("the values", || receiver.len() == N);
    receiver
}

#[track_caller]
fn misuse<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result {
        Err(Error::Select(text)) => text,
        other => panic!("not refused: {other:?}"),
    }
}

const EMPTY: &str = "Cannot get(), Select instance is empty";

#[test]
fn what_was_there_before_it_was_added_comes_out_once() {
    let tree = Tree::new();
    let select = Select::new().oneshot(false);
    let id = select.add(filled(&tree, [1, 2])).unwrap();
    assert_eq!(select.waiting(), 2);
    assert_eq!([select.blocking_recv().unwrap(), select.blocking_recv().unwrap()], [(id, 1), (id, 2)]);
    assert_eq!(select.try_recv().unwrap(), None);
    assert!(matches!(select.blocking_recv_timeout(Duration::ZERO), Err(Error::Timeout { .. })));
}

#[test]
fn a_member_leaves_with_its_value_unless_it_is_to_stay() {
    let tree = Tree::new();
    let (once, often) = (Select::new(), Select::new().oneshot(false));
    once.add(filled(&tree, [1, 2])).unwrap();
    often.add(filled(&tree, [1, 2])).unwrap();
    once.blocking_recv().unwrap();
    often.blocking_recv().unwrap();
    assert!(once.is_empty() && !often.is_empty());
    assert_eq!(misuse(once.blocking_recv()), EMPTY);
    assert_eq!(often.blocking_recv().unwrap().1, 2);
}

#[test]
fn an_empty_select_has_nothing_to_wait_for() {
    let select: Select<u32> = Select::new();
    assert_eq!(misuse(select.blocking_recv()), EMPTY);
    assert_eq!(misuse(select.blocking_recv_timeout(LONG)), EMPTY);
    assert_eq!(misuse(block_on(select.recv_timeout(LONG))), EMPTY);
    assert_eq!(misuse(select.try_recv()), EMPTY);
    assert_eq!(misuse(select.blocking_recv_event()), EMPTY);
}

#[test]
fn timeouts_end_in_time() {
    let tree = Tree::new();
    let select = Select::new();
    select.add(filled(&tree, [])).unwrap();
    for limit in [Duration::ZERO, 2 * SHORT] {
        for blocking in [true, false] {
            let took = at_best(|| {
                let start = Instant::now();
                let result =
                    if blocking { select.blocking_recv_timeout(limit) } else { block_on(select.recv_timeout(limit)) };
                assert!(matches!(result, Err(Error::Timeout { after, .. }) if after == limit), "{result:?}");
                assert!(start.elapsed() >= limit);
                start.elapsed()
            });
            assert!(took < limit + Duration::from_millis(50), "{took:?}");
        }
    }
}

#[test]
fn what_was_taken_elsewhere_does_not_come_out() {
    let tree = Tree::new();
    let receiver = filled(&tree, [1]);
    let select = Select::new();
    select.add(&receiver).unwrap();
    assert_eq!(receiver.blocking_recv().unwrap(), 1);
    assert!(matches!(select.blocking_recv_timeout(SHORT), Err(Error::Timeout { .. })));
    receiver.sender().blocking_send(2).unwrap();
    assert_eq!(select.blocking_recv().unwrap().1, 2);
}

#[test]
fn all_gives_the_values_in_the_order_in_which_they_come() {
    let tree = Tree::new();
    let child = tree.child();
    let calls = [300, 1, 150].map(|millis| child.call(after, (millis, u32::try_from(millis).unwrap())));
    assert_eq!(Select::blocking_all(calls).unwrap(), [1, 150, 300]);
    // Members of all kinds.
    let inner = Select::new();
    inner.add(child.call(after, (SHORT.as_millis() as u64, 2))).unwrap();
    let members: [Member<u32>; 2] = [filled(&tree, [1]).into(), inner.into()];
    assert_eq!(Select::blocking_all(members).unwrap(), [1, 2]);
    assert!(Select::<u32>::blocking_all::<Member<u32>>([]).unwrap().is_empty());
}

#[test]
fn the_first_error_ends_all_and_cancels_the_rest() {
    let tree = Tree::new();
    let child = tree.child();
    let begun: Receiver<u32> = Receiver::new(&tree.0);
    let slow = child.call(wait_until_cancelled, (begun.sender(),));
    assert_eq!(begun.blocking_recv().unwrap(), 1);
    let error = Select::blocking_all([slow, child.call(after, (1, 0))]).unwrap_err();
    assert!(matches!(&error, Error::Call(error) if error.message == "nothing"), "{error:?}");
    assert_eq!(begun.blocking_recv().unwrap(), 2, "the other was cancelled");
}

#[test]
fn an_event_tells_which_member_has_failed() {
    let tree = Tree::new();
    let child = tree.child();
    let select = Select::new();
    let bad = select.add(child.call(after, (1, 0))).unwrap();
    let good = select.add(child.call(after, (200, 7))).unwrap();
    let event = select.blocking_recv_event().unwrap();
    assert_eq!((event.member, event.source), (bad, bad));
    assert!(matches!(event.value, Err(Error::Call(_))));
    assert!(select.try_recv_event().unwrap().is_none());
    assert!(select.blocking_recv_event_timeout(Duration::from_millis(1)).unwrap_err().is_timeout());
    let event = offshoot::block_on(select.recv_event_timeout(Duration::from_secs(60))).unwrap();
    assert_eq!((event.source, event.value.unwrap()), (good, 7));
    assert!(select.is_empty());
}

#[test]
fn a_nested_select_passes_on_what_comes_and_from_whom() {
    let tree = Tree::new();
    let child = tree.child();
    let (inner, middle, outer) = (Select::new(), Select::new().oneshot(false), Select::new().oneshot(false));
    let middle_id = outer.add(&middle).unwrap();
    middle.add(&inner).unwrap();
    let call = inner.add(child.call(after, (20, 5))).unwrap();
    let direct = outer.add(filled(&tree, [1])).unwrap();
    assert_eq!(outer.blocking_recv().unwrap(), (direct, 1));
    let event = outer.blocking_recv_event().unwrap();
    assert_eq!((event.member, event.source, event.value.unwrap()), (middle_id, call, 5));
    assert!(inner.is_empty() && !middle.is_empty());
    // A sub-select can be used by itself, too.
    inner.add(filled(&tree, [9])).unwrap();
    assert_eq!(inner.blocking_recv().unwrap().1, 9);
    assert_eq!(outer.try_recv().unwrap(), None);
}

#[test]
fn neither_cycles_nor_two_owners_are_possible() {
    const CYCLE: &str = "Adding this Select instance would create a Select cycle";
    let tree = Tree::new();
    let (a, b, c) = (Select::<u32>::new(), Select::new(), Select::new());
    assert_eq!(misuse(a.add(&a)), CYCLE);
    let b_in_a = a.add(&b).unwrap();
    b.add(&c).unwrap();
    assert_eq!(misuse(b.add(&a)), CYCLE);
    assert_eq!(misuse(c.add(&a)), CYCLE);
    assert!(misuse(Select::new().add(&c)).contains("already owned"));
    let receiver = filled(&tree, []);
    let id = c.add(&receiver).unwrap();
    assert_eq!(misuse(b.add(&receiver)), "Cannot add: Receiver is already owned by another Select");
    assert_eq!(misuse(c.add(&receiver)), "Cannot add: Receiver is already owned by another Select");
    assert_eq!((b.members(), c.members()), (1, 1), "what was refused is no member");
    // Once it has left it may go elsewhere.
    c.remove(id).unwrap();
    b.add(&receiver).unwrap();
    a.remove(b_in_a).unwrap();
    c.add(&a).unwrap();
    // With its last clone a select lets its members go.
    drop((a, b, c));
    Select::new().add(&receiver).unwrap();
    let rung: Receiver<u32> = Receiver::builder(&tree.0).notify(|| {}).build().unwrap();
    assert!(misuse(Select::new().add(&rung)).contains("already owned"));
}

#[test]
fn two_threads_cannot_close_a_cycle_between_them() {
    for _ in 0..200 {
        let (a, b) = (Select::<u32>::new(), Select::<u32>::new());
        let added = std::thread::scope(|scope| {
            let one = scope.spawn(|| a.add(&b).is_ok());
            let two = scope.spawn(|| b.add(&a).is_ok());
            (one.join().unwrap(), two.join().unwrap())
        });
        assert!(added.0 != added.1, "{added:?}");
    }
}

#[test]
fn a_member_is_given_back_with_what_it_holds() {
    let tree = Tree::new();
    let child = tree.child();
    let select = Select::new();
    let receiver = select.add(filled(&tree, [1, 2])).unwrap();
    let call = select.add(child.call(after, (1, 3))).unwrap();
    eventually("the result", || select.waiting() == 3);
    let Member::Receiver(receiver_back) = select.remove(receiver).unwrap() else { panic!("another member") };
    let Member::Call(call_back) = select.remove(call).unwrap() else { panic!("another member") };
    assert_eq!((receiver_back.blocking_recv().unwrap(), call_back.blocking_recv().unwrap()), (1, 3));
    assert_eq!(misuse(select.remove(call)), "Instance is not a member of this Select");
    assert_eq!(misuse(select.blocking_recv()), EMPTY, "nobody is left behind");
}

#[test]
fn closing_wakes_who_sleeps_and_later_ones_find_it_empty() {
    let tree = Tree::new();
    let receiver = filled(&tree, []);
    let select = Select::new();
    select.add(&receiver).unwrap();
    std::thread::scope(|scope| {
        let sleeping: Vec<_> = (0..3).map(|_| scope.spawn(|| select.blocking_recv().unwrap_err())).collect();
        std::thread::sleep(SHORT);
        select.close();
        for thread in sleeping {
            assert_eq!(thread.join().unwrap(), Error::Closed(Closed::Select));
        }
    });
    assert_eq!(misuse(select.blocking_recv()), EMPTY);
    assert!(matches!(select.add(&receiver), Err(Error::Closed(_))));
    Select::new().add(&receiver).unwrap();
}

#[test]
fn who_sleeps_learns_that_the_last_member_has_left() {
    let tree = Tree::new();
    let select = Select::new();
    let id = select.add(filled(&tree, [])).unwrap();
    std::thread::scope(|scope| {
        let sleeping: Vec<_> = (0..3).map(|_| scope.spawn(|| misuse(select.blocking_recv()))).collect();
        std::thread::sleep(SHORT);
        select.remove(id).unwrap();
        for thread in sleeping {
            assert_eq!(thread.join().unwrap(), EMPTY);
        }
    });
}

#[test]
fn a_receiver_that_is_closed_leaves_with_an_error() {
    let tree = Tree::new();
    let receiver = filled(&tree, []);
    let select = Select::new().oneshot(false);
    let id = select.add(&receiver).unwrap();
    receiver.sender().close();
    let event = select.blocking_recv_event().unwrap();
    assert!(matches!(event.value, Err(Error::Channel(_))) && select.members() == 1, "it may go on");
    receiver.close();
    let event = select.blocking_recv_event().unwrap();
    assert!(event.member == id && matches!(event.value, Err(Error::Closed(_))));
    assert_eq!(misuse(select.blocking_recv()), EMPTY);
}

#[test]
fn dropping_a_select_cancels_its_calls() {
    let tree = Tree::new();
    let child = tree.child();
    let begun: Receiver<u32> = Receiver::new(&tree.0);
    let select = Select::new();
    select.add(child.call(wait_until_cancelled, (begun.sender(),))).unwrap();
    assert_eq!(begun.blocking_recv().unwrap(), 1);
    drop(select);
    assert_eq!(begun.blocking_recv().unwrap(), 2);
    assert_eq!(child.blocking_call(tell_when_gone, (begun.sender(),)).unwrap(), 1);
}

#[test]
fn several_threads_and_tasks_share_a_select() {
    let tree = Tree::new();
    let child = tree.child();
    let select = Select::new().oneshot(false);
    let receivers: Vec<Receiver<u32>> = (0..4).map(|_| filled(&tree, [])).collect();
    for receiver in &receivers {
        select.add(receiver).unwrap();
    }
    let sum = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (select, sum) = (&select, &sum);
            scope.spawn(move || {
                loop {
                    let next = if thread % 2 == 0 { select.blocking_recv() } else { block_on(select.recv()) };
                    match next {
                        Ok((_, number)) => sum.fetch_add(number, Ordering::SeqCst),
                        Err(_) => return,
                    };
                }
            });
        }
        for round in 0..50 {
            select.add(child.call(after, (0, 1))).unwrap();
            receivers.iter().for_each(|receiver| receiver.sender().blocking_send(round).unwrap());
        }
        eventually("the sum", || sum.load(Ordering::SeqCst) == 4 * 1225 + 50);
        select.close();
    });
}

#[test]
fn a_select_is_a_stream_that_ends_with_its_members() {
    let tree = Tree::new();
    let child = tree.child();
    let mut select = Select::new();
    select.add(filled(&tree, [1])).unwrap();
    select.add(child.call(after, (50, 2))).unwrap();
    let mut next = || {
        block_on(std::future::poll_fn(|cx| {
            futures_core::Stream::poll_next(std::pin::Pin::new(&mut select), cx).map(|next| next.map(Result::unwrap))
        }))
    };
    assert_eq!(next().unwrap().1, 1);
    assert_eq!(next().unwrap().1, 2);
    assert!(next().is_none());
}

#[test]
fn a_wait_that_is_given_up_costs_no_value() {
    let tree = Tree::new();
    let receiver = filled(&tree, []);
    let select = Select::new().oneshot(false);
    select.add(&receiver).unwrap();
    for number in 0..100 {
        let mut wait = Box::pin(select.recv());
        block_on(std::future::poll_fn(|cx| {
            assert!(wait.as_mut().poll(cx).is_pending());
            std::task::Poll::Ready(())
        }));
        receiver.sender().blocking_send(number).unwrap();
        drop(wait);
        assert_eq!(select.blocking_recv_timeout(LONG).unwrap().1, number);
    }
}

#[test]
fn a_select_can_be_collected_and_iterated() {
    let tree = Tree::new();
    let child = tree.child();
    let calls: Select<u32> = (0..3).map(|_| child.call(pid, ())).collect();
    let pids: Result<Vec<_>, Error> = calls.iter().collect();
    let process = child.blocking_call(pid, ()).unwrap();
    assert!(pids.unwrap().iter().all(|(_, pid)| *pid == process));
    assert!(calls.is_empty() && calls.iter().next().is_none());
}

#[test]
fn a_member_that_cannot_be_collected_gives_why() {
    let tree = Tree::new();
    let receiver: Receiver<u32> = Receiver::new(&tree.0);
    receiver.sender().blocking_send(1).unwrap();
    let select: Select<u32> = [&receiver, &receiver].into_iter().collect();
    let mut items: Vec<_> = select.iter().map(|item| item.map(|(_, value)| value)).collect();
    items.sort_by_key(Result::is_err);
    assert!(matches!(&items[..], [Ok(1), Err(Error::Select(_))]), "{items:?}");
}

#[test]
fn a_channel_is_a_member_by_its_receiver() {
    let tree = Tree::new();
    let channel: offshoot::Channel<u32, String> =
        offshoot::Channel::new(&tree.0, &tree.0.myself(), offshoot::Handle::NONE);
    let select = Select::new();
    let member = select.add(&channel).unwrap();
    channel.receiver().sender().blocking_send(7).unwrap();
    assert_eq!(select.blocking_recv().unwrap(), (member, 7));
}

#[test]
fn what_was_in_a_nested_select_before_it_was_added_comes_out() {
    let tree = Tree::new();
    let (inner, outer) = (Select::new().oneshot(false), Select::new());
    let id = inner.add(filled(&tree, [1, 2])).unwrap();
    outer.add(&inner).unwrap();
    assert_eq!(outer.try_recv().unwrap(), Some((id, 1)));
}

#[test]
fn a_wait_for_a_nested_select_alone_ends_in_time() {
    let tree = Tree::new();
    let (inner, outer) = (Select::new(), Select::new());
    inner.add(filled(&tree, [])).unwrap();
    outer.add(&inner).unwrap();
    assert!(matches!(block_on(outer.recv_timeout(SHORT)), Err(Error::Timeout { .. })));
}

#[test]
fn a_nested_select_that_is_closed_leaves_and_one_that_was_removed_may_go_elsewhere() {
    let tree = Tree::new();
    let (inner, outer) = (Select::new(), Select::new().oneshot(false));
    inner.add(filled(&tree, [])).unwrap();
    let id = outer.add(&inner).unwrap();
    outer.remove(id).unwrap();
    let other = Select::new().oneshot(false);
    other.add(&inner).unwrap();
    inner.close();
    assert_eq!(misuse(other.try_recv()), EMPTY);
    assert!(other.is_empty());
}

#[test]
fn who_still_waits_when_the_last_member_has_given_its_value_finds_the_select_empty() {
    let tree = Tree::new();
    let receiver = filled(&tree, []);
    let select = Select::new();
    select.add(&receiver).unwrap();
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..3).map(|_| scope.spawn(|| select.blocking_recv())).collect();
        std::thread::sleep(SHORT);
        receiver.sender().blocking_send(7).unwrap();
        let results: Vec<_> = waiting.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert_eq!(results.iter().filter(|result| matches!(result, Ok((_, 7)))).count(), 1, "{results:?}");
        let empty = |result: &Result<_, Error>| matches!(result, Err(Error::Select(text)) if text == EMPTY);
        assert_eq!(results.iter().filter(|result| empty(result)).count(), 2, "{results:?}");
    });
}

#[test]
fn the_reason_why_a_member_was_not_added_comes_once_and_ends_all() {
    let tree = Tree::new();
    let receiver = filled(&tree, []);
    let select: Select<u32> = [&receiver, &receiver].into_iter().collect();
    let select = select.oneshot(false);
    assert!(misuse(select.blocking_recv()).contains("already owned"));
    assert_eq!((select.members(), select.try_recv().unwrap()), (1, None));
    drop(select);
    assert!(misuse(Select::blocking_all([&receiver, &receiver])).contains("already owned"));
}
