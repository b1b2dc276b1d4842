//! `fork`: a child with a function that runs before anything else.

use std::hash::{BuildHasher, RandomState};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use offshoot::{Error, Router, export};

use super::{Tree, block, block_on, pid};

static STARTED: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn note_start() {
    STARTED.lock().unwrap().push("on_start".into());
}

fn noted(word: String) -> Vec<String> {
    let mut started = STARTED.lock().unwrap();
    started.push(word);
    started.clone()
}

fn refuse_to_start() -> Result<(), String> {
    Err("not today".into())
}

fn hang() {
    block(1000);
}

/// Own pid, parent's pid, and something random.
fn identity() -> (u32, u32, u64) {
    (std::process::id(), std::os::unix::process::parent_id(), RandomState::new().hash_one(0))
}
export!(note_start, noted, refuse_to_start, hang, identity);

#[test]
fn each_fork_has_an_identity_of_its_own_and_the_parent_that_started_it() {
    let tree = Tree::new();
    let (one, two) = (tree.0.fork().blocking_connect().unwrap(), tree.0.fork().blocking_connect().unwrap());
    let behind = tree.0.fork().via(&one).blocking_connect().unwrap();
    let [one, two, behind] = [one, two, behind].map(|context| context.blocking_call(identity, ()).unwrap());
    assert_eq!((one.1, two.1, behind.1), (std::process::id(), std::process::id(), one.0));
    assert!(one.0 != two.0 && two.0 != behind.0);
    assert!(one.2 != two.2 && two.2 != behind.2 && one.2 != behind.2, "random numbers differ");
}

#[test]
fn on_start_runs_before_the_first_call_also_behind_another_context() {
    let tree = Tree::new();
    let hop = tree.child();
    for via in [None, Some(&hop)] {
        let fork = tree.0.fork().on_start(note_start);
        let fork = if let Some(via) = via { fork.via(via) } else { fork };
        let child = fork.blocking_connect().unwrap();
        assert_eq!(child.blocking_call(noted, ("call".into(),)).unwrap(), ["on_start", "call"]);
        assert!(STARTED.lock().unwrap().is_empty(), "it has not run here");
    }
}

#[test]
fn a_failing_on_start_fails_the_connect_and_ends_the_child() {
    let tree = Tree::new();
    let hop = tree.child();
    for via in [None, Some(&hop)] {
        let fork = tree.0.fork().on_start(refuse_to_start);
        let fork = if let Some(via) = via { fork.via(via) } else { fork };
        let Err(Error::Call(error)) = fork.blocking_connect() else { panic!("no call error") };
        assert_eq!(error.message, "not today");
    }
    super::eventually("the end of the child", || block_on(tree.0.stats()).unwrap().links == 1);
}

#[test]
fn an_on_start_that_hangs_is_bounded_by_the_time_to_connect() {
    let tree = Tree::new();
    let start = Instant::now();
    let error =
        tree.0.fork().on_start(hang).connect_timeout(Duration::from_millis(500)).blocking_connect().unwrap_err();
    assert!(matches!(&error, Error::Timeout { .. }), "{error:?}");
    assert!(error.to_string().contains("hang"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[test]
fn a_fork_is_not_dearer_than_a_local_child() {
    let tree = Tree::new();
    let time = |connect: &dyn Fn(&Router)| {
        let start = Instant::now();
        connect(&tree.0);
        start.elapsed()
    };
    let (mut forks, mut locals) = (Vec::new(), Vec::new());
    for turn in 0..30 {
        if turn % 4 < 2 {
            forks.push(time(&|router| drop(router.fork().blocking_connect().unwrap().blocking_call(pid, ()))));
        } else {
            locals.push(time(&|router| drop(router.local().blocking_connect().unwrap().blocking_call(pid, ()))));
        }
    }
    // The best of each: the machine has other things to do as well.
    let (fork, local) = (forks.iter().min().unwrap(), locals.iter().min().unwrap());
    assert!(*fork < *local * 3 / 2 + Duration::from_millis(1), "fork {fork:?}, local {local:?}");
}
