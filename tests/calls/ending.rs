//! Ends: of contexts, of hops, of whole trees; and what is left of them.

use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use offshoot::error::ChannelErrorKind;
use offshoot::{Context, Error, Receiver, Router, Sender, export};

use super::{Tree, at_best, block, block_on, eventually, is_alive, kind, pid, reason, resident};

fn die() {
    nix::sys::signal::kill(nix::unistd::getpid(), Signal::SIGKILL).ok();
}
export!(die);

#[test]
fn a_call_whose_process_ends_is_named() {
    let tree = Tree::new();
    let child = tree.child();
    let name = child.name().to_owned();
    let Err(Error::Channel(error)) = child.blocking_call(die, ()) else { panic!("it lives") };
    let rest = error.reason.strip_prefix("the respondent Context has disconnected, in a call of ").unwrap();
    assert!(rest.contains("ending::die") && rest.contains(&name), "{error}");
}

#[expect(clippy::disallowed_methods, reason = "the process is to end in the middle of a call")]
fn exit(code: i32) {
    std::process::exit(code);
}
export!(exit);

#[test]
fn the_error_of_a_call_tells_how_its_process_has_ended() {
    let tree = Tree::new();
    let child = tree.child();
    assert_eq!(child.exit_status(), None);
    let error = child.blocking_call(exit, (3,)).unwrap_err();
    assert!(error.to_string().ends_with(": its process exited with return code 3"), "{error}");
    assert_eq!(child.exit_status().and_then(|status| status.code()), Some(3));

    let hop = tree.child();
    let far = tree.behind(&hop);
    let error = far.blocking_call(exit, (3,)).unwrap_err();
    assert!(!error.to_string().contains("its process"), "another context has started it: {error}");
    assert_eq!(far.exit_status(), None);
    let ended = hop.closed();
    let error = hop.blocking_call(die, ()).unwrap_err();
    assert!(error.to_string().ends_with(": its process exited due to signal 9 (SIGKILL)"), "{error}");
    block_on(ended);
    let status = hop.exit_status().unwrap();
    assert_eq!((status.code(), status.signal()), (None, Some(9)));
}

#[test]
fn a_process_that_does_not_end_with_its_link_hardly_delays_the_error() {
    let tree = Tree::new();
    let child = tree.child();
    let process = child.blocking_call(pid, ()).unwrap();
    let call = child.call(block, (1000,));
    stop(process);
    let start = Instant::now();
    tree.0.disconnect(&child);
    let error = block_on(call).unwrap_err();
    assert!(!error.to_string().contains("its process"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    eventually("its end", || !is_alive(process));
}

pub(super) fn kill(pid: u32, signal: Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
}

/// Stops a process, and waits until all of its threads stand still.
pub(super) fn stop(pid: u32) {
    kill(pid, Signal::SIGSTOP);
    eventually("the stop", || {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
        let mut stats = tasks.map(|task| std::fs::read_to_string(task.path().join("stat")).unwrap_or_default());
        stats.all(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T')))
    });
}

#[test]
fn a_child_that_dies_in_a_call_is_told_at_once() {
    let tree = Tree::new();
    let took = at_best(|| {
        let child = tree.child();
        let start = Instant::now();
        let error = child.blocking_call(die, ()).unwrap_err();
        let took = start.elapsed();
        assert_eq!(reason(error), "the respondent Context has disconnected");
        let error = child.blocking_call(pid, ()).unwrap_err();
        assert_eq!(reason(error), format!("no route to {}, my ID is 0", child.id()));
        took
    });
    assert!(took < Duration::from_millis(100), "{took:?}");
}

#[test]
fn the_end_of_a_hop_is_the_end_of_all_behind_it() {
    let tree = Tree::new();
    let ends: [fn(&Context, &Context); 3] = [
        |hop, _| kill(hop.blocking_call(pid, ()).unwrap(), Signal::SIGKILL),
        |hop, _| drop(hop.shutdown_nowait()),
        |_, far| drop(far.shutdown_nowait()),
    ];
    for end in ends {
        let took = at_best(|| {
            let hop = tree.child();
            let far = tree.behind(&tree.behind(&hop));
            let far_pid = far.blocking_call(pid, ()).unwrap();
            let call = far.call(block, (1000,));
            // What answers beside it has been sent after it.
            far.blocking_call(resident, ()).unwrap();
            let start = Instant::now();
            end(&hop, &far);
            assert_eq!(reason(block_on(call).unwrap_err()), "the respondent Context has disconnected");
            let took = start.elapsed();
            eventually("the end of the far context", || !is_alive(far_pid));
            took
        });
        assert!(took < Duration::from_millis(200), "{took:?}");
    }
}

#[test]
fn shutdown_waits_and_reaps() {
    let tree = Tree::new();
    let child = tree.child();
    let process = child.blocking_call(pid, ()).unwrap();
    child.blocking_shutdown();
    assert!(!std::path::Path::new(&format!("/proc/{process}")).exists(), "not even a zombie is left");
    child.blocking_shutdown();
}

#[test]
fn a_hung_function_does_not_delay_shutdown() {
    let tree = Tree::new();
    let hop = tree.child();
    let far = tree.behind(&hop);
    let process = far.blocking_call(pid, ()).unwrap();
    let call = far.call(block, (1000,));
    let start = Instant::now();
    hop.blocking_shutdown();
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert!(matches!(block_on(call), Err(Error::Channel(_))));
    eventually("the end of the far context", || !is_alive(process));
}

#[test]
fn a_stopped_child_is_killed_when_its_grace_is_over() {
    let tree = Tree::new();
    let child = tree.child();
    let process = child.blocking_call(pid, ()).unwrap();
    stop(process);
    let start = Instant::now();
    child.blocking_shutdown();
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
    assert!(!is_alive(process));
}

#[test]
fn a_stopped_child_is_killed_when_the_router_s_grace_is_over_and_the_others_end_in_order() {
    let tree = Tree::new();
    let broker = tree.0.broker();
    broker.set_shutdown_timeout(Duration::from_millis(500));
    let (stopped, other) = (tree.child(), tree.child());
    let processes = [stopped, other].map(|child| child.blocking_call(pid, ()).unwrap());
    stop(processes[0]);
    let start = Instant::now();
    tree.0.blocking_shutdown();
    assert!(start.elapsed() >= Duration::from_millis(500), "{:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    for process in processes {
        assert!(!std::path::Path::new(&format!("/proc/{process}")).exists(), "not even a zombie is left");
    }
    broker.shutdown();
    broker.join().unwrap();
}

#[test]
fn the_end_of_the_router_ends_the_tree_and_fails_what_is_pending() {
    let tree = Tree::new();
    let child = tree.child();
    let far = tree.behind(&child);
    let processes = [child.blocking_call(pid, ()).unwrap(), far.blocking_call(pid, ()).unwrap()];
    let call = child.call(block, (1000,));
    tree.0.blocking_shutdown();
    assert!(block_on(call).is_err());
    assert_eq!(kind(child.blocking_call(pid, ()).unwrap_err()), ChannelErrorKind::RouterEnded);
    for process in processes {
        eventually("the end of the tree", || !is_alive(process));
    }
}

#[test]
fn a_link_that_is_cut_ends_the_child_and_fails_what_is_pending() {
    let tree = Tree::new();
    let child = tree.child();
    let far = tree.behind(&child);
    let processes = [child.blocking_call(pid, ()).unwrap(), far.blocking_call(pid, ()).unwrap()];
    let calls = [child.call(block, (1000,)), far.call(block, (1000,))];
    // It is no neighbour.
    tree.0.disconnect(&far);
    assert!(block_on(tree.0.stats()).is_ok());
    tree.0.disconnect(&child);
    for call in calls {
        assert_eq!(reason(block_on(call).unwrap_err()), "the respondent Context has disconnected");
    }
    eventually("the end of both", || !processes.iter().any(|process| is_alive(*process)));
}

#[test]
fn a_shutdown_that_nobody_waited_for_can_be_waited_for_later() {
    let tree = Tree::new();
    let child = tree.child();
    let process = child.blocking_call(pid, ()).unwrap();
    let ending = child.shutdown_nowait();
    ending.wait();
    assert!(!std::path::Path::new(&format!("/proc/{process}")).exists(), "not even a zombie is left");
    let error = child.blocking_call(pid, ()).unwrap_err();
    assert_eq!(reason(error), "no route to 1, my ID is 0");
}

#[test]
fn each_handler_gets_one_dead_message_when_the_router_ends() {
    let tree = Tree::new();
    let (tell, told) = std::sync::mpsc::channel();
    for _ in 0..2 {
        let tell = tell.clone();
        let handler = tree.0.add_handler(move |message| {
            let reason = message.is_dead().then(|| String::from_utf8_lossy(&message.data).into_owned());
            tell.send(reason).unwrap();
        });
        handler.build().unwrap();
    }
    let receiver = Receiver::<u32>::new(&tree.0);
    tree.0.blocking_shutdown();
    drop(tell);
    let reasons: Vec<_> = told.try_iter().collect();
    assert_eq!(reasons, vec![Some("Broker has exitted".to_owned()); 2]);
    assert_eq!(reason(block_on(receiver.recv()).unwrap_err()), "Broker has exitted");
}

#[test]
fn children_end_with_the_last_clone_of_the_router() {
    let router = Router::new().unwrap();
    let child = router.local().blocking_connect().unwrap();
    let process = child.blocking_call(pid, ()).unwrap();
    let clone = router.clone();
    drop(router);
    assert!(child.blocking_call(pid, ()).is_ok());
    drop(clone);
    eventually("the end of the child", || !is_alive(process));
}

#[test]
fn ten_contexts_deep_is_no_different() {
    let tree = Tree::new();
    let mut context = tree.child();
    for _ in 0..9 {
        context = tree.behind(&context);
    }
    let process = context.blocking_call(pid, ()).unwrap();
    assert!(is_alive(process));
    assert_eq!(context.name().matches("local.").count(), 10);
}

#[test]
fn nothing_leaks_over_a_thousand_connects() {
    let tree = Tree::new();
    let hop = tree.child();
    let one = |context: Context| {
        context.blocking_call(pid, ()).unwrap();
        context.blocking_shutdown();
    };
    let cycle = || {
        std::thread::scope(|scope| {
            scope.spawn(|| (0..8).for_each(|_| one(tree.child())));
            scope.spawn(|| (0..2).for_each(|_| one(tree.behind(&hop))));
        });
    };
    let count = |what: &str| std::fs::read_dir(format!("/proc/self/{what}")).unwrap().count();
    let count_there = || hop.blocking_call(all_there_is, ()).unwrap();
    for _ in 0..5 {
        cycle();
    }
    // What a hop opens once it keeps; what a child has cost it lets go soon.
    let settled = (0..20).map(|_| {
        std::thread::sleep(Duration::from_millis(10));
        count_there()
    });
    let there = settled.min().unwrap();
    let routes = || block_on(tree.0.stats()).unwrap();
    let before = (count("fd"), count("task"), routes());
    for _ in 0..100 {
        cycle();
    }
    // Other tests of this process open and close files meanwhile.
    eventually("the end of all that was opened", || count("fd") <= before.0 + 100);
    eventually("the end of all threads", || count("task") <= before.1 + 100);
    eventually("the end of all that the hop had", || {
        let now = count_there();
        now.0 <= there.0 && now.1 <= there.1 && now.2 == 0
    });
    eventually("the end of all links, routes, handles, windows and tasks", || {
        let (after, before) = (routes(), &before.2);
        (after.links, after.routes, after.handles) == (before.links, before.routes, before.handles)
            && after.windows <= before.windows
            && after.tasks <= before.tasks
    });
}

/// Descriptors, threads and children of this process.
fn all_there_is() -> std::io::Result<(usize, usize, usize)> {
    let count = |what: &str| std::fs::read_dir(format!("/proc/self/{what}")).map(Iterator::count);
    let mut children = 0;
    for task in std::fs::read_dir("/proc/self/task")?.flatten() {
        children += std::fs::read_to_string(task.path().join("children"))?.split_whitespace().count();
    }
    Ok((count("fd")?, count("task")?, children))
}
export!(all_there_is);

#[test]
fn the_end_of_a_context_can_be_waited_for_without_ordering_it() {
    let tree = Tree::new();
    let child = tree.child();
    let below = tree.behind(&child);
    assert_eq!(tree.0.children(), std::slice::from_ref(&child));
    assert_eq!(tree.0.context_by_id(below.id()).name(), below.name(), "the name is known");
    let (of_child, of_below, of_nobody) =
        (child.closed(), below.closed(), tree.0.context_by_id(offshoot::ContextId(77_777)).closed());
    block_on(of_nobody);
    assert!(!child.is_closed() && !below.is_closed());
    let process = child.blocking_call(pid, ()).unwrap();
    kill(process, Signal::SIGKILL);
    block_on(of_child);
    block_on(of_below);
    assert!(child.is_closed() && below.is_closed());
    assert!(tree.0.children().is_empty());
}

#[test]
fn two_wait_for_one_end_and_a_third_gives_up() {
    let tree = Tree::new();
    let child = tree.child();
    let (first, second, third) = (child.closed(), child.closed(), child.closed());
    drop(third);
    child.blocking_shutdown();
    block_on(first);
    block_on(second);
}

/// Waits for the end of a sibling, which only the master sees.
async fn outlive(router: &Router, sibling: Context, ready: Sender<()>) -> Result<(), Error> {
    let closed = router.context_by_id(sibling.id()).closed();
    ready.send(()).await?;
    closed.await;
    Ok(())
}
export!(concurrent outlive);

#[test]
fn the_end_of_a_sibling_and_of_the_own_router_is_noticed() {
    let tree = Tree::new();
    let (one, two) = (tree.child(), tree.child());
    let ready: Receiver<()> = Receiver::new(&tree.0);
    let mut call = one.call(outlive, (two.clone(), ready.sender()));
    ready.blocking_recv().unwrap();
    std::thread::sleep(Duration::from_millis(100));
    assert!(!call.is_finished());
    two.blocking_shutdown();
    call.blocking_recv_timeout(Duration::from_secs(10)).unwrap();
    let (myself, closed) = (tree.0.myself(), tree.0.myself().closed());
    assert!(!myself.is_closed());
    tree.0.blocking_shutdown();
    block_on(closed);
    assert!(myself.is_closed());
}

#[test]
fn the_own_context_is_closed_when_its_router_has_ended() {
    let router = Router::new().unwrap();
    let myself = router.myself();
    let early = block_on(myself.timeout(Duration::from_millis(50)).closed());
    assert!(matches!(early, Err(Error::Timeout { .. })), "{early:?}");
    let ended = myself.closed();
    router.blocking_shutdown();
    block_on(ended);
    assert!(myself.is_closed());
}
