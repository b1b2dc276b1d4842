//! Connects: what launchers are given, what children are called, and how a connect fails or is given up.

use std::task::{Context as Task, Poll, Waker};
use std::time::{Duration, Instant};

use offshoot::error::ConnectErrorKind;
use offshoot::{Context, Error, export};

use super::{Tree, block_on, eventually, pid};

fn name_in_ps() -> std::io::Result<String> {
    Ok(std::fs::read_to_string("/proc/self/cmdline")?.split('\0').next().unwrap_or_default().to_owned())
}
export!(name_in_ps);

#[test]
fn a_launcher_that_cannot_start_or_ends_at_once_is_named() {
    let tree = Tree::new();
    let script = ["sh", "-c", "echo some trouble >&2; exit 3"];
    let hop = tree.child();
    for via in [None, Some(&hop)] {
        let connect = tree.0.local().exec_prefix(["/nonexistent/tool"]);
        let connect = if let Some(via) = via { connect.via(via) } else { connect };
        let Err(Error::Connect(error)) = block_on(connect.connect()) else { panic!("no stream error") };
        assert_eq!(error.kind, ConnectErrorKind::Start);
        assert!(error.text.starts_with("Child start failed: [Errno 2] No such file or directory"), "{error}");
        assert!(error.advice.starts_with("see that it is there"), "{error}");
        let connect = tree.0.local().exec_prefix(script);
        let connect = if let Some(via) = via { connect.via(via) } else { connect };
        let Err(Error::Connect(error)) = block_on(connect.connect()) else { panic!("no stream error") };
        assert_eq!(error.kind, ConnectErrorKind::Eof);
        assert!(error.text.starts_with("EOF on stream; last 100 lines received:"), "{error}");
        assert!(error.to_string().contains("exited with return code 3"), "{error}");
        assert!(error.to_string().contains("some trouble"), "{error}");
        assert_eq!(error.hop.contains(hop.name()), via.is_some(), "{}", error.hop);
    }
}

#[test]
fn a_connect_that_takes_too_long_says_where_it_was() {
    let tree = Tree::new();
    let start = Instant::now();
    let connect = tree.0.local().exec_prefix(["sleep", "1000"]).connect_timeout(Duration::from_millis(300));
    // `sleep` refuses the first stage's words and ends, or waits: either is
    // an error in good time.
    assert!(block_on(connect.connect()).is_err());
    assert!(start.elapsed() < Duration::from_secs(3));
    let silent = ["sh", "-c", "exec sleep 1000"];
    let connect = tree.0.local().exec_prefix(silent).connect_timeout(Duration::from_millis(300));
    let Err(Error::Connect(error)) = block_on(connect.connect()) else { panic!("no stream error") };
    assert_eq!(error.kind, ConnectErrorKind::Timeout);
    assert_eq!(error.phase, offshoot::error::Phase::Login);
    assert!(error.text.contains("login"), "{error}");
}

#[test]
fn the_end_of_the_router_cancels_a_connect_at_once() {
    let directory = tempfile::tempdir().unwrap();
    for behind in [false, true] {
        let tree = Tree::new();
        let hop = tree.child();
        let begun = directory.path().join(behind.to_string());
        let silent = ["sh", "-c", "echo >\"$0\"; exec sleep 1000", begun.to_str().unwrap()];
        let silent = tree.0.local().exec_prefix(silent);
        let silent = if behind { silent.via(&hop) } else { silent };
        let connect = std::thread::spawn(move || silent.blocking_connect());
        eventually("the launch", || begun.exists());
        let start = Instant::now();
        tree.0.blocking_shutdown();
        let error = connect.join().unwrap().unwrap_err();
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
        match error {
            Error::Connect(error) => {
                assert_eq!(error.kind, ConnectErrorKind::Cancelled);
                let text = "Connection cancelled because the associated Broker began to shut down.";
                assert_eq!(error.text, text);
            }
            // The hop may end before its word arrives.
            Error::Channel(_) if behind => {}
            error => panic!("{error:?}"),
        }
    }
}

/// What a launcher has printed that only looks around.
fn complaints(connect: Result<Context, Error>) -> Vec<String> {
    match connect {
        Err(Error::Connect(error)) => error.tail,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_launcher_has_a_socket_each_as_stdin_and_stdout_which_block_and_a_pipe_or_a_terminal_besides() {
    const LOOK: &str = "#!/bin/sh
# That of readlink on 1 is another.
exec 3>&1
for fd in 0 3 2; do readlink /proc/self/fd/$fd >&2; done
sed -n 's/^flags:/flags/p' /proc/self/fdinfo/0 >&2
(: </dev/tty) 2>/dev/null && echo it has a terminal >&2
exit 3
";
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("sudo");
    std::fs::write(&script, LOOK).unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let script = script.to_str().unwrap();
    let tree = Tree::new();
    // `sh SCRIPT`, as another test that starts a process just now may have the script open.
    let piped = complaints(block_on(tree.0.local().exec_prefix(["sh", script]).connect()));
    let asked = complaints(block_on(tree.0.ssh("nowhere").ssh_path("sh").ssh_args([script]).password("x").connect()));
    for (said, third, terminal) in [(&piped, "pipe:", false), (&asked, "/dev/pts/", true)] {
        assert!(said[..2].iter().all(|said| said.starts_with("socket:")) && said[1] != said[0], "{said:?}");
        assert!(said[2].starts_with(third), "{said:?}");
        let flags = said.iter().find_map(|line| line.strip_prefix("flags")).unwrap();
        let flags = i32::from_str_radix(flags.trim(), 8).unwrap();
        assert_eq!(flags & nix::libc::O_NONBLOCK, 0, "{said:?}");
        assert_eq!(said.iter().any(|line| line == "it has a terminal"), terminal, "{said:?}");
    }
}

/// As sudo does where it logs the output: what it starts still waits for its
/// input.
#[test]
fn a_launcher_may_make_its_stdout_non_blocking() {
    const UNBLOCK: &str =
        "use Fcntl; fcntl(STDOUT, F_SETFL, O_NONBLOCK | fcntl(STDOUT, F_GETFL, 0)) or die; exec @ARGV";
    const READ: &str = r#"printf "$0\n"; if cat >/dev/null; then echo read all; fi >&2; exit 3"#;
    let tree = Tree::new();
    let prefix = ["perl", "-e", UNBLOCK, "sh", "-c", READ, "ready"];
    let connect = tree.0.local().exec_prefix(prefix).connect_timeout(Duration::from_millis(500));
    let said = complaints(block_on(connect.connect()));
    assert!(!said.iter().any(|line| line.contains("unavailable")), "{said:?}");
    assert!(said.contains(&"ready".to_owned()), "{said:?}");
}

#[test]
fn ssh_keeps_its_connection_alive_unless_its_configuration_says_otherwise() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("ssh");
    let says = "#!/bin/sh\ncase \" $* \" in *' -G '*) cat \"$2.answer\"; exit;; esac\necho \"$*\" >&2; exit 3\n";
    std::fs::write(&script, says).unwrap();
    let (config, answer) = (directory.path().join("config"), directory.path().join("config.answer"));
    // Only ssh knows what this says.
    std::fs::write(&config, "Include another\n").unwrap();
    let (script, config) = (script.to_str().unwrap(), config.to_str().unwrap());
    let tree = Tree::new();
    let hop = tree.child();
    for (settings, interval, count) in [
        ("serveraliveinterval 0\nserveralivecountmax 3\n", Some("15"), Some("3")),
        ("serveraliveinterval 0\nserveralivecountmax 9\n", Some("15"), Some("9")),
        ("serveraliveinterval 60\nserveralivecountmax 9\n", None, None),
    ] {
        std::fs::write(&answer, settings).unwrap();
        let ssh = || tree.0.ssh("nowhere").ssh_path("sh").ssh_args([script, "-F", config]);
        for connect in [ssh(), ssh().via(&hop)] {
            let words = complaints(block_on(connect.clone().connect())).join(" ");
            let given = |name: &str| words.split(&format!("{name}=")).nth(1).and_then(|rest| rest.split(' ').next());
            assert_eq!((given("ServerAliveInterval"), given("ServerAliveCountMax")), (interval, count), "{words}");
            let off = complaints(block_on(connect.keepalive(Duration::ZERO, 3).connect())).join(" ");
            assert!(off.contains("ServerAliveInterval=0"), "{off}");
        }
    }
}

#[test]
fn a_child_is_called_by_its_method_and_its_pid_behind_its_parent() {
    let tree = Tree::new();
    let child = tree.child();
    let there = child.blocking_call(pid, ()).unwrap();
    assert_eq!(child.name(), format!("local.{there}"));
    let behind = tree.0.fork().via(&child).blocking_connect().unwrap();
    let there = behind.blocking_call(pid, ()).unwrap();
    assert_eq!(behind.name(), format!("{}.fork.{there}", child.name()));
    let called = tree.0.local().name("somebody").via(&child).blocking_connect().unwrap();
    assert_eq!(called.name(), format!("{}.somebody", child.name()));
}

#[test]
fn remote_names_are_shown_and_checked() {
    let tree = Tree::new();
    let child = block_on(tree.0.local().remote_name("someone@there:1").connect()).unwrap();
    assert_eq!(child.blocking_call(name_in_ps, ()).unwrap(), "offshoot:someone@there:1");
    // A name that a domain has put a backslash into is shown all the same.
    let shown = tree.child().blocking_call(name_in_ps, ()).unwrap();
    let (user, rest) = shown.strip_prefix("offshoot:").unwrap().split_once('@').unwrap();
    assert!(!user.is_empty() && rest.ends_with(&format!(":{}", std::process::id())), "{shown}");
    assert!(!shown.contains(['/', '\\']), "{shown}");
    let error = block_on(tree.0.local().remote_name("a/b").connect()).unwrap_err();
    assert!(error.to_string().contains("remote_name cannot contain slashes"), "{error}");
}

#[test]
fn twenty_connects_at_once_succeed_and_take_less_than_one_after_the_other() {
    let tree = Tree::new();
    let hop = tree.child();
    let (near, far) =
        (|| tree.child().blocking_call(pid, ()).unwrap(), || tree.behind(&hop).blocking_call(pid, ()).unwrap());
    // Others run on this machine as well: one good time is enough.
    let is_quicker = (0..10).any(|_| {
        let start = Instant::now();
        for _ in 0..10 {
            near();
            far();
        }
        let in_turn = start.elapsed();
        let start = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..10 {
                scope.spawn(near);
                scope.spawn(far);
            }
        });
        start.elapsed() < in_turn
    });
    assert!(is_quicker);
}

/// Processes that are contexts of this name.
fn contexts_called(name: &str) -> usize {
    let argv0 = format!("offshoot:{name}\0");
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter(|process| {
            std::fs::read(process.path().join("cmdline")).is_ok_and(|argv| argv.starts_with(argv0.as_bytes()))
        })
        .count()
}

#[test]
fn a_connect_that_is_dropped_at_any_moment_leaves_no_child_here_and_behind_a_hop() {
    let tree = Tree::new();
    let hop = tree.child();
    let name = format!("dropped-{}", pid());
    for (place, via) in [("here", tree.0.myself()), ("behind a hop", hop)] {
        let connect = || tree.0.local().remote_name(&name).via(&via).connect();
        let start = Instant::now();
        let child = block_on(connect()).unwrap();
        let usual = start.elapsed();
        child.blocking_shutdown();
        // Most of all about the moment when the answer is there and nobody has taken it yet.
        for round in 0..100 {
            let (start, mut connect) = (Instant::now(), Box::pin(connect()));
            let mut connected = None;
            while connected.is_none() && start.elapsed() < usual * (50 + round) / 100 {
                let polled = connect.as_mut().poll(&mut Task::from_waker(Waker::noop()));
                connected = if let Poll::Ready(result) = polled { Some(result.unwrap()) } else { None };
            }
            drop(connect);
            connected.iter().for_each(Context::blocking_shutdown);
        }
        eventually(place, || contexts_called(&name) == 0);
    }
}
