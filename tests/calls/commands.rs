//! Built-in functions: commands, files, facts.

use std::time::Duration;

use nix::sys::signal::Signal;
use offshoot::command::{Command, Event, Running, SILENCE};
use offshoot::facts::host_facts;
use offshoot::{Blob, Descendants, Error, file};

use super::ending::kill;
use super::{Tree, block_on, eventually, is_alive, pid};

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
        assert!(error.to_string().contains("cannot start `nosuchprogram`: not found on the host"), "{error}");
        let error = Command::new("/no/such").output(&tree.0, &child).await.unwrap_err();
        assert!(error.to_string().contains("cannot start `/no/such`: No such file or directory"), "{error}");
        let error = Command::new("true").cwd("/nonexistent").output(&tree.0, &child).await.unwrap_err();
        assert!(error.to_string().contains("cannot change to directory /nonexistent: No such file"), "{error}");
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
    let output = block_on(Command::shell("sleep 20 & echo started").output(&tree.0, &child)).unwrap();
    assert_eq!(output.stdout, b"started\n");
    assert!(output.exit.success() && output.exit.open, "{:?}", output.exit);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn a_daemon_outlives_its_command_until_the_context_ends() {
    let tree = Tree::new();
    let child = block_on(tree.0.local().descendants(Descendants::Leave).connect()).unwrap();
    let command = Command::shell("sleep 1000 >/dev/null 2>&1 & echo $!");
    let output = block_on(command.output(&tree.0, &child)).unwrap();
    assert!(!output.exit.open, "{:?}", output.exit);
    let daemon: u32 = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap();
    child.blocking_shutdown();
    assert!(is_alive(daemon), "a context that leaves its descendants leaves this one, too");
    kill(daemon, Signal::SIGKILL);
}

#[test]
fn output_arrives_whole_however_late_it_is_taken() {
    let tree = Tree::new();
    let far = tree.behind(&tree.child());
    // As much as fits into the pipe and the window, so that the command ends before anything is taken.
    let running = Command::shell("head -c 120000 /dev/zero").spawn(&tree.0, &far);
    let Running { events, mut exit } = running;
    let Event::Started { pid, .. } = block_on(events.recv()).unwrap() else { panic!("not started") };
    eventually("the end of the command", || !is_alive(pid));
    // Longer than it would be waited for who is silent.
    std::thread::sleep(SILENCE + Duration::from_secs(1));
    let mut size = 0;
    let exit = loop {
        match exit.blocking_recv_timeout(Duration::from_millis(1)) {
            Err(Error::Timeout { .. }) => {}
            exit => break exit.unwrap(),
        }
        while let Some(event) = events.try_recv().unwrap() {
            size += stdout_of(event);
        }
    };
    while let Some(event) = events.try_recv().unwrap() {
        size += stdout_of(event);
    }
    assert_eq!((size, exit.open, exit.missing([size as u64, 0])), (120_000, false, 0));
}

fn stdout_of(event: Event) -> usize {
    match event {
        Event::Stdout(Blob(bytes)) => bytes.len(),
        _ => 0,
    }
}

#[test]
fn output_of_what_outlives_a_command_arrives_whole_as_long_as_it_is_not_silent() {
    let tree = Tree::new();
    let child = tree.child();
    let line = "{ for n in 1 2 3 4 5 6; do sleep 0.5; echo $n; echo $n >&2; done; echo end >&2; } & exit 7";
    let output = block_on(Command::shell(line).output(&tree.0, &child)).unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1\n2\n3\n4\n5\n6\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "1\n2\n3\n4\n5\n6\nend\n");
    assert_eq!((output.exit.code, output.exit.open, output.exit.written), (Some(7), false, [12, 16]));
}

/// Lines that do not want to end, or leave somebody behind who does not. Each says when it is ready.
const STUBBORN: [&str; 4] = [
    "trap '' TERM; sleep 1000 & echo ready; sleep 1000; wait",
    // What its leader leaves behind.
    "(trap '' TERM HUP INT; echo ready; sleep 1000; :) & wait",
    "(trap '' TERM; echo ready; while :; do sleep 0.01; done) & trap : TERM; wait; wait",
    // What has stopped itself.
    "(trap '' TERM; sleep 1000; :) & echo ready; kill -STOP $$",
];

/// Starts a stubborn line; returns its group as well.
fn start_stubborn(tree: &Tree, context: &offshoot::Context, line: &str) -> (Running, u32) {
    let running = Command::shell(line).spawn(&tree.0, context);
    let Event::Started { pid, .. } = block_on(running.events.recv()).unwrap() else { panic!("not started") };
    assert_eq!(block_on(running.events.recv()).unwrap(), Event::Stdout(Blob(b"ready\n".to_vec())));
    (running, pid)
}

/// Waits for the end of a session, which takes no longer than was promised.
fn expect_the_end_of(leader: u32, line: &str) {
    let start = std::time::Instant::now();
    while session(leader) > 0 {
        assert!(start.elapsed() < Duration::from_secs(3), "after three seconds something is left of {line}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_call_that_is_dropped_ends_commands_that_do_not_want_to() {
    let tree = Tree::new();
    let far = tree.behind(&tree.child());
    for line in STUBBORN {
        let (running, leader) = start_stubborn(&tree, &far, line);
        drop(running);
        expect_the_end_of(leader, line);
    }
}

#[test]
fn a_context_that_ends_ends_commands_that_do_not_want_to() {
    for mode in [Descendants::End, Descendants::Leave] {
        for line in STUBBORN {
            let tree = Tree::new();
            let child = block_on(tree.0.local().descendants(mode).connect()).unwrap();
            let far = tree.behind(&child);
            let commands = [&child, &far].map(|context| start_stubborn(&tree, context, line));
            child.blocking_shutdown();
            for (_running, leader) in commands {
                assert_eq!(session(leader), 0, "something is left of {line} when the shutdown is over");
            }
        }
    }
}

#[test]
fn a_context_that_is_killed_leaves_nothing_of_its_commands() {
    for line in STUBBORN {
        let tree = Tree::new();
        let child = block_on(tree.0.local().descendants(Descendants::Leave).connect()).unwrap();
        let far = tree.behind(&child);
        let (_running, leader) = start_stubborn(&tree, &far, line);
        kill(far.blocking_call(pid, ()).unwrap(), Signal::SIGKILL);
        expect_the_end_of(leader, line);
        let (_running, leader) = start_stubborn(&tree, &child, line);
        tree.0.disconnect(&child);
        expect_the_end_of(leader, line);
    }
}

/// The process in the session of a command that is not in its group.
fn guard_of(leader: u32) -> Option<u32> {
    let named = |pid: &u32| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name == "offshoot-guard\n" && nix::unistd::getsid(Some(pid_of(*pid))) == Ok(pid_of(leader))
    };
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
        .find(named)
}

fn pid_of(pid: u32) -> nix::unistd::Pid {
    nix::unistd::Pid::from_raw(pid.try_into().unwrap())
}

#[test]
fn a_command_does_not_miss_its_guard_and_none_is_left() {
    let tree = Tree::new();
    let child = tree.child();
    for line in &STUBBORN[..2] {
        let (running, leader) = start_stubborn(&tree, &child, line);
        let guard = guard_of(leader).unwrap();
        assert_eq!(std::fs::read_dir(format!("/proc/{guard}/fd")).unwrap().count(), 1, "it holds nothing open");
        kill(guard, Signal::SIGKILL);
        eventually("the end of the guard", || !is_alive(guard));
        drop(running);
        expect_the_end_of(leader, line);
    }
    let Running { events, exit } = Command::shell("read line").stdin_stream().spawn(&tree.0, &child);
    let Event::Started { pid, stdin: Some(stdin) } = block_on(events.recv()).unwrap() else { panic!("not started") };
    let guard = guard_of(pid).unwrap();
    stdin.close();
    block_on(exit).unwrap();
    eventually("the end of the guard", || !std::path::Path::new(&format!("/proc/{guard}")).exists());
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
