//! Programs of this machine whose every ssh goes to a context.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use offshoot::{Context, Error, fakessh};

use super::{Tree, block_on, eventually, is_alive, pid};

/// Runs a line of shell, and returns what it prints and its exit code.
fn run(context: &Context, line: &str) -> (String, String, Option<i32>) {
    let place = tempfile::tempdir().unwrap();
    let file = |name: &str| fs::File::create(place.path().join(name)).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", line]).stdin(Stdio::null()).stdout(file("out")).stderr(file("err"));
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("TMPDIR", place.path());
    let status = block_on(fakessh::run(context, &mut command)).unwrap();
    let text = |name: &str| fs::read_to_string(place.path().join(name)).unwrap();
    (text("out"), text("err"), status.code())
}

#[test]
fn every_ssh_of_a_program_runs_its_command_in_the_context() {
    let tree = Tree::new();
    let far = tree.behind(&tree.child());
    let process = far.blocking_call(pid, ()).unwrap();
    // The parent of the command there is the context.
    let (out, err, code) =
        run(&far, "ssh -l amy web 'echo $PPID; echo err >&2; exit 3'; echo $?; ssh -n b cat; exit 5");
    assert_eq!((out, err.as_str(), code), (format!("{process}\n3\n"), "err\n", Some(5)));
    let (out, _, code) = run(&far, "head -c 3000000 /dev/zero | ssh web 'tr \"\\0\" x; echo end' | tail -c 8");
    assert_eq!((out.as_str(), code), ("xxxxend\n", Some(0)));
    let many = "for n in 1 2 3 4 5 6 7 8; do ssh web \"sleep 0.2; echo $n\" & done; wait";
    let (out, err, _) = run(&far, many);
    let mut lines: Vec<_> = out.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["1", "2", "3", "4", "5", "6", "7", "8"], "{err}");
    let (ssh, ..) = run(&far, "command -v ssh");
    let directory = Path::new(ssh.trim()).parent().unwrap();
    assert!(ssh.contains("/offshoot-with.") && !directory.exists(), "{ssh}");
    for (line, code, says) in [
        ("ssh web 'kill -9 $$'", 255, "signal 9 ended the command"),
        ("echo 'echo read >&2; exit 6' | ssh web", 6, "read"),
        ("ssh -o RemoteCommand='exit 7' web", 7, ""),
        ("ssh -L 1:a:1 web true", 255, "no -L here"),
        ("ssh -W /no/such/socket web", 255, "/no/such/socket"),
        ("ssh -G web", 0, ""),
        ("exec /no/such/program", 127, "not found"),
    ] {
        let (_, err, ended) = run(&far, line);
        assert!(ended == Some(code) && err.contains(says), "{line}: {ended:?} {err}");
    }
}

#[test]
fn an_ssh_has_a_terminal_a_connection_or_nothing_if_its_options_say_so() {
    let tree = Tree::new();
    let far = tree.child();
    let (out, err, code) = run(&far, "ssh -tt web 'test -t 0 -a -t 2 && stty size; exit 4'");
    assert_eq!((out.as_str(), err.as_str(), code), ("24 80\r\n", "", Some(4)));
    // stdin is no terminal, so once is not enough.
    let (out, _, code) = run(&far, "ssh -t web 'test -t 1; echo $?'; ssh -tt -T web 'test -t 1'");
    assert_eq!((out.as_str(), code), ("1\n", Some(1)));
    // With a terminal here, it has that size. The one here is raw in the meantime.
    let size = nix::pty::Winsize { ws_row: 33, ws_col: 99, ws_xpixel: 0, ws_ypixel: 0 };
    let terminal = nix::pty::openpty(Some(&size), None).unwrap();
    let modes = || nix::sys::termios::tcgetattr(&terminal.slave).unwrap().local_flags;
    let before = modes();
    let mut command = Command::new("sh");
    command
        .args(["-c", "ssh -t web 'test \"$(stty size)\" = \"33 99\" && read -r a && test \"$a\" = typed && exit 6'"]);
    command.stdin(terminal.slave.try_clone().unwrap()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut master = fs::File::from(terminal.master);
    let typing = std::thread::spawn(move || std::io::Write::write_all(&mut master, b"typed\r").map(|()| master));
    let status = block_on(fakessh::run(&far, &mut command)).unwrap();
    assert_eq!((status.code(), modes() == before), (Some(6), true));
    drop(typing.join());
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("socket");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let echo = std::thread::spawn(move || {
        let mut end = listener.accept().unwrap().0;
        let mut all = Vec::new();
        std::io::Read::read_to_end(&mut end, &mut all).unwrap();
        std::io::Write::write_all(&mut end, &all).unwrap();
    });
    let (out, err, code) = run(&far, &format!("echo there and back | ssh -W {} web", socket.display()));
    assert_eq!((out.as_str(), err.as_str(), code), ("there and back\n", "", Some(0)));
    echo.join().unwrap();
    // It runs until somebody ends it.
    let (_, err, code) = run(&far, "timeout 1 ssh -N web");
    assert_eq!((err.as_str(), code), ("", Some(124)));
}

/// Whether a program is installed.
fn has(program: &str) -> bool {
    Command::new(program).arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

fn expect_equal(a: &Path, b: &Path) {
    let output = Command::new("diff").arg("-r").args([a, b]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn rsync_scp_and_git_copy_whole_trees() {
    let tree = Tree::new();
    let far = tree.behind(&tree.child());
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    for nth in 0..300_u32 {
        let directory = at(&format!("tree/d{}", nth % 10));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(format!("a file {nth}")), nth.to_be_bytes().repeat(nth as usize * 10)).unwrap();
    }
    let p = place.path().display();
    let git = "git -c user.name=amy -c user.email=amy@example.com";
    for (program, line, copy) in [
        ("rsync", format!("rsync -a {p}/tree/ web:{p}/there && rsync -az web:{p}/there/ {p}/back"), "back"),
        ("scp", format!("scp -qr web:{p}/tree {p}/scp"), "scp"),
        ("scp", format!("scp -Oqr {p}/tree web:{p}/old"), "old"),
        (
            "git",
            format!(
                "cp -r {p}/tree {p}/repo && cd {p}/repo && {git} init -q && {git} add . && {git} commit -qm one && {git} clone -q web:{p}/repo {p}/clone && rm -rf {p}/clone/.git"
            ),
            "clone",
        ),
    ] {
        if !has(program) {
            eprintln!("SKIPPED: {program} is not installed");
            continue;
        }
        let (_, err, code) = run(&far, &line);
        if err.contains("no sftp-server is found") {
            // The program has heard of the end, though its input and output are one socket that it keeps open.
            assert_eq!(code, Some(255), "{line}: {err}");
            eprintln!("SKIPPED: {line}: there is no sftp-server");
            continue;
        }
        assert_eq!(code, Some(0), "{line}: {err}");
        expect_equal(&at("tree"), &at(copy));
    }
}

#[test]
fn a_run_that_is_dropped_ends_its_program_and_its_commands() {
    let tree = Tree::new();
    let child = tree.child();
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("pids");
    let mut command = Command::new("sh");
    let line = format!("ssh web 'echo $$ >>{0}; exec sleep 1000' & echo $$ >>{0}; wait", file.display());
    command.args(["-c", &line]).env("TMPDIR", place.path());
    let pids = || -> Vec<u32> {
        let pids = fs::read_to_string(&file).unwrap_or_default();
        pids.lines().map(|pid| pid.parse().unwrap()).collect()
    };
    let until_both_run = async {
        let running = fakessh::run(&child, &mut command);
        tokio::pin!(running);
        for _ in 0..600 {
            let pause = child.timeout(Duration::from_millis(50));
            tokio::select! {
                status = &mut running => panic!("{status:?}"),
                _ = pause.closed() => {}
            }
            if pids().len() == 2 {
                return;
            }
        }
    };
    block_on(until_both_run);
    let pids = pids();
    assert_eq!(pids.len(), 2);
    eventually("the end of both", || pids.iter().all(|pid| !is_alive(*pid)));
}

#[test]
fn an_ssh_that_is_killed_ends_its_command_and_one_whose_context_is_lost_says_so() {
    let tree = Tree::new();
    let child = tree.child();
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("pid");
    let path = file.display();
    let line = format!(
        "ssh web 'echo $$ >{path}; exec sleep 1000' & while [ ! -s {path} ]; do sleep 0.05; done; kill -9 $!; wait $!; \
         while kill -0 $(cat {path}) 2>/dev/null; do sleep 0.05; done; echo gone"
    );
    assert_eq!(run(&child, &line).0, "gone\n");
    let process = child.blocking_call(pid, ()).unwrap();
    let (out, err, _) = run(&child, &format!("ssh web 'kill -9 {process}; sleep 1000'; echo $?"));
    assert!(out == "255\n" && err.starts_with("offshoot: ") && err.contains("disconnected"), "{out} {err}");
}

#[test]
fn a_program_that_is_not_there_is_told() {
    let tree = Tree::new();
    let child = tree.child();
    let error = block_on(fakessh::run(&child, &mut Command::new("/no/such/program"))).unwrap_err();
    let Error::Io(inner) = &error else { panic!("{error:?}") };
    assert_eq!(inner.kind(), std::io::ErrorKind::NotFound);
    assert!(error.to_string().starts_with("cannot run /no/such/program with a stand-in for ssh: "), "{error}");
}
