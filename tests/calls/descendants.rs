//! Processes below a context: those that functions start, and what these
//! leave behind.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use nix::sys::signal::Signal;
use offshoot::connect::Descendants;
use offshoot::{Context, Router, export};

use super::ending::kill;
use super::{Tree, block_on, eventually, is_alive, pid};

/// Starts a child, a grandchild, and a daemon in a session of its own; returns
/// their pids.
fn start_three() -> std::io::Result<Vec<u32>> {
    let child = Command::new("sleep").arg("1000").spawn()?;
    let script = "sleep 1000 >/dev/null 2>&1 & echo $!; (setsid sleep 1000 >/dev/null 2>&1 & echo $!)";
    let output = Command::new("sh").args(["-c", script]).output()?;
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(words.split_whitespace().filter_map(|pid| pid.parse().ok()).chain([child.id()]).collect())
}
export!(start_three);

fn three(context: &Context) -> Vec<u32> {
    let pids = context.blocking_call(start_three, ()).unwrap();
    assert_eq!(pids.len(), 3);
    assert!(pids.iter().all(|pid| is_alive(*pid)), "{pids:?}");
    pids
}

fn all_end(pids: &[u32]) {
    eventually("the end of all that was started", || !pids.iter().any(|pid| is_alive(*pid)));
}

#[test]
fn what_functions_have_started_ends_with_the_context_daemons_too() {
    let tree = Tree::new();
    let child = tree.child();
    let pids = three(&child);
    child.blocking_shutdown();
    assert!(!pids.iter().any(|pid| is_alive(*pid)), "they are gone when the shutdown is");
}

#[test]
fn what_functions_have_started_ends_when_the_context_loses_its_link() {
    let tree = Tree::new();
    let child = tree.child();
    let pids = three(&child);
    tree.0.disconnect(&child);
    all_end(&pids);
}

#[test]
fn what_functions_have_started_ends_when_the_parent_of_a_supervised_context_is_killed() {
    let tree = Tree::new();
    tree.0.supervise(true);
    let hop = tree.child();
    let far = tree.behind(&hop);
    let pids = three(&far);
    kill(hop.blocking_call(pid, ()).unwrap(), Signal::SIGKILL);
    all_end(&pids);
}

#[test]
fn a_process_that_ignores_sigterm_ends_all_the_same() {
    let tree = Tree::new();
    let child = tree.child();
    let stubborn = child.blocking_call(start_stubborn, ()).unwrap();
    child.blocking_shutdown();
    assert!(!is_alive(stubborn));
}

fn start_stubborn() -> std::io::Result<u32> {
    let script = "trap '' TERM; echo; while :; do sleep 1; done";
    let mut child = Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn()?;
    // It has said that it is ready.
    if let Some(out) = &mut child.stdout {
        std::io::Read::read_exact(out, &mut [0])?;
    }
    Ok(child.id())
}
export!(start_stubborn);

#[test]
fn a_context_that_is_told_to_leaves_what_was_started() {
    let tree = Tree::new();
    let child = block_on(tree.0.local().descendants(Descendants::Leave).connect()).unwrap();
    let behind = tree.behind(&child);
    let pids = [three(&child), three(&behind)].concat();
    child.blocking_shutdown();
    assert!(pids.iter().all(|pid| is_alive(*pid)), "they live on");
    pids.iter().for_each(|pid| kill(*pid, Signal::SIGKILL));
}

#[test]
fn a_supervisor_ends_what_a_context_that_was_killed_has_started() {
    let router = Router::new().unwrap();
    router.supervise(true);
    let tree = Tree(router);
    let child = tree.child();
    let far = tree.behind(&child);
    for context in [&far, &child] {
        let process = context.blocking_call(pid, ()).unwrap();
        let pids = three(context);
        kill(process, Signal::SIGKILL);
        all_end(&pids);
    }
    drop(tree);
}

#[test]
fn a_supervised_context_ends_in_order_and_with_its_supervisor() {
    let tree = Tree::new();
    tree.0.supervise(true);
    let supervisor_of = |context: &Context| context.blocking_call(parent_pid, ()).unwrap();
    let child = tree.child();
    let (process, supervisor) = (child.blocking_call(pid, ()).unwrap(), supervisor_of(&child));
    assert!(process != supervisor && supervisor != std::process::id());
    let has_open = || std::fs::read_dir(format!("/proc/{supervisor}/fd")).unwrap().next().is_some();
    eventually("the closing of all that the supervisor had open", || !has_open());
    child.blocking_shutdown();
    assert!(!is_alive(process) && !Path::new(&format!("/proc/{supervisor}")).exists());
    // A supervisor that is killed takes its context with it.
    let child = tree.child();
    let pids = three(&child);
    let process = child.blocking_call(pid, ()).unwrap();
    kill(supervisor_of(&child), Signal::SIGKILL);
    all_end(&[&pids[..], &[process]].concat());
}

fn parent_pid() -> u32 {
    std::os::unix::process::parent_id()
}
export!(parent_pid);

/// Starts daemons that end at once.
fn leave_orphans(count: u32) -> std::io::Result<()> {
    for _ in 0..count {
        Command::new("sh").args(["-c", "(setsid true >/dev/null 2>&1 &)"]).status()?;
    }
    Ok(())
}
export!(leave_orphans);

fn zombies_of(parent: u32) -> usize {
    let stats = std::fs::read_dir("/proc").unwrap().flatten();
    let stats = stats.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    let is_one = |stat: &String| {
        let mut fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
        fields.next() == Some("Z") && fields.next() == Some(&parent.to_string())
    };
    stats.filter(is_one).count()
}

#[test]
fn orphans_that_have_ended_are_reaped() {
    let tree = Tree::new();
    let child = tree.child();
    let process = child.blocking_call(pid, ()).unwrap();
    child.blocking_call(leave_orphans, (20,)).unwrap();
    eventually("the reaping", || zombies_of(process) == 0);
}

#[test]
fn what_cannot_be_executed_leaves_nothing() {
    for descendants in [Descendants::Leave, Descendants::End] {
        let tree = Tree::new();
        let child = block_on(tree.0.local().descendants(descendants).connect()).unwrap();
        let process = child.blocking_call(pid, ()).unwrap();
        for _ in 0..5 {
            assert!(block_on(child.command("/nowhere/at/all").status()).is_err());
        }
        eventually("the reaping", || zombies_of(process) == 0);
    }
}

#[test]
fn what_commands_leave_is_reaped_where_it_may_live_on_as_well() {
    let tree = Tree::new();
    let child = block_on(tree.0.local().descendants(Descendants::Leave).connect()).unwrap();
    let process = child.blocking_call(pid, ()).unwrap();
    // While one starts, another one ends and leaves what ends later.
    let all = (0..16).map(|nth| {
        let child = child.clone();
        std::thread::spawn(move || {
            for _ in 0..20 {
                let line = format!("sleep 0.0{} >/dev/null 2>&1 &", nth % 4);
                assert_eq!(block_on(child.command("sh").args(["-c", &line]).status()).unwrap().code, Some(0));
            }
        })
    });
    all.collect::<Vec<_>>().into_iter().for_each(|one| one.join().unwrap());
    eventually("the reaping", || zombies_of(process) == 0);
}

static KEPT: Mutex<Option<Child>> = Mutex::new(None);

fn start_one_that_fails() -> std::io::Result<u32> {
    let child = Command::new("sh").args(["-c", "exit 7"]).spawn()?;
    let pid = child.id();
    *KEPT.lock().unwrap() = Some(child);
    Ok(pid)
}

fn how_did_it_end() -> std::io::Result<Option<i32>> {
    let child = KEPT.lock().unwrap().take();
    Ok(child.ok_or_else(|| std::io::Error::other("none"))?.wait()?.code())
}
export!(start_one_that_fails, how_did_it_end);

#[test]
fn a_process_that_a_function_may_still_ask_for_is_not_reaped() {
    let tree = Tree::new();
    let child = tree.child();
    let process = child.blocking_call(start_one_that_fails, ()).unwrap();
    eventually("its end", || !is_alive(process));
    // Others that end meanwhile do not change it.
    child.blocking_call(leave_orphans, (1,)).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(700));
    assert_eq!(child.blocking_call(how_did_it_end, ()).unwrap(), Some(7));
}

#[test]
fn signals_end_a_child_and_what_is_behind_it_in_order() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let tree = Tree::new();
        let (child, other) = (tree.child(), tree.child());
        let far = tree.behind(&child);
        let (process, behind) = (child.blocking_call(pid, ()).unwrap(), far.blocking_call(pid, ()).unwrap());
        let pids = three(&far);
        kill(process, signal);
        all_end(&[&pids[..], &[process, behind]].concat());
        assert!(other.blocking_call(pid, ()).is_ok());
    }
}

#[test]
fn a_terminal_s_signals_reach_no_child_since_each_has_a_session_of_its_own() {
    let tree = Tree::new();
    let hop = tree.child();
    for context in [&hop, &tree.behind(&hop)] {
        let (process, session) = (context.blocking_call(pid, ()).unwrap(), context.blocking_call(session, ()).unwrap());
        assert_eq!(process, session);
    }
}

fn session() -> u32 {
    nix::unistd::getsid(None).map_or(0, |session| session.as_raw().cast_unsigned())
}
export!(session);
