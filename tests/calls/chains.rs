//! Chains of calls.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use offshoot::{CallChain, Error, Receiver, Router, Sender, block_on, export};

use super::{Tree, eventually};

static RUNS: AtomicU32 = AtomicU32::new(0);

fn step(fail: bool) -> Result<u32, String> {
    let run = RUNS.fetch_add(1, Ordering::SeqCst);
    if fail { Err(format!("run {run} has failed")) } else { Ok(run) }
}
export!(step);

fn runs() -> u32 {
    RUNS.load(Ordering::SeqCst)
}
export!(concurrent runs);

/// Runs beside everything else, if it may.
fn beside(fail: bool) -> Result<u32, String> {
    std::thread::sleep(Duration::from_millis(20));
    step(fail)
}
export!(concurrent beside);

async fn wait_beside(to: Sender<u32>) -> Result<(), Error> {
    to.send(1).await?;
    std::future::pending().await
}
export!(concurrent wait_beside);

async fn chains_there(router: &Router) -> Result<usize, Error> {
    Ok(router.stats().await?.chains)
}
export!(concurrent chains_there);

fn text(chain: &CallChain, fail: bool) -> String {
    chain.blocking_call(step, (fail,)).unwrap_err().to_string()
}

#[test]
fn after_a_failure_every_later_call_fails_identically_and_does_not_run() {
    let tree = Tree::new();
    let child = tree.behind(&tree.child());
    let (chain, other) = (child.call_chain(), child.call_chain());
    // All are on their way before the first has failed.
    chain.call_no_reply(step, (true,)).unwrap();
    let calls: Vec<_> = (0..20).map(|_| chain.call(step, (false,))).collect();
    let errors: Vec<Error> = calls.into_iter().map(|call| call.blocking_recv().unwrap_err()).collect();
    assert!(matches!(&errors[0], Error::Call(error) if error.message == "run 0 has failed"), "{:?}", errors[0]);
    assert!(errors.iter().all(|error| *error == errors[0]));
    assert_eq!(chain.blocking_call(step, (false,)).unwrap_err(), errors[0]);
    assert_eq!(child.blocking_call(runs, ()).unwrap(), 1);
    // Nobody else is concerned.
    assert_eq!(other.blocking_call(step, (false,)).unwrap(), 1);
    assert_eq!(child.blocking_call(step, (false,)).unwrap(), 2);
    chain.reset();
    assert_eq!(chain.blocking_call(step, (false,)).unwrap(), 3);
    assert_eq!(text(&chain, true), text(&chain, false));
    assert_eq!(other.blocking_call(step, (false,)).unwrap(), 5);
}

#[test]
fn what_was_called_before_a_reset_does_not_run_after_it() {
    let tree = Tree::new();
    let child = tree.child();
    let chain = child.call_chain();
    chain.call_no_reply(step, (true,)).unwrap();
    let before = chain.call(step, (false,));
    chain.reset();
    let after = chain.call(step, (false,));
    assert!(before.blocking_recv().is_err());
    assert_eq!(after.blocking_recv().unwrap(), 1);
}

#[test]
fn calls_of_a_chain_run_one_after_the_other_on_whichever_thread() {
    let tree = Tree::new();
    let child = tree.child();
    let chain = child.call_chain();
    let calls = [
        chain.call(beside, (false,)),
        chain.call(step, (false,)),
        chain.call(beside, (false,)),
        chain.call(beside, (true,)),
        chain.call(step, (false,)),
        chain.call(beside, (false,)),
    ];
    let results: Vec<_> = calls.into_iter().map(|call| call.blocking_recv()).collect();
    assert_eq!(results[..3], [Ok(0), Ok(1), Ok(2)]);
    assert!(results[3..].iter().all(|result| result.is_err() && *result == results[3]));
    assert_eq!(child.blocking_call(runs, ()).unwrap(), 4);
}

#[test]
fn a_call_that_was_dropped_or_ran_out_of_time_counts_as_failed() {
    let tree = Tree::new();
    let child = tree.child();
    let begun: Receiver<u32> = Receiver::new(&tree.0);
    let chain = child.call_chain();
    let dropped = chain.call(wait_beside, (begun.sender(),));
    let later = chain.call(step, (false,));
    begun.blocking_recv().unwrap();
    drop(dropped);
    let error = later.blocking_recv().unwrap_err();
    assert!(error.to_string().contains("an earlier call of this chain was cancelled"), "{error}");
    chain.reset();
    let late = chain.call_within(Duration::from_millis(50), wait_beside, (begun.sender(),));
    let later = chain.call(step, (false,));
    assert!(matches!(late.blocking_recv(), Err(Error::Timeout { .. })));
    assert!(later.blocking_recv().unwrap_err().to_string().contains("ran out of time"));
    assert_eq!(child.blocking_call(runs, ()).unwrap(), 0);
}

#[test]
fn a_dropped_call_that_has_not_left_yet_ends_the_chain_as_well() {
    let tree = Tree::new();
    let child = tree.child();
    let begun: Receiver<u32> = Receiver::new(&tree.0);
    let blocking = child.call_chain();
    // More than a window takes, so that the rest waits here.
    let first = blocking.call(wait_beside, (begun.sender(),));
    begun.blocking_recv().unwrap();
    let calls: Vec<_> = (0..1500).map(|_| blocking.call(step, (false,))).collect();
    let chain = child.call_chain();
    let early = chain.call(step, (false,));
    let later = chain.call(step, (false,));
    drop(early);
    drop(first);
    assert!(calls.into_iter().all(|call| call.blocking_recv().is_err()));
    assert!(later.blocking_recv().is_err());
    assert_eq!(child.blocking_call(runs, ()).unwrap(), 0);
}

#[test]
fn nothing_is_left_of_chains_that_were_dropped() {
    let tree = Tree::new();
    let child = tree.child();
    for fail in [false, true, true] {
        let chain = child.call_chain();
        let _ = chain.blocking_call(step, (fail,));
    }
    let kept = child.call_chain();
    text(&kept, true);
    assert_eq!(child.blocking_call(chains_there, ()).unwrap(), 1);
    drop(kept);
    eventually("the end of the chain", || child.blocking_call(chains_there, ()).unwrap() == 0);
}

fn not_exported() {}

#[test]
fn a_call_that_is_refused_or_cannot_be_sent_ends_its_chain_in_its_turn() {
    let tree = Tree::new();
    let child = block_on(tree.0.local().allow(step).allow(runs).connect()).unwrap();
    let chain = child.call_chain();
    let (before, refused, after) =
        (chain.call(step, (false,)), chain.call(beside, (false,)), chain.call(step, (false,)));
    assert_eq!(before.blocking_recv(), Ok(0));
    let refused = refused.blocking_recv().unwrap_err();
    assert!(matches!(refused, Error::Channel(_)), "{refused}");
    assert_eq!(after.blocking_recv().unwrap_err(), refused);
    chain.reset();
    chain.call_no_reply(beside, (false,)).unwrap();
    assert_eq!(chain.blocking_call(step, (false,)).unwrap_err(), refused);
    chain.reset();
    let unsent = chain.call_no_reply(not_exported, ()).unwrap_err();
    assert!(matches!(unsent, Error::NotExported { .. }), "{unsent}");
    assert_eq!(chain.blocking_call(step, (false,)).unwrap_err(), unsent);
    assert_eq!(chain.call_no_reply(step, (false,)).unwrap_err(), unsent);
    assert_eq!(child.blocking_call(runs, ()).unwrap(), 1);
    chain.reset();
    assert_eq!(chain.blocking_call(step, (false,)).unwrap(), 1);
}

#[test]
fn calls_that_nobody_waits_for_let_those_behind_them_run() {
    let tree = Tree::new();
    let chain = tree.child().call_chain();
    chain.call_no_reply(step, (false,)).unwrap();
    chain.call_no_reply(beside, (false,)).unwrap();
    chain.call_no_reply(step, (false,)).unwrap();
    assert_eq!(chain.blocking_call(beside, (false,)), Ok(3));
    let there = chain.context().blocking_call(runs, ()).unwrap();
    assert_eq!(there, 4);
    drop(chain);
}
