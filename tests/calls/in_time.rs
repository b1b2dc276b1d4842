//! A context with a limit on time: all that waits ends with it.

use std::time::{Duration, Instant};

use offshoot::{Error, Receiver, Sender, export};

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

    // A pipe that nobody writes to.
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(block_on(child.command("mkfifo").arg(&pipe).status()).unwrap().success());
    let begun = Instant::now();
    assert_late("read_file", begun, block_on(timed.read_file(&pipe)));
    // Lets go of the thread that opens it.
    drop(std::fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap());
    let begun = Instant::now();
    let (never, _writer) = tokio::io::duplex(1);
    assert_late("copy_to", begun, block_on(timed.copy_to(never, folder.path().join("copy"), 0o600)));
    super::eventually("that nothing is left of the copy", || std::fs::read_dir(folder.path()).unwrap().count() == 1);

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
