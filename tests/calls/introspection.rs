//! What a context is doing, for those who ask.

use std::time::Duration;

use nix::sys::signal::{Signal, kill, raise};
use nix::unistd::Pid;
use offshoot::stats::WaitsFor;
use offshoot::{Context, Econtext, Error, Receiver, Sender, export};

use super::logs::Records;
use super::{Tree, block, block_on, eventually, pid, reason};

/// Calls back into its own context, which waits for it: neither ever ends.
fn outer(econtext: &Econtext) -> Result<(), Error> {
    econtext.myself().blocking_call(inner, ())
}
export!(outer);

fn inner() {}
export!(inner);

#[test]
fn a_deadlock_shows_in_stats_and_in_the_log_on_sigusr2() {
    let tree = Tree::new();
    let records = Records::of(&tree.0);
    let hop = tree.child();
    let child = tree.behind(&hop);
    let process = Pid::from_raw(child.blocking_call(pid, ()).unwrap().try_into().unwrap());
    let _stuck = child.call(outer, ());
    let stats = || child.stats().blocking_recv().unwrap();
    eventually("the deadlock", || stats().serving.len() == 2);
    let stats = stats();
    assert_eq!((stats.context, &*stats.name, stats.pid), (child.id(), child.name(), process.as_raw().unsigned_abs()));
    let [first, second] = &stats.serving[..] else { panic!("{stats}") };
    assert!(first.running && first.function.ends_with("introspection::outer"), "{stats}");
    assert!(!second.running && second.function.ends_with("introspection::inner"), "{stats}");
    assert_eq!((first.caller.0, second.caller), (0, child.id()));
    assert!(first.age >= second.age);
    let [pending] = &stats.pending[..] else { panic!("{stats}") };
    assert_eq!((pending.context, pending.waits_for), (Some(child.id()), WaitsFor::Answer));
    assert_eq!(pending.function, second.function);
    kill(process, Signal::SIGUSR2).unwrap();
    let last = records.wait_for("offshoot::stats", "  pending: ");
    assert!(last.message.contains("introspection::inner in context"), "{last}");
    assert_eq!(last.context_name, child.name());
    let lines = records.texts("offshoot::stats");
    assert!(
        lines[0].starts_with(&format!("context {} {}, pid {process}: 1 links", child.id(), child.name())),
        "{lines:?}"
    );
    assert!(lines[1].starts_with("  link to parent 1 "), "{lines:?}");
    assert!(lines[2].starts_with("  running: ") && lines[2].contains("outer for context 0, "), "{lines:?}");
    assert!(lines[3].starts_with("  queued: ") && lines[3].contains("inner for context 2, "), "{lines:?}");
}

fn swallow(bytes: Vec<u8>) -> usize {
    bytes.len()
}
export!(swallow);

async fn tell_three(to: Sender<u8>) -> Result<(), Error> {
    for n in 0..3 {
        to.send(n).await?;
    }
    Ok(())
}
export!(tell_three);

#[test]
fn stats_tell_calls_that_wait_for_room_from_those_that_wait_for_an_answer() {
    let tree = Tree::new();
    let child = tree.child();
    let unread: Receiver<u8> = Receiver::new(&tree.0);
    child.blocking_call(tell_three, (unread.sender(),)).unwrap();
    let _blocking = child.call(block, (60,));
    // The second does not fit into the window until the first was taken.
    let _large = [1, 2].map(|n| child.call(swallow, (vec![n; 100_000],)));
    let stats = || block_on(tree.0.stats()).unwrap();
    eventually("three calls on their way", || stats().pending.len() == 3);
    let stats = stats();
    let waits: Vec<_> = stats.pending.iter().map(|call| (call.context, call.waits_for)).collect();
    let waits_for = |what| (Some(child.id()), what);
    assert_eq!(waits, [WaitsFor::Answer, WaitsFor::Answer, WaitsFor::Room].map(waits_for), "{stats}");
    assert!(stats.pending[0].function.ends_with("::block") && stats.pending[2].function.ends_with("::swallow"));
    assert_eq!((stats.receivers.len(), stats.receivers[0].messages), (1, 3), "{stats}");
    let [link] = &stats.neighbours[..] else { panic!("{stats}") };
    assert_eq!((link.context, &*link.name, link.is_parent), (child.id(), child.name(), false));
    assert!(link.frames_in >= 4 && link.bytes_in > 4 * 32, "{stats}");
    assert!(link.frames_out >= 3 && link.bytes_out > 100_000, "{stats}");
}

async fn ask(whom: Context) -> Result<u32, Error> {
    Ok(whom.stats().await?.pid)
}
export!(ask);

#[test]
fn only_those_above_a_context_learn_what_it_does() {
    let tree = Tree::new();
    let (a, b) = (tree.child(), tree.child());
    for whom in [&b, &tree.0.myself()] {
        let Err(Error::Call(error)) = a.blocking_call(ask, (whom.clone(),)) else { panic!("it was told") };
        assert!(error.to_string().contains("refused by policy"), "{error}");
    }
    let below = tree.behind(&a);
    assert_eq!(a.blocking_call(ask, (below.clone(),)).unwrap(), below.blocking_call(pid, ()).unwrap());
    below.blocking_shutdown();
    assert!(!reason(below.stats().blocking_recv().unwrap_err()).is_empty());
    // It ends in time even if the context cannot answer.
    let process = b.blocking_call(pid, ()).unwrap();
    super::ending::stop(process);
    let error = b.timeout(Duration::from_millis(50)).stats().blocking_recv().unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    super::ending::kill(process, Signal::SIGCONT);
}

#[test]
fn a_master_dumps_on_request_and_on_sigusr2() {
    let tree = Tree::new();
    let records = Records::of(&tree.0);
    let heads =
        || records.texts("offshoot::stats").iter().filter(|line| line.starts_with("context 0 master, ")).count();
    tree.0.dump().unwrap();
    eventually("a dump on request", || heads() == 1);
    tree.0.dump_on_sigusr2().unwrap();
    // Twice is no more than once.
    tree.0.dump_on_sigusr2().unwrap();
    // Requests are carried out in their order.
    block_on(tree.0.stats()).unwrap();
    raise(Signal::SIGUSR2).unwrap();
    eventually("a dump on SIGUSR2", || heads() == 2);
    tree.0.dump().unwrap();
    eventually("a further dump on request, and no other", || heads() >= 3);
    assert_eq!(heads(), 3);
}
