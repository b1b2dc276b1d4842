//! Built-in functions: commands, files, facts.

use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use nix::sys::signal::Signal;
use offshoot::connect::Descendants;
use offshoot::process::{Event, Running, SILENCE, Stdin};
use offshoot::{Blob, Error};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::ending::kill;
use super::{Tree, block_on, eventually, is_alive, pid};

#[test]
fn a_command_gives_its_output_its_error_output_and_its_code() {
    let tree = Tree::new();
    let far = tree.behind(&tree.child());
    block_on(async {
        let output = far.shell("echo out; echo err >&2; exit 3").output().await.unwrap();
        assert_eq!((output.exit.code, &output.stdout[..], &output.stderr[..]), (Some(3), &b"out\n"[..], &b"err\n"[..]));
        let output = far.shell("kill -9 $$").output().await.unwrap();
        assert_eq!((output.exit.code, output.exit.signal), (None, Some(9)));
    });
}

#[test]
fn a_command_takes_input_directory_and_environment() {
    let tree = Tree::new();
    let child = tree.child();
    block_on(async {
        let command = child.shell("cat; pwd; echo $GREETING $HOME").stdin("in\n").current_dir("/usr");
        let command = command.env("GREETING", "hello").env_remove("HOME");
        let output = command.output().await.unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "in\n/usr\nhello\n");
        let error = child.command("nosuchprogram").output().await.unwrap_err();
        assert!(error.to_string().contains("cannot start `nosuchprogram`: not found on the host"), "{error}");
        let error = child.command("/no/such").output().await.unwrap_err();
        assert!(error.to_string().starts_with("cannot start `/no/such`: No such file or directory"), "{error}");
        assert!(error.to_string().ends_with(&format!(" (in {})", child.name())), "{error}");
        let error = child.command("true").current_dir("/nonexistent").output().await.unwrap_err();
        assert!(error.to_string().contains("cannot change to directory /nonexistent: No such file"), "{error}");
        let error = child.command("true").current_dir("/etc/passwd").output().await.unwrap_err();
        assert!(error.to_string().starts_with("cannot change to directory /etc/passwd: not a directory"), "{error}");
    });
}

#[test]
fn input_can_be_streamed_and_output_comes_as_it_is_made() {
    let tree = Tree::new();
    let child = tree.child();
    let Running { events, exit } = child.command("cat").stdin(Stdin::piped()).events();
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
    let output = block_on(child.shell("head -c 20000000 /dev/zero").output()).unwrap();
    assert_eq!(output.stdout.len(), 20_000_000);
}

/// Starts a group of two processes and returns the pid of its leader.
fn start(context: &offshoot::Context) -> (Running, u32) {
    let running = context.shell("trap '' HUP; sleep 1000 & sleep 1000").events();
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
    let (running, leader) = start(&far);
    eventually("both processes", || session(leader) >= 2);
    drop(running);
    eventually("the end of the group", || session(leader) == 0);
}

#[test]
fn commands_end_with_their_context() {
    let tree = Tree::new();
    let hop = tree.child();
    let far = tree.behind(&hop);
    let (_running, leader) = start(&far);
    hop.blocking_shutdown();
    eventually("the end of the group", || session(leader) == 0);
}

#[test]
fn a_command_that_leaves_a_daemon_behind_ends_all_the_same() {
    let tree = Tree::new();
    let child = tree.child();
    let start = std::time::Instant::now();
    let output = block_on(child.shell("sleep 20 & echo started").output()).unwrap();
    assert_eq!(output.stdout, b"started\n");
    assert!(output.exit.success() && output.exit.open, "{:?}", output.exit);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn the_streams_of_a_command_that_leaves_a_daemon_behind_end_without_an_error() {
    let tree = Tree::new();
    let child = tree.child();
    block_on(async {
        let mut command = child.shell("sleep 20 & echo started; exit 3").spawn();
        let (mut stdout, mut stderr) = (command.stdout.take().unwrap(), command.stderr.take().unwrap());
        let (mut out, mut err) = (String::new(), String::new());
        stdout.read_to_string(&mut out).await.unwrap();
        stderr.read_to_string(&mut err).await.unwrap();
        assert_eq!((out.as_str(), err.as_str()), ("started\n", ""));
        let exit = command.wait().await.unwrap();
        assert_eq!((exit.code, exit.open), (Some(3), true));
    });
}

#[test]
fn a_daemon_outlives_its_command_until_the_context_ends() {
    let tree = Tree::new();
    let child = block_on(tree.0.local().descendants(Descendants::Leave).connect()).unwrap();
    let command = child.shell("sleep 1000 >/dev/null 2>&1 & echo $!");
    let output = block_on(command.output()).unwrap();
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
    let running = far.shell("head -c 120000 /dev/zero").events();
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
    let output = block_on(child.shell(line).output()).unwrap();
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
fn start_stubborn(context: &offshoot::Context, line: &str) -> (Running, u32) {
    let running = context.shell(line).events();
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
        let (running, leader) = start_stubborn(&far, line);
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
            let commands = [&child, &far].map(|context| start_stubborn(context, line));
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
        let (_running, leader) = start_stubborn(&far, line);
        kill(far.blocking_call(pid, ()).unwrap(), Signal::SIGKILL);
        expect_the_end_of(leader, line);
        let (_running, leader) = start_stubborn(&child, line);
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
        let (running, leader) = start_stubborn(&child, line);
        let guard = guard_of(leader).unwrap();
        assert_eq!(std::fs::read_dir(format!("/proc/{guard}/fd")).unwrap().count(), 1, "it holds nothing open");
        kill(guard, Signal::SIGKILL);
        eventually("the end of the guard", || !is_alive(guard));
        drop(running);
        expect_the_end_of(leader, line);
    }
    let Running { events, exit } = child.shell("read line").stdin(Stdin::piped()).events();
    let Event::Started { pid, stdin: Some(stdin), .. } = block_on(events.recv()).unwrap() else {
        panic!("not started")
    };
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
        assert_eq!(far.copy_to(&data[..], &path, 0o640).await.unwrap(), data.len() as u64);
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o7777, 0o640);
        let mut back = Vec::new();
        assert_eq!(far.copy_from(&path, &mut back).await.unwrap(), data.len() as u64);
        assert!(back == data);
        let error = far.copy_from("/nonexistent", &mut back).await.unwrap_err();
        assert!(error.to_string().starts_with("cannot read /nonexistent: No such file"), "{error}");
        let error = far.write_file("/nonexistent/x", &data[..]).await.unwrap_err();
        assert!(error.to_string().starts_with("cannot write /nonexistent/x: No such file"), "{error}");
        let broken = AsyncReadExt::chain(&data[..100_000], Broken);
        assert!(far.copy_to(broken, directory.path().join("half"), 0o600).await.is_err());
    });
    eventually("the end of the half file", || std::fs::read_dir(directory.path()).unwrap().count() == 1);
}

struct Broken;

impl tokio::io::AsyncRead for Broken {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        _: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Poll::Ready(Err(std::io::Error::other("broken")))
    }
}

#[test]
fn facts_are_those_of_the_context() {
    let tree = Tree::new();
    let child = tree.child();
    let facts = child.facts().blocking_recv().unwrap();
    assert_eq!(facts.arch, std::env::consts::ARCH);
    assert!(facts.pid != std::process::id() && is_alive(facts.pid));
    assert!(facts.cpus > 0 && facts.memory.is_some());
}

#[test]
fn the_streams_of_a_command_are_apart_and_go_at_their_readers_pace() {
    let tree = Tree::new();
    let far = tree.behind(&tree.child());
    block_on(async {
        // More of stderr than fits anywhere, and nobody reads it yet.
        let mut child = far.shell("cat; head -c 3000000 /dev/zero >&2; echo end; exit 5").spawn();
        let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        assert!(is_alive(child.pid().await.unwrap()));
        let data: Vec<u8> = (0..2_000_000u32).map(|n| n.to_le_bytes()[0]).collect();
        let (sent, echoed) = tokio::join!(
            async {
                stdin.write_all(&data).await.unwrap();
                stdin.shutdown().await
            },
            async {
                let mut echoed = vec![0; data.len()];
                stdout.read_exact(&mut echoed).await.map(|_| echoed)
            }
        );
        sent.unwrap();
        assert!(echoed.unwrap() == data);
        let (mut rest, mut zeros) = (String::new(), Vec::new());
        let mut stderr = child.stderr.take().unwrap();
        let (read, all) = tokio::join!(stdout.read_to_string(&mut rest), stderr.read_to_end(&mut zeros));
        assert_eq!((read.unwrap(), rest.as_str(), all.unwrap()), (4, "end\n", 3_000_000));
        assert_eq!(child.wait().await.unwrap().code, Some(5));
        assert_eq!(child.wait().await.unwrap().code, Some(5), "it is told again");
    });
}

#[test]
fn a_command_that_is_not_waited_for_or_is_killed_ends_with_its_group() {
    let tree = Tree::new();
    let far = tree.behind(&tree.child());
    block_on(async {
        let mut child = far.shell("sleep 1000 & sleep 1000").spawn();
        let leader = child.pid().await.unwrap();
        child.kill().await.unwrap();
        expect_the_end_of(leader, "a command that was killed");
        assert_eq!(child.wait().await.unwrap().signal, Some(9));
        assert!(child.stdout.take().unwrap().read_to_end(&mut Vec::new()).await.is_err(), "it was cut off");
        let child = far.shell("sleep 1000 & sleep 1000").spawn();
        let leader = child.pid().await.unwrap();
        drop(child);
        expect_the_end_of(leader, "a command that was dropped");
    });
}

#[test]
fn what_cannot_be_started_fails_in_each_of_the_ways() {
    let tree = Tree::new();
    let child = tree.child();
    block_on(async {
        let mut none = child.command("nosuchprogram").spawn();
        let mut text = String::new();
        assert!(none.stdout.take().unwrap().read_to_string(&mut text).await.is_err());
        let mut stdin = none.stdin.take().unwrap();
        assert!(stdin.write_all(b"x").await.is_err());
        drop(stdin);
        assert!(none.pid().await.is_err());
        for error in [none.wait().await.unwrap_err(), child.command("nosuchprogram").status().await.unwrap_err()] {
            assert!(error.to_string().contains("cannot start `nosuchprogram`: not found on the host"), "{error}");
        }
        none.kill().await.unwrap();
    });
}

#[test]
fn a_command_ends_its_input_when_nobody_holds_it() {
    let tree = Tree::new();
    let child = tree.child();
    block_on(async {
        // Dropped before it has begun, after, and by the wait.
        let mut early = child.command("cat").spawn();
        drop(early.stdin.take());
        assert!(early.wait().await.unwrap().success());
        let mut late = child.command("cat").spawn();
        let mut stdin = late.stdin.take().unwrap();
        stdin.write_all(b"x").await.unwrap();
        drop(stdin);
        assert_eq!(late.wait_with_output().await.unwrap().stdout, b"x");
        assert_eq!(child.command("cat").spawn().wait().await.unwrap().code, Some(0));
        let none = child.command("cat").stdin(Stdin::null()).spawn();
        assert!(none.stdin.is_none() && none.wait_with_output().await.unwrap().exit.success());
    });
}

#[test]
fn a_reader_that_goes_is_a_closed_pipe_and_the_end_of_the_context_is_no_end_of_file() {
    let tree = Tree::new();
    let child = tree.child();
    block_on(async {
        let mut yes = child.command("yes").spawn();
        drop((yes.stdout.take(), yes.stderr.take()));
        assert!(!yes.wait().await.unwrap().success());
        let mut cut = child.shell("echo begun; sleep 1000").spawn();
        let mut stdout = cut.stdout.take().unwrap();
        let mut begun = [0; 6];
        stdout.read_exact(&mut begun).await.unwrap();
        child.shutdown().await;
        assert!(stdout.read_to_end(&mut Vec::new()).await.is_err());
        assert!(cut.wait().await.is_err());
    });
}

#[test]
fn input_is_given_as_text_or_bytes_and_a_status_needs_no_reader() {
    let tree = Tree::new();
    let child = tree.child();
    block_on(async {
        for stdin in ["hello".into(), String::from("hello").into(), b"hello".into(), b"hello".to_vec().into()] {
            let stdin: Stdin = stdin;
            let output = child.command("sh").args(["-c", "cat; exit 3"]).stdin(stdin).output().await.unwrap();
            assert_eq!((output.exit.code, &output.stdout[..]), (Some(3), &b"hello"[..]));
        }
        assert_eq!(child.shell("head -c 5000000 /dev/zero; exit 4").status().await.unwrap().code, Some(4));
    });
}

#[test]
fn a_file_keeps_its_owner_and_nothing_but_a_file_is_replaced() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
    let tree = Tree::new();
    let far = tree.child();
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let metadata = |name: &str| std::fs::metadata(path(name)).unwrap();
    std::fs::write(path("program"), "old").unwrap();
    let is_root = metadata("program").uid() == 0;
    if is_root {
        chown(path("program"), Some(1), Some(2)).unwrap();
    }
    std::fs::set_permissions(path("program"), PermissionsExt::from_mode(0o4750)).unwrap();
    let before = metadata("program");
    block_on(far.write_file(path("program"), "new")).unwrap();
    let after = metadata("program");
    let of = |metadata: &std::fs::Metadata| (metadata.uid(), metadata.gid(), metadata.mode());
    assert_eq!((of(&after), after.len()), (of(&before), 3));
    // A pipe is neither read, which would take a thread, nor replaced.
    nix::unistd::mkfifo(&path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    for _ in 0..20 {
        let error = block_on(far.timeout(Duration::from_secs(20)).read_file(path("pipe"))).unwrap_err();
        assert!(error.to_string().contains("it is a pipe"), "{error}");
    }
    for place in [path("pipe"), "/dev/null".into()] {
        let error = block_on(far.write_file(place, "new")).unwrap_err().to_string();
        assert!(error.contains("a device, a pipe or a socket is in its place"), "{error}");
    }
    assert!(block_on(far.write_file(directory.path(), "new")).is_err());
    symlink("program", path("link")).unwrap();
    block_on(far.write_file(path("link"), "other")).unwrap();
    assert_eq!((metadata("program").len(), metadata("link").len(), metadata("link").mode() & 0o7777), (3, 5, 0o750));
    let long = "n".repeat(255);
    block_on(far.copy_to(tokio::io::empty(), path(&long), 0o640)).unwrap();
    assert_eq!((metadata(&long).len(), metadata(&long).mode() & 0o777), (0, 0o640));
    // A write that is dropped leaves nothing, wherever it is.
    for _ in 0..20 {
        drop(block_on(far.timeout(Duration::from_micros(300)).write_file(path("dropped"), vec![0; 300_000])));
    }
    eventually("the end of what was dropped", || {
        std::fs::read_dir(directory.path())
            .unwrap()
            .all(|entry| !entry.unwrap().file_name().as_encoded_bytes().starts_with(b"."))
    });
}

#[test]
fn a_file_that_is_replaced_keeps_its_mode_and_its_content_comes_back() {
    use std::os::unix::fs::PermissionsExt;
    let tree = Tree::new();
    let far = tree.behind(&tree.child());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
    block_on(async {
        far.write_file(&path, "first").await.unwrap();
        assert_eq!(far.read_file(&path).await.unwrap(), b"first");
        assert_eq!(mode() & !0o666, 0);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o750)).unwrap();
        let data = vec![7; 1_000_000];
        far.write_file(&path, &data).await.unwrap();
        assert!(far.read_file(&path).await.unwrap() == data);
        assert_eq!(mode(), 0o750);
        assert!(far.read_file("/nonexistent").await.unwrap_err().to_string().contains("/nonexistent"));
    });
}
