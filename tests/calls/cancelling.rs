//! Deadlines, and calls that nobody waits for any more.

use std::time::{Duration, Instant};

use offshoot::{Econtext, Error, Receiver, Sender, export};

use super::{Tree, block, block_on, pid};

/// Says when it is dropped.
struct Tell(Sender<String>, &'static str);

impl Drop for Tell {
    fn drop(&mut self) {
        drop(self.0.send(self.1.to_owned()));
    }
}

async fn wait_for_ever(to: Sender<String>) {
    // Before it says so: who hears it may cancel at once.
    let _tell = Tell(to.clone(), "dropped");
    to.send("begun".into()).await.ok();
    std::future::pending::<()>().await;
}
export!(wait_for_ever);

fn spin_until_cancelled(econtext: &Econtext, to: Sender<String>) {
    to.blocking_send("begun".into()).ok();
    while !econtext.is_cancelled() {
        std::thread::sleep(Duration::from_millis(1));
    }
    to.blocking_send("stopped".into()).ok();
}
export!(spin_until_cancelled);

fn say(to: Sender<String>, text: String) {
    to.blocking_send(text).ok();
}
export!(say);

async fn deadline_of(econtext: &Econtext) -> Option<Duration> {
    econtext.deadline().map(|when| when.saturating_duration_since(Instant::now()))
}
export!(deadline_of);

#[test]
fn a_dropped_call_ends_an_async_function_at_its_next_await() {
    let tree = Tree::new();
    let grandchild = tree.behind(&tree.child());
    let heard: Receiver<String> = Receiver::new(&tree.0);
    let call = grandchild.call(wait_for_ever, (heard.sender(),));
    assert_eq!(heard.blocking_recv().unwrap(), "begun");
    drop(call);
    assert_eq!(heard.blocking_recv().unwrap(), "dropped");
    assert!(grandchild.blocking_call(pid, ()).is_ok());
}

#[test]
fn a_blocking_function_sees_that_it_is_cancelled() {
    let tree = Tree::new();
    let child = tree.child();
    let heard: Receiver<String> = Receiver::new(&tree.0);
    let call = child.call(spin_until_cancelled, (heard.sender(),));
    assert_eq!(heard.blocking_recv().unwrap(), "begun");
    drop(call);
    assert_eq!(heard.blocking_recv().unwrap(), "stopped");
}

#[test]
fn a_queued_call_that_is_dropped_never_runs() {
    let tree = Tree::new();
    let child = tree.child();
    let heard: Receiver<String> = Receiver::new(&tree.0);
    let first = child.call(spin_until_cancelled, (heard.sender(),));
    assert_eq!(heard.blocking_recv().unwrap(), "begun");
    let second = child.call(say, (heard.sender(), "must not run".into()));
    let third = child.call(say, (heard.sender(), "third".into()));
    drop(second);
    drop(first);
    assert_eq!(heard.blocking_recv().unwrap(), "stopped");
    assert_eq!(heard.blocking_recv().unwrap(), "third");
    block_on(third).unwrap();
    assert!(heard.is_empty());
}

#[test]
fn to_drop_many_calls_takes_no_longer_than_to_make_them() {
    let tree = Tree::new();
    let child = tree.child();
    let many = || (0..60_000).map(|_| child.call(pid, ())).collect::<Vec<_>>();
    let start = Instant::now();
    for call in many() {
        block_on(call).unwrap();
    }
    let answered = start.elapsed();
    let start = Instant::now();
    drop(many());
    child.blocking_call(pid, ()).unwrap();
    let dropped = start.elapsed();
    assert!(dropped < 2 * answered, "{dropped:?}, and {answered:?} for as many that were answered");
}

static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

fn count() -> u32 {
    COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}
export!(count);

#[test]
fn of_many_calls_that_are_dropped_while_they_wait_none_runs() {
    let tree = Tree::new();
    let child = tree.behind(&tree.child());
    let busy = child.call(block, (1,));
    for _ in 0..5 {
        // As many as may be under way. On the way, their cancellations overtake them.
        drop((0..1000).map(|_| child.call(count, ())).collect::<Vec<_>>());
    }
    block_on(busy).unwrap();
    assert_eq!(child.blocking_call(count, ()).unwrap(), 0);
}

#[test]
fn a_timeout_is_answered_in_time_whether_the_work_can_be_stopped_or_not() {
    let tree = Tree::new();
    let child = tree.child();
    let start = Instant::now();
    let error = child.timeout(Duration::from_millis(200)).blocking_call(block, (2,)).unwrap_err();
    assert!(matches!(error, Error::Timeout { after, .. } if after == Duration::from_millis(200)), "{error:?}");
    assert!(error.to_string().contains("block"), "{error}");
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(200) && took < Duration::from_millis(1500), "{took:?}");
}

/// It notices that its time is up, and returns at once.
fn until_the_deadline(econtext: &Econtext) -> String {
    while !econtext.is_cancelled() {
        std::thread::sleep(Duration::from_micros(50));
    }
    "just managed".into()
}
export!(until_the_deadline);

#[test]
fn what_a_function_returns_after_its_time_is_thrown_away() {
    let tree = Tree::new();
    let child = tree.child();
    for _ in 0..20 {
        let result = child.timeout(Duration::from_millis(10)).blocking_call(until_the_deadline, ());
        assert!(matches!(result, Err(Error::Timeout { .. })), "{result:?}");
    }
}

#[test]
fn the_time_left_travels_with_the_call() {
    let tree = Tree::new();
    let child = tree.child();
    let grandchild = tree.behind(&child);
    let limit = Duration::from_secs(60);
    for context in [&child, &grandchild] {
        let left = context.timeout(limit).blocking_call(deadline_of, ()).unwrap().unwrap();
        assert!(left <= limit && left > limit / 2, "{left:?}");
        assert_eq!(context.blocking_call(deadline_of, ()).unwrap(), None);
    }
}

#[test]
fn a_detached_call_runs_on() {
    let tree = Tree::new();
    let child = tree.child();
    let heard: Receiver<String> = Receiver::new(&tree.0);
    child.call(say, (heard.sender(), "done".into())).detach();
    assert_eq!(heard.blocking_recv().unwrap(), "done");
}

#[test]
fn a_call_without_reply_runs_in_its_turn() {
    let tree = Tree::new();
    let child = tree.child();
    let heard: Receiver<String> = Receiver::new(&tree.0);
    for round in 0..3 {
        child.call_no_reply(say, (heard.sender(), round.to_string())).unwrap();
    }
    for round in 0..3 {
        assert_eq!(heard.blocking_recv().unwrap(), round.to_string());
    }
}

#[test]
fn a_late_value_can_still_be_received_after_a_timeout() {
    let tree = Tree::new();
    let child = tree.child();
    let heard: Receiver<String> = Receiver::new(&tree.0);
    let short = Duration::from_millis(50);
    let error = block_on(heard.recv_timeout(short)).unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }));
    child.call(say, (heard.sender(), "late".into())).detach();
    assert_eq!(block_on(heard.recv_timeout(Duration::from_secs(10))).unwrap(), "late");
}
