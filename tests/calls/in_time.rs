//! A context with a limit on time: all that waits ends with it.

use std::time::{Duration, Instant};

use offshoot::{Econtext, Error, Receiver, Sender, export};

use super::{Tree, block, block_on, pid};

const LIMIT: Duration = Duration::from_millis(100);
/// Far more than anything takes that ends by itself.
const AMPLE: Duration = Duration::from_secs(60);

async fn succeed() -> u32 {
    7
}
fn say(to: Sender<String>) -> Result<(), Error> {
    to.blocking_send("said".into())
}
fn occupy(to: Sender<String>) {
    to.blocking_send("begun".into()).ok();
    std::thread::sleep(AMPLE);
}
export!(succeed, say, occupy);

fn assert_late<T: std::fmt::Debug>(what: &str, begun: Instant, result: Result<T, Error>) {
    let error = result.expect_err(what);
    assert!(matches!(error, Error::Timeout { after, .. } if after == LIMIT), "{what}: {error:?}");
    let took = begun.elapsed();
    assert!(took >= LIMIT && took < AMPLE / 2, "{what} took {took:?}");
}

#[test]
fn commands_files_chains_and_facts_end_with_the_limit() {
    let tree = Tree::new();
    let child = tree.child();
    let timed = child.timeout(LIMIT);
    let begun = Instant::now();
    assert_late("output", begun, block_on(timed.shell("sleep 60").output()));
    let begun = Instant::now();
    assert_late("status", begun, block_on(timed.command("sleep").arg("60").status()));
    let begun = Instant::now();
    assert_late("spawn", begun, block_on(timed.command("sleep").arg("60").spawn().wait()));

    // It has no end.
    let begun = Instant::now();
    assert_late("copy_from", begun, block_on(timed.copy_from("/dev/zero", tokio::io::sink())));
    let folder = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let (never, _writer) = tokio::io::duplex(1);
    assert_late("copy_to", begun, block_on(timed.copy_to(never, folder.path().join("copy"), 0o600)));
    super::eventually("that nothing is left of the copy", || std::fs::read_dir(folder.path()).unwrap().count() == 0);

    // Its first call occupies the child.
    let busy = child.call(block, (60,));
    let chain = timed.call_chain();
    let begun = Instant::now();
    assert_late("chain", begun, chain.blocking_call(pid, ()));
    drop(busy);
}

/// Calls `pid` with growing limits until the error names `occupy`.
fn late_behind_occupy(child: &offshoot::Context) -> String {
    let mut limit = Duration::from_millis(200);
    loop {
        let error = child.timeout(limit).blocking_call(pid, ()).unwrap_err();
        assert!(matches!(error, Error::Timeout { after, .. } if after == limit), "{error:?}");
        let text = error.to_string();
        if text.contains("occupy") || limit > AMPLE / 4 {
            return text;
        }
        limit *= 2;
    }
}

#[test]
fn a_call_that_is_late_names_the_function_that_it_has_waited_for() {
    let tree = Tree::new();
    let child = tree.child();
    for context in [&child, &tree.behind(&child)] {
        // A blocking function runs on though nobody waits for it any more.
        let heard: Receiver<String> = Receiver::new(&tree.0);
        let call = context.call(occupy, (heard.sender(),));
        assert_eq!(heard.blocking_recv().unwrap(), "begun");
        drop(call);
        let text = late_behind_occupy(context);
        let (_, after) = text.split_once("pid").expect("its own name");
        assert!(after.contains("which waited there for the end of ") && after.contains("::occupy, did not"), "{text}");
    }
}

#[test]
fn a_call_that_runs_when_its_time_is_over_has_waited_for_nothing() {
    let tree = Tree::new();
    let child = tree.child();
    let error = child.timeout(LIMIT).blocking_call(block, (60,)).unwrap_err();
    assert!(!error.to_string().contains("waited"), "{error}");
}

/// Says when it begins, and whether it was told to stop.
fn work(econtext: &Econtext, told: Sender<bool>) -> Result<(), Error> {
    told.blocking_send(false)?;
    while !econtext.is_cancelled() {
        std::thread::sleep(Duration::from_millis(1));
    }
    told.blocking_send(true)
}
async fn work_async(told: Sender<bool>) -> Result<(), Error> {
    struct Tell(Sender<bool>);
    impl Drop for Tell {
        fn drop(&mut self) {
            drop(self.0.send(true));
        }
    }
    let _tell = Tell(told.clone());
    told.send(false).await?;
    std::future::pending().await
}
export!(work, work_async);

#[test]
fn a_call_that_nobody_awaits_ends_with_the_limit_and_its_context_logs_that() {
    let tree = Tree::new();
    let records = super::logs::Records::of(&tree.0);
    let child = tree.child();
    let told = Receiver::new(&tree.0);
    let timed = child.timeout(LIMIT);
    for is_async in [false, true] {
        let begun = Instant::now();
        match is_async {
            false => timed.call_no_reply(work, (told.sender(),)).unwrap(),
            true => timed.call_no_reply(work_async, (told.sender(),)).unwrap(),
        }
        assert!(!told.blocking_recv().unwrap() && told.blocking_recv().unwrap());
        // The limit travels in whole milliseconds.
        let took = begun.elapsed();
        assert!(took >= LIMIT - Duration::from_millis(2) && took < AMPLE / 2, "{took:?}");
        let name = if is_async { "in_time::work_async" } else { "in_time::work " };
        let record = records.wait_for("offshoot::engine::dispatch", name);
        let ends_so = record.message.ends_with("did not finish within its time limit");
        assert!(record.message.starts_with("No-reply function call failed: ") && ends_so, "{record}");
    }
    // One that waits for its turn too long does not run, and one that ends in time is no failure.
    let busy = child.call(rest, (3 * LIMIT,));
    timed.call_no_reply(work, (told.sender(),)).unwrap();
    block_on(busy).unwrap();
    child.timeout(AMPLE).call_no_reply(tell, (told.sender(),)).unwrap();
    assert!(told.blocking_recv().unwrap(), "it comes from the last");
    child.blocking_call(pid, ()).unwrap();
    assert!(told.is_empty());
    let failures = records.texts("offshoot::engine::dispatch");
    super::eventually("the third failure", || records.texts("offshoot::engine::dispatch").len() >= 3);
    assert!(failures.len() <= 3, "{failures:?}");
}

fn rest(time: Duration) {
    std::thread::sleep(time);
}
fn tell(told: Sender<bool>) -> Result<(), Error> {
    told.blocking_send(true)
}
export!(rest, tell);

#[test]
fn a_chain_fails_with_a_call_that_nobody_awaits_and_that_is_late() {
    let tree = Tree::new();
    let child = tree.child();
    let told = Receiver::new(&tree.0);
    let chain = child.timeout(LIMIT).call_chain();
    chain.call_no_reply(work, (told.sender(),)).unwrap();
    assert!(!told.blocking_recv().unwrap() && told.blocking_recv().unwrap());
    let error = chain.blocking_call(pid, ()).unwrap_err();
    assert!(error.to_string().contains("an earlier call of this chain was cancelled or ran out of time"), "{error}");
}

#[test]
fn what_ends_in_time_is_as_without_a_limit() {
    let tree = Tree::new();
    let child = tree.child();
    let timed = child.timeout(AMPLE);
    assert_eq!(block_on(timed.shell("echo $((1 + 2))").output()).unwrap().stdout, b"3\n");
    assert_eq!(timed.call_chain().blocking_call(succeed, ()).unwrap(), 7);
    assert_eq!(timed.facts().blocking_recv().unwrap().pid, child.blocking_call(pid, ()).unwrap());
    assert_eq!(timed.stats().blocking_recv().unwrap().context, child.id());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    block_on(timed.write_file(&path, "text")).unwrap();
    assert_eq!(block_on(timed.read_file(&path)).unwrap(), b"text");
    assert_eq!(block_on(timed.copy_from(&path, tokio::io::sink())).unwrap(), 4);
    let items: Vec<_> = timed.stream(say, |to| (to,)).into_iter().collect();
    assert_eq!(items, [Ok("said".to_owned())]);
    timed.blocking_shutdown().unwrap();
    block_on(timed.closed()).unwrap();
}

#[test]
fn no_limit_is_too_long() {
    let tree = Tree::new();
    let child = tree.child();
    let timed = child.timeout(Duration::MAX);
    assert_eq!(timed.blocking_call(succeed, ()).unwrap(), 7);
    assert_eq!(timed.call_chain().blocking_call(succeed, ()).unwrap(), 7);
    assert_eq!(block_on(timed.shell("echo 1").output()).unwrap().stdout, b"1\n");
    assert_eq!(child.call(succeed, ()).blocking_recv_timeout(Duration::MAX).unwrap(), 7);
    let (first, second) = (Receiver::new(&tree.0), Receiver::new(&tree.0));
    first.sender().blocking_send(1).unwrap();
    assert_eq!(first.blocking_recv_timeout(Duration::MAX).unwrap(), 1);
    second.sender().blocking_send(2).unwrap();
    assert_eq!(block_on(second.recv_timeout(Duration::MAX)).unwrap(), 2);
    let far = block_on(tree.0.local().via(&child).connect_timeout(Duration::MAX).connect()).unwrap();
    assert_eq!(far.blocking_call(succeed, ()).unwrap(), 7);
    timed.blocking_shutdown().unwrap();
    block_on(timed.closed()).unwrap();
}

#[test]
fn an_end_that_does_not_come_is_not_waited_for_beyond_the_limit() {
    let tree = Tree::new();
    let child = tree.child();
    let begun = Instant::now();
    assert_late("closed", begun, block_on(child.timeout(LIMIT).closed()));
    // It takes its grace of 3 s.
    let pid = child.blocking_call(pid, ()).unwrap();
    let stopped = std::process::Command::new("kill").args(["-STOP", &pid.to_string()]).status().unwrap();
    assert!(stopped.success());
    // The signal reaches one thread after the other.
    let is_stopped = |task: std::io::Result<std::fs::DirEntry>| {
        let state = std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap();
        state.rsplit(')').next().unwrap().trim_start().starts_with('T')
    };
    super::eventually("the stop", || std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().all(is_stopped));
    let begun = Instant::now();
    assert_late("shutdown", begun, block_on(child.timeout(LIMIT).shutdown()));
}
