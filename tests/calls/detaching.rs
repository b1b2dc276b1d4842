//! Contexts that leave the tree.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use offshoot::{Context, Econtext, Error, Handle, Message, export};

use super::{Tree, block_on, eventually, is_alive, pid, reason};

/// Detaches, says what is left of the tree, and lives until it is told to end.
async fn live_alone(econtext: &Econtext, directory: PathBuf) -> Result<(), Error> {
    let below = econtext.router().local().connect().await?;
    econtext.detach().await?;
    // Twice is no more than once.
    econtext.detach().await?;
    let another = econtext.router().fork().via(&below).connect().await?;
    let pids = (below.call(pid, ()).await?, another.call(pid, ()).await?);
    let error = econtext.router().context_by_id(offshoot::ContextId::MASTER).call(pid, ()).await.unwrap_err();
    let report = format!("{} {} {} {error}", econtext.parent_ids().len(), pids.0, pids.1);
    // Nobody hears it, and it hurts nobody.
    let _ = std::io::Write::write_all(&mut std::io::stderr(), b"alone\n");
    let _ = std::fs::write(directory.join("new"), report);
    let _ = std::fs::rename(directory.join("new"), directory.join("report"));
    while !directory.join("stop").exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}
export!(live_alone);

/// Has `context` detach; returns its pid and those of the two behind it.
fn detach(context: &Context, directory: &Path) -> Vec<u32> {
    let process = context.blocking_call(pid, ()).unwrap();
    let call = context.timeout(Duration::from_secs(20)).call(live_alone, (directory.to_owned(),));
    let queued = context.call(pid, ());
    assert_eq!(reason(block_on(call).unwrap_err()), "the respondent Context has disconnected");
    assert_eq!(reason(block_on(queued).unwrap_err()), "the respondent Context has disconnected");
    let mut report = String::new();
    eventually("the report", || {
        report = std::fs::read_to_string(directory.join("report")).unwrap_or_default();
        !report.is_empty()
    });
    let words: Vec<&str> = report.splitn(4, ' ').collect();
    assert_eq!(words[0], "0", "it has no parents: {report}");
    assert!(words[3].starts_with("no route to 0, my ID is "), "{report}");
    vec![process, words[1].parse().unwrap(), words[2].parse().unwrap()]
}

fn stop(directory: &Path, pids: &[u32]) {
    assert!(pids.iter().all(|pid| is_alive(*pid)), "they live on");
    std::fs::write(directory.join("stop"), "").unwrap();
    eventually("the end", || !pids.iter().any(|pid| is_alive(*pid)));
}

#[test]
fn a_context_that_has_detached_outlives_its_parent_s_router_which_does_not_wait_for_it() {
    let tree = Tree::new();
    let directory = tempfile::tempdir().unwrap();
    let pids = detach(&tree.child(), directory.path());
    let start = Instant::now();
    tree.0.blocking_shutdown();
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    std::thread::sleep(Duration::from_millis(700));
    stop(directory.path(), &pids);
}

#[test]
fn a_context_that_has_detached_is_reaped_by_its_parent_when_it_ends() {
    let tree = Tree::new();
    let directory = tempfile::tempdir().unwrap();
    let child = tree.child();
    let pids = detach(&child, directory.path());
    // There is nothing to wait for.
    child.blocking_shutdown();
    stop(directory.path(), &pids);
    eventually("its reaping", || !Path::new(&format!("/proc/{}", pids[0])).exists());
}

#[test]
fn a_context_that_has_detached_outlives_a_hop_that_ends_what_is_below_it() {
    for supervised in [false, true] {
        let tree = Tree::new();
        tree.0.supervise(supervised);
        let directory = tempfile::tempdir().unwrap();
        let hop = tree.child();
        let pids = detach(&tree.behind(&hop), directory.path());
        hop.blocking_shutdown();
        std::thread::sleep(Duration::from_millis(700));
        stop(directory.path(), &pids);
    }
}

#[test]
fn a_context_that_has_detached_ends_by_sigterm() {
    let tree = Tree::new();
    let directory = tempfile::tempdir().unwrap();
    let pids = detach(&tree.child(), directory.path());
    drop(tree);
    super::ending::kill(pids[0], nix::sys::signal::Signal::SIGTERM);
    eventually("the end", || !pids.iter().any(|pid| is_alive(*pid)));
}

#[test]
fn only_a_direct_child_may_say_that_it_detaches() {
    let tree = Tree::new();
    let far = tree.behind(&tree.child());
    assert_eq!(far.blocking_call(pretend, ()).unwrap(), "refused by policy");
    assert!(far.blocking_call(pid, ()).is_ok());
}

async fn pretend(econtext: &Econtext) -> String {
    let master = econtext.router().context_by_id(offshoot::ContextId::MASTER);
    let message = Message::new(master.id(), Handle::DETACHING, Vec::new());
    match master.send_await::<()>(message).await {
        Err(Error::Channel(error)) => error.reason,
        other => format!("{other:?}"),
    }
}
export!(pretend);
