//! Stand-ins for ssh, by the programs that start it.

use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::shell::Typist;
use crate::support::tool::{Ended, Running, run, tool};
use crate::support::trace::Trace;
use crate::support::{A_WHILE, AT_ONCE, Missing, PATIENCE, THREE_SECONDS, long_time, wait_for};

const TOOL: &str = env!("CARGO_BIN_EXE_offshoot");

/// Another program than the tool, which has to be installed, and its trace.
fn program(name: &str, args: &[&str]) -> Result<(Command, Trace)> {
    if Command::new(name).arg("--help").output().is_err() {
        return Err(Missing(format!("{name} is not installed")).into());
    }
    let (prepared, trace) = tool(&[]);
    let mut command = Command::new(name);
    command.args(args).envs(prepared.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_SSH_COMMAND", format!("{TOOL} rsh"));
    Ok((command, trace))
}

/// Runs such a program to its end, which leaves nothing.
fn done(name: &str, args: &[&str]) -> Result<Ended> {
    let (mut command, mut trace) = program(name, args)?;
    let ended = run(&mut command)?;
    ensure!(ended.code == Some(0), "{name} {args:?}: {ended:?}");
    trace.expect_nothing_left(AT_ONCE)?;
    Ok(ended)
}

/// A directory with a tree of a thousand files, a link and bytes of all values, and its path.
fn tree() -> Result<(TempDir, String)> {
    let place = tempfile::tempdir()?;
    for nth in 0..1000_u32 {
        let directory = place.path().join(format!("tree/d{}", nth % 10));
        fs::create_dir_all(&directory)?;
        let bytes: Vec<u8> = (0..nth).flat_map(u32::to_be_bytes).collect();
        fs::write(directory.join(format!("a file {nth}")), bytes)?;
    }
    symlink("d1/a file 1", place.path().join("tree/link"))?;
    let path = place.path().to_str().context("a path")?.to_owned();
    Ok((place, path))
}

fn expect_equal(a: &str, b: &str) -> Result<()> {
    let output = Command::new("diff").args(["-r", "--no-dereference", a, b]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    Ok(())
}

pub(crate) fn bytes_pass_as_they_are_and_the_exit_code_is_that_of_the_command() -> Result<()> {
    let bytes: Vec<u8> = (0..2_500_000_u32).flat_map(u32::to_be_bytes).collect();
    let (mut command, mut trace) =
        tool(&["rsh", "-x", "-oForwardAgent=no", "--", "local1/local2", "cat;", "exit", "7"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let (mut to, sent) = (child.stdin.take().context("stdin")?, bytes.clone());
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut to, &sent));
    let output = child.wait_with_output()?;
    ensure!(writer.join().is_ok_and(|result| result.is_ok()), "the input is not taken");
    ensure!(output.stdout == bytes, "{} bytes come back", output.stdout.len());
    assert_eq!(output.status.code(), Some(7));
    trace.expect_nothing_left(AT_ONCE)?;
    for (args, code, out, err) in [
        (&["local1", "echo out; echo err >&2; exit 3"][..], 3, "out", "err"),
        (&["local1", "test", "-z", "a b"], 2, "", "test: "),
        (&["-n", "local1", "cat; pwd"], 0, &std::env::var("HOME")?, ""),
        (&["local1", "kill -9 $$"], 255, "", "signal 9 ended the command"),
        (&["local1"], 0, "", ""),
        (&["-o", "RemoteCommand=echo there", "local1"], 0, "there", ""),
        (&["-L", "1:a:1", "local1", "true"], 255, "", "forwards ports"),
        (&["-l", "amy", "local1", "true"], 255, "", "no hop of local1 is by ssh"),
        (&["local[1-2]", "true"], 255, "", "one host is wanted"),
        (&["-s", "local1", "netconf"], 255, "", "there is sftp"),
        (&["-G", "local1"], 0, "host local1", ""),
    ] {
        let ended = run(&mut tool(&[&["rsh"], args].concat()).0)?;
        assert_eq!((ended.code, ended.stdout.join("|").as_str()), (Some(code), out), "{args:?}: {ended:?}");
        ensure!(ended.stderr.concat().contains(err), "{args:?}: {ended:?}");
    }
    Ok(())
}

pub(crate) fn output_comes_until_every_process_has_closed_it() -> Result<()> {
    let begun = Instant::now();
    let line = "(sleep 4; cat; echo late >&2; exec 2>&-; sleep 3; echo later) <&0 & echo first; exit 3";
    let (mut command, mut trace) = tool(&["rsh", "local1", line]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    // The command itself has ended by then.
    std::thread::sleep(THREE_SECONDS);
    std::io::Write::write_all(&mut child.stdin.take().context("stdin")?, b"typed\n")?;
    let output = child.wait_with_output()?;
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert_eq!((output.status.code(), &*out, &*err), (Some(3), "first\ntyped\nlater\n", "late\n"));
    ensure!(begun.elapsed() > 2 * THREE_SECONDS, "it ends after {:?}", begun.elapsed());
    trace.expect_nothing_left(AT_ONCE)?;
    Ok(())
}

pub(crate) fn rsync_copies_a_tree_there_and_back() -> Result<()> {
    let (_place, path) = tree()?;
    let [tree, there, back] = ["tree", "there", "back"].map(|name| format!("{path}/{name}"));
    done("rsync", &["-a", "-e", &format!("{TOOL} rsh"), &format!("{tree}/"), &format!("local1:{there}")])?;
    expect_equal(&tree, &there)?;
    let rsh = format!("{TOOL} rsh --via local1/local2");
    done("rsync", &["-az", "-e", &rsh, &format!("local3:{there}/"), &back])?;
    expect_equal(&tree, &back)
}

pub(crate) fn git_clones_and_pushes() -> Result<()> {
    let (place, path) = tree()?;
    let tree = format!("{path}/tree");
    let git =
        |args: &[&str]| done("git", &[&["-c", "user.name=amy", "-c", "user.email=amy@example.com"], args].concat());
    git(&["-C", &tree, "init", "-q", "-b", "main"])?;
    git(&["-C", &tree, "add", "."])?;
    git(&["-C", &tree, "commit", "-qm", "first"])?;
    let clone = format!("{path}/clone");
    git(&["clone", "-q", &format!("local1:{tree}"), &clone])?;
    ensure!(fs::read_link(place.path().join("clone/link"))? == Path::new("d1/a file 1"), "the clone has all");
    git(&["-C", &clone, "commit", "-q", "--allow-empty", "-m", "second"])?;
    git(&["-C", &clone, "push", "-q", "origin", "HEAD:other"])?;
    let log = git(&["-C", &tree, "log", "-1", "--format=%s", "other"])?;
    assert_eq!(log.stdout, ["second"]);
    Ok(())
}

pub(crate) fn scp_copies_by_sftp_and_by_its_old_protocol() -> Result<()> {
    let (place, path) = tree()?;
    symlink(TOOL, place.path().join("offshoot-rsh"))?;
    let rsh = format!("{path}/offshoot-rsh");
    let file = format!("{path}/tree/d9/a file 999");
    let ended = run(&mut tool(&["rsh", "-s", "local1", "sftp"]).0)?;
    let has_server = ended.code == Some(0);
    ensure!(has_server || ended.stderr.concat().contains("scp -O"), "{ended:?}");
    for options in [&["-O"][..], &[]].into_iter().filter(|options| has_server || !options.is_empty()) {
        let copy = format!("{path}/copy");
        done("scp", &[options, &["-q", "-S", &rsh, &file, &format!("local1:{copy}")]].concat())?;
        done("scp", &[options, &["-q", "-S", &rsh, &format!("local1:{copy}"), &format!("{copy}2")]].concat())?;
        expect_equal(&file, &format!("{copy}2"))?;
        fs::remove_file(format!("{copy}2"))?;
    }
    Ok(())
}

pub(crate) fn a_slow_reader_holds_up_the_command() -> Result<()> {
    const ALL: u64 = 100_000_000;
    let place = tempfile::tempdir()?;
    let mark = place.path().join("written");
    let line = format!(
        "for n in $(seq 1000); do head -c 100000 /dev/zero; echo $n >{0}.new; mv {0}.new {0}; done",
        mark.display()
    );
    let (mut command, mut trace) = tool(&["rsh", "local1", &line]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let (mut last, mut same) = (String::new(), 0);
    let is_held_up = || {
        let now = fs::read_to_string(&mark).unwrap_or_default();
        same = if now == last && !now.is_empty() { same + 1 } else { 0 };
        last = now;
        (same > 50).then_some(())
    };
    let held_up = wait_for(PATIENCE, is_held_up);
    let mut bytes = Vec::new();
    child.stdout.take().context("stdout")?.read_to_end(&mut bytes)?;
    assert_eq!((child.wait()?.code(), bytes.len() as u64), (Some(0), ALL));
    held_up.context("the command is not held up")?;
    ensure!(last.trim().parse::<u64>()? < 500, "{last} hundredths were written unread");
    trace.expect_nothing_left(AT_ONCE)
}

pub(crate) fn an_rsh_that_is_killed_leaves_nothing_alone() -> Result<()> {
    for (signal, code) in [(Signal::SIGKILL, None), (Signal::SIGTERM, Some(143))] {
        let time = long_time();
        let (mut command, trace) = tool(&["rsh", "local1/local2", &format!("echo begun; sleep {time}; true")]);
        let mut trace = trace.with_needle(&time);
        let running = Running::start(&mut command)?;
        assert_eq!(running.line()?, "begun");
        ensure!(trace.look().iter().any(|process| process.argv.contains(&time)), "the command runs");
        running.signal(signal)?;
        let start = Instant::now();
        let ended = running.finish()?;
        assert_eq!(ended.code, code, "{:?}", ended.stderr);
        trace.expect_nothing_left(THREE_SECONDS.saturating_sub(start.elapsed()))?;
    }
    Ok(())
}

/// `rsh` on a terminal.
fn on_terminal(args: &[&str]) -> Result<Typist> {
    let (mut command, trace) = tool(&[&["rsh"], args].concat());
    Typist::start_command(&mut command, trace)
}

pub(crate) fn a_command_of_rsh_has_a_terminal_that_is_the_one_here() -> Result<()> {
    let line = "stty size; test -t 0 -a -t 2 && echo \"$TERM, $LC_SENT\"; read -r word; echo \"<$word>\"; exit 7";
    let (mut command, trace) = tool(&["rsh", "-t", "-o", "SendEnv=LC_SENT", "local1/local2", line]);
    let mut typist = Typist::start_command(command.env("LC_SENT", "sent"), trace)?;
    typist.expect("33 99\r\n")?;
    typist.expect("vt100, sent\r\n")?;
    typist.type_text("a word\r")?;
    typist.expect("<a word>")?;
    assert_eq!(typist.finish(AT_ONCE)?, 7);
    // Ctrl-C goes to what runs there, and the size follows.
    let mut typist = on_terminal(&["-t", "local1", "trap 'stty size; exit 5' INT; echo up; while :; do read a; done"])?;
    typist.expect("up\r\n")?;
    typist.resize("20", "77")?;
    typist.type_text("\x03")?;
    typist.expect("\r\n")?;
    assert_eq!(typist.finish(AT_ONCE)?, 5);
    Ok(())
}

pub(crate) fn rsh_without_a_command_is_a_login_on_a_terminal() -> Result<()> {
    let mut typist = on_terminal(&["local1"])?;
    typist.type_text("echo \"the arguments: $(tr '\\0' ' ' </proc/$$/cmdline)\"; exit 6\r")?;
    typist.expect(" -l \r\n")?;
    assert_eq!(typist.finish(AT_ONCE)?, 6);
    // What the escape character says ends it, as ssh ends.
    let mut typist = on_terminal(&["-e", "%", "-t", "local1", "echo up; cat"])?;
    typist.expect("up\r\n")?;
    typist.type_text("%.")?;
    assert_eq!(typist.finish(AT_ONCE)?, 255);
    Ok(())
}

pub(crate) fn rsh_makes_a_terminal_where_there_is_none_if_it_is_forced() -> Result<()> {
    let line = "test -t 0 && echo a terminal; read -r word; echo \"<$word>\"; exit 3";
    let end = "~.";
    for (args, code, wanted) in [
        // As the terminal echoes what is typed, it stands there twice. The escape character is one of a keyboard.
        (&["-tt"][..], 3, "a terminal\r\n~.\r\n<~.>\r\n"),
        (&["-o", "RequestTTY=force"], 3, "a terminal\r\n~.\r\n<~.>\r\n"),
        (&["-t"], 3, "<~.>\n"),
        (&["-tt", "-T"], 3, "<~.>\n"),
        (&["-T"], 3, "<~.>\n"),
    ] {
        let (mut command, mut trace) = tool(&[&["rsh"], args, &["local1", line]].concat());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        std::io::Write::write_all(&mut child.stdin.take().context("stdin")?, format!("{end}\n").as_bytes())?;
        let output = child.wait_with_output()?;
        let sorted = |text: &str| {
            let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
            lines.sort();
            lines
        };
        // The echo may come before the first line.
        let out = String::from_utf8(output.stdout)?;
        assert_eq!((output.status.code(), sorted(&out)), (Some(code), sorted(wanted)), "{args:?}");
        let says = String::from_utf8(output.stderr)?;
        assert_eq!(says.contains("-tt makes one"), args == ["-t"], "{args:?}: {says}");
        trace.expect_nothing_left(AT_ONCE)?;
    }
    let ended = run(&mut tool(&["rsh", "-tt", "local1", "kill -9 $$"]).0)?;
    ensure!(ended.code == Some(255) && ended.stderr.concat().contains("signal 9 ended"), "{ended:?}");
    let ended = run(&mut tool(&["rsh", "-n", "-tt", "local1", "exit 4"]).0)?;
    ensure!(ended.code == Some(4), "{ended:?}");
    Ok(())
}

pub(crate) fn rsh_holds_a_connection_without_a_command() -> Result<()> {
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
        let (mut command, mut trace) = tool(&["rsh", "-N", "local1/local2"]);
        let running = Running::start(&mut command)?;
        wait_for(PATIENCE, || (trace.look().len() >= 3).then_some(())).context("the hosts are not connected")?;
        running.signal(signal)?;
        let ended = running.finish()?;
        assert_eq!((ended.code, ended.stdout.len()), (Some(code), 0), "{ended:?}");
        trace.expect_nothing_left(AT_ONCE)?;
    }
    // It ends with the connection.
    let (mut command, mut trace) = tool(&["rsh", "-N", "local1/local2"]);
    let running = Running::start(&mut command)?;
    let hop = wait_for(PATIENCE, || {
        let all = trace.look();
        let parent = all.iter().find(|process| process.parent == running.pid.cast_signed())?.pid;
        all.iter().any(|process| process.parent == parent).then_some(parent)
    });
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(hop.context("the hosts are not connected")?), Signal::SIGKILL)?;
    let ended = running.finish()?;
    ensure!(ended.code == Some(255) && ended.stderr.concat().contains("connection was lost"), "{ended:?}");
    trace.expect_nothing_left(A_WHILE)
}

/// A script that `with` runs, and its trace. What it prints first is the path of its ssh.
fn with(place: &Path, script: &str) -> (Command, Trace) {
    let (mut command, trace) = tool(&["with", "local1", "--", "sh", "-c", &format!("command -v ssh; {script}")]);
    command.env("TMPDIR", place).env("GIT_CONFIG_GLOBAL", "/dev/null");
    (command, trace)
}

pub(crate) fn a_program_reaches_hosts_behind_a_path_by_its_own_ssh() -> Result<()> {
    let (place, path) = tree()?;
    // The name of a directory may be odd.
    let odd = place.path().join("it's odd");
    fs::create_dir(&odd)?;
    for name in ["rsync", "scp", "git"] {
        if Command::new(name).arg("--help").output().is_err() {
            return Err(Missing(format!("{name} is not installed")).into());
        }
    }
    let script = format!(
        "ssh local2 echo hi; rsync -a {path}/tree/ local2:{path}/copy && \
         scp -Oq '{path}/tree/d1/a file 1' local2:{path}/one; exit 9"
    );
    let (mut command, mut trace) = with(&odd, &script);
    let ended = run(&mut command)?;
    ensure!(ended.code == Some(9) && ended.stdout.get(1).is_some_and(|line| line == "hi"), "{ended:?}");
    expect_equal(&format!("{path}/tree"), &format!("{path}/copy"))?;
    expect_equal(&format!("{path}/tree/d1/a file 1"), &format!("{path}/one"))?;
    ensure!(fs::read_dir(&odd)?.next().is_none(), "the directory is left");
    trace.expect_nothing_left(AT_ONCE)?;
    let (mut command, _) = tool(&["with", "local1", "--", "/no/such/program"]);
    assert_eq!(run(command.env("TMPDIR", &odd))?.code, Some(127));
    ensure!(fs::read_dir(&odd)?.next().is_none(), "the directory is left");
    assert_eq!(run(&mut tool(&["with", "a//b", "--", "true"]).0)?.code, Some(64));
    Ok(())
}

pub(crate) fn the_directory_of_with_is_removed_after_a_signal() -> Result<()> {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let place = tempfile::tempdir()?;
        let (mut command, mut trace) = with(place.path(), &format!("exec sleep {}", long_time()));
        // In a group of its own it gets nothing from a terminal.
        let running = Running::start(command.process_group(0))?;
        ensure!(Path::new(&running.line()?).starts_with(place.path()), "the program has an ssh of its own");
        running.signal(signal)?;
        let ended = running.finish()?;
        assert_eq!(ended.code, Some(128 + signal as i32), "{ended:?}");
        ensure!(fs::read_dir(place.path())?.next().is_none(), "the directory is left");
        trace.expect_nothing_left(AT_ONCE)?;
    }
    Ok(())
}
