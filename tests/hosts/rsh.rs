//! Stand-ins for ssh, over ssh and sudo.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use nix::sys::signal::Signal;

use crate::OnHosts;
use crate::cli::shell::Typist;
use crate::fleet::Fleet;
use crate::support::tool::{Ended, Running, run, tool};
use crate::support::trace::Trace;
use crate::support::{A_WHILE, Missing, ONE_SECOND, unique};

const TOOL: &str = env!("CARGO_BIN_EXE_offshoot");

pub(crate) fn trials() -> Vec<OnHosts> {
    let mut trials: Vec<OnHosts> = Vec::new();
    let mut add = |name: &str, trial: fn(&Fleet) -> Result<()>| trials.push((name.into(), Box::new(trial)));
    add("rsh runs the line by the login shell, in the home", login_shell);
    add("rsync copies a thousand files over ssh and sudo, there and back", tree);
    add("a terminal of rsh is one there, through ssh, sudo and a container", terminal);
    add("all ssh of a program that runs with a path share the connections", once);
    add("connections of a program that runs with a path end when offshoot is killed", killed);
    trials
}

fn terminal(fleet: &Fleet) -> Result<()> {
    let config = fleet.config.display().to_string();
    for (path, line) in [
        ("web1", "stty size; test -t 2; exit 9"),
        ("nopass/sudo", "stty size; test -t 2; exit 9"),
        ("engines/docker:app", "stty size; test -t 2; exit 9"),
    ] {
        let (mut command, trace) = tool(&["rsh", "-F", &config, "-t", path, line]);
        let mut typist = Typist::start_command(&mut command, trace)?;
        typist.expect("33 99\r\n")?;
        assert_eq!(typist.finish(A_WHILE)?, 9, "{path}");
        let ended = rsh(fleet, &["-tt", path, "test -t 1 && echo \"a terminal\"; exit 8"])?;
        ensure!(ended.code == Some(8) && ended.stdout.concat().contains("a terminal"), "{path}: {ended:?}");
    }
    Ok(())
}

/// A script whose ssh goes through a host.
fn with(fleet: &Fleet, place: &Path, script: &str) -> (Command, Trace) {
    let config = fleet.config.display().to_string();
    let (mut command, trace) = tool(&["with", "-F", &config, "web1", "--", "sh", "-c", script]);
    command.env("TMPDIR", place);
    (command, trace.with_places(&fleet.places))
}

fn once(fleet: &Fleet) -> Result<()> {
    let place = tempfile::tempdir()?;
    // The parent of the command is the context there. The options of a program do not matter, nor its directory.
    let script = "cd /; for n in 1 2 3; do ssh -x nopass 'echo $PPID'; done; ssh -x nopass 'echo $PPID; exit 7'";
    let (mut command, mut trace) = with(fleet, place.path(), script);
    let ended = run(&mut command)?;
    ensure!(ended.code == Some(7) && ended.stdout.len() == 4, "{ended:?}");
    ensure!(ended.stdout.iter().all(|pid| *pid == ended.stdout[0]), "each connects by itself: {ended:?}");
    trace.expect_nothing_left(ONE_SECOND)?;
    ensure!(fs::read_dir(place.path())?.next().is_none(), "the directory is left");
    // Several at once do no harm to each other, and the first one connects for all.
    let script = "for n in 1 2 3 4 5 6; do ssh nopass \"echo $n; echo \\$PPID >&2; exit $n\" & done; wait";
    let (mut command, mut trace) = with(fleet, place.path(), script);
    let mut ended = run(&mut command)?;
    ended.stdout.sort();
    assert_eq!(ended.stdout, ["1", "2", "3", "4", "5", "6"], "{ended:?}");
    ensure!(ended.stderr.iter().all(|pid| *pid == ended.stderr[0]), "each connects by itself: {ended:?}");
    // If the first one fails, the others do not wait one after the other.
    let script = "for n in 1 2 3 4 5 6; do ssh -p 1 nopass true & done; wait";
    let (mut command, mut failing) = with(fleet, place.path(), script);
    let begun = std::time::Instant::now();
    let ended = run(&mut command)?;
    ensure!(ended.stderr.iter().filter(|line| line.contains("nopass")).count() >= 6, "{ended:?}");
    ensure!(begun.elapsed() < std::time::Duration::from_secs(10), "one waits for the other: {:?}", begun.elapsed());
    failing.expect_nothing_left(ONE_SECOND)?;
    trace.expect_nothing_left(ONE_SECOND)
}

fn killed(fleet: &Fleet) -> Result<()> {
    let place = tempfile::tempdir()?;
    let (mut command, mut trace) = with(fleet, place.path(), "ssh nopass 'echo up'; echo $$; exec sleep 1000");
    let running = Running::start(&mut command)?;
    assert_eq!(running.line()?, "up");
    let program: u32 = running.line()?.parse()?;
    running.signal(Signal::SIGKILL)?;
    // The program itself runs on.
    trace.exempt(program);
    let left = trace.expect_nothing_left(A_WHILE);
    trace.exempt_no_more(program);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(program.cast_signed()), Signal::SIGKILL)?;
    drop(running.finish()?);
    left?;
    trace.expect_nothing_left(ONE_SECOND)?;
    ensure!(fs::read_dir(place.path())?.next().is_none(), "the directory with the stand-ins is left");
    Ok(())
}

fn rsh(fleet: &Fleet, args: &[&str]) -> Result<Ended> {
    let config = fleet.config.display().to_string();
    let (mut command, mut trace) = tool(&[&["rsh", "-F", &config], args].concat());
    let ended = run(&mut command)?;
    trace.expect_nothing_left(ONE_SECOND)?;
    Ok(ended)
}

fn login_shell(fleet: &Fleet) -> Result<()> {
    for shell in ["bash", "dash", "zsh", "csh", "fish"] {
        let alias = format!("shell-{shell}");
        fleet.login(&alias)?;
        // Of these shells, all know this.
        let ended = rsh(fleet, &[&alias, "pwd; echo $HOME;", "test 1 = 2"])?;
        ensure!(ended.code == Some(1) && ended.stdout.len() == 2, "{alias}: {ended:?}");
        assert_eq!(ended.stdout[0], ended.stdout[1], "{alias}");
    }
    let ended = rsh(fleet, &["shell-csh", "set a = csh; echo $a"])?;
    assert_eq!(ended.stdout, ["csh"], "{:?}", ended.stderr);
    Ok(())
}

fn tree(fleet: &Fleet) -> Result<()> {
    if Command::new("rsync").arg("--version").output().is_err() {
        return Err(Missing("rsync is not installed".into()).into());
    }
    let place = tempfile::tempdir()?;
    let [from, back] = ["from", "back"].map(|name| place.path().join(name));
    for nth in 0..1000 {
        let directory = from.join(format!("d{}", nth % 10));
        fs::create_dir_all(&directory)?;
        fs::write(directory.join(format!("f{nth}")), vec![b'x'; nth * 10])?;
    }
    let there = format!("/tmp/offshoot-rsh-{}", unique());
    let config = fleet.config.display().to_string();
    let text = |path: &Path| path.to_str().map(|path| format!("{path}/")).context("a path");
    let program = format!("{TOOL} rsh -F {config} --become");
    let copy = |from: &str, to: &str| {
        let (prepared, mut trace) = tool(&[]);
        let mut command = Command::new("rsync");
        command.args(["-a", "-e", &program, from, to]);
        command.envs(prepared.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let ended = run(&mut command)?;
        ensure!(ended.code == Some(0), "{ended:?}");
        trace.expect_nothing_left(ONE_SECOND)
    };
    copy(&text(&from)?, &format!("nopass:{there}"))?;
    let owner = rsh(fleet, &["nopass", "stat -c %U", &there])?;
    let copied = copy(&format!("nopass:{there}/"), &text(&back)?);
    rsh(fleet, &["--become", "nopass", "rm -r", &there])?;
    copied?;
    assert_eq!(owner.stdout, ["root"], "{:?}", owner.stderr);
    let output = Command::new("diff").arg("-r").args([&from, &back]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    // The same by a program whose ssh goes through another host.
    let script = format!("rsync -a {} nopass:{there} && ssh nopass ls {there}/d1 | wc -l", text(&from)?);
    let (mut command, mut trace) = tool(&["with", "-F", &config, "web1", "--", "sh", "-c", &script]);
    let ended = run(&mut command)?;
    rsh(fleet, &["nopass", "rm -r", &there])?;
    ensure!(ended.code == Some(0) && ended.stdout == ["100"], "{ended:?}");
    trace.expect_nothing_left(ONE_SECOND)
}
