//! Built-in functions: commands, files, facts.

use std::time::Duration;

use offshoot::command::{Command, Event, Running};
use offshoot::facts::host_facts;
use offshoot::{Blob, file};

use super::{Tree, block_on, eventually, is_alive};

#[test]
fn a_command_gives_its_output_its_error_output_and_its_code() {
    let tree = Tree::new();
    let far = tree.behind(&tree.child());
    block_on(async {
        let output = Command::shell("echo out; echo err >&2; exit 3").output(&tree.0, &far).await.unwrap();
        assert_eq!((output.exit.code, &output.stdout[..], &output.stderr[..]), (Some(3), &b"out\n"[..], &b"err\n"[..]));
        let output = Command::shell("kill -9 $$").output(&tree.0, &far).await.unwrap();
        assert_eq!((output.exit.code, output.exit.signal), (None, Some(9)));
    });
}

#[test]
fn a_command_takes_input_directory_and_environment() {
    let tree = Tree::new();
    let child = tree.child();
    block_on(async {
        let command = Command::shell("cat; pwd; echo $GREETING $HOME").stdin("in\n").cwd("/usr");
        let command = command.env("GREETING", "hello").env_remove("HOME");
        let output = command.output(&tree.0, &child).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "in\n/usr\nhello\n");
        let error = Command::new("nosuchprogram").output(&tree.0, &child).await.unwrap_err();
        assert!(error.to_string().contains("nosuchprogram: No such file"), "{error}");
        let error = Command::new("true").cwd("/nonexistent").output(&tree.0, &child).await.unwrap_err();
        assert!(error.to_string().contains("/nonexistent"), "{error}");
    });
}

#[test]
fn input_can_be_streamed_and_output_comes_as_it_is_made() {
    let tree = Tree::new();
    let child = tree.child();
    let Running { events, exit } = Command::new("cat").stdin_stream().spawn(&tree.0, &child);
    block_on(async {
        let Event::Started { stdin: Some(stdin), .. } = events.recv().await.unwrap() else { panic!("not started") };
        for text in ["one", "two"] {
            stdin.send(Blob(text.into())).await.unwrap();
            assert_eq!(events.recv().await.unwrap(), Event::Stdout(Blob(text.into())));
        }
        stdin.close();
        assert!(exit.await.unwrap().success());
    });
}

#[test]
fn much_output_arrives_whole() {
    let tree = Tree::new();
    let child = tree.child();
    let output = block_on(Command::shell("head -c 20000000 /dev/zero").output(&tree.0, &child)).unwrap();
    assert_eq!(output.stdout.len(), 20_000_000);
}

/// Starts a group of two processes and returns the pid of its leader.
fn start(tree: &Tree, context: &offshoot::Context) -> (Running, u32) {
    let running = Command::shell("trap '' HUP; sleep 1000 & sleep 1000").spawn(&tree.0, context);
    match block_on(running.events.recv()).unwrap() {
        Event::Started { pid, .. } => (running, pid),
        other => panic!("{other:?}"),
    }
}

/// Processes of the session that `leader` leads.
fn session(leader: u32) -> usize {
    let processes =
        std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    let stats = processes.filter_map(|pid| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok());
    stats
        .filter(|stat| {
            let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
            fields.get(3) == Some(&leader.to_string().as_str()) && fields.first() != Some(&"Z")
        })
        .count()
}

#[test]
fn a_dropped_command_ends_with_its_whole_group() {
    let tree = Tree::new();
    let far = tree.behind(&tree.child());
    let (running, leader) = start(&tree, &far);
    eventually("both processes", || session(leader) >= 2);
    drop(running);
    eventually("the end of the group", || session(leader) == 0);
}

#[test]
fn commands_end_with_their_context() {
    let tree = Tree::new();
    let hop = tree.child();
    let far = tree.behind(&hop);
    let (_running, leader) = start(&tree, &far);
    hop.blocking_shutdown();
    eventually("the end of the group", || session(leader) == 0);
}

#[test]
fn a_command_that_leaves_a_daemon_behind_ends_all_the_same() {
    let tree = Tree::new();
    let child = tree.child();
    let start = std::time::Instant::now();
    let output = block_on(Command::shell("sleep 5 & echo started").output(&tree.0, &child)).unwrap();
    assert_eq!(output.stdout, b"started\n");
    assert!(start.elapsed() < Duration::from_secs(4));
}

#[test]
fn files_are_read_and_written_whole_or_not_at_all() {
    let tree = Tree::new();
    let far = tree.behind(&tree.child());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    let data: Vec<u8> = (0..3_000_000u32).map(|n| n.to_le_bytes()[1]).collect();
    block_on(async {
        assert_eq!(file::write(&tree.0, &far, &path, 0o640, &data[..]).await.unwrap(), data.len() as u64);
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o7777, 0o640);
        let mut back = Vec::new();
        assert_eq!(file::read(&tree.0, &far, &path, &mut back).await.unwrap(), data.len() as u64);
        assert!(back == data);
        let error = file::read(&tree.0, &far, "/nonexistent", &mut back).await.unwrap_err();
        assert!(error.to_string().contains("/nonexistent"), "{error}");
        let error = file::write(&tree.0, &far, "/nonexistent/x", 0o600, &data[..]).await.unwrap_err();
        assert!(error.to_string().contains("/nonexistent/x"), "{error}");
        let broken = std::io::Read::chain(&data[..100_000], Broken);
        assert!(file::write(&tree.0, &far, directory.path().join("half"), 0o600, broken).await.is_err());
    });
    eventually("the end of the half file", || std::fs::read_dir(directory.path()).unwrap().count() == 1);
}

struct Broken;

impl std::io::Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::Error::other("broken"))
    }
}

#[test]
fn facts_are_those_of_the_context() {
    let tree = Tree::new();
    let child = tree.child();
    let facts = child.blocking_call(host_facts, ()).unwrap();
    assert_eq!(facts.arch, std::env::consts::ARCH);
    assert!(facts.pid != std::process::id() && is_alive(facts.pid));
    assert!(facts.cpus > 0 && facts.memory.is_some());
}
