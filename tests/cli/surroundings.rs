//! What surrounds the tool: the current directory, and the signals, descriptors and limits that it has inherited.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use super::text::launcher;
use crate::support::AT_ONCE;
use crate::support::tool::{Ended, Running, run, tool};

const TOOL: &str = env!("CARGO_BIN_EXE_offshoot");
/// A user who is nobody here.
const STRANGER: u32 = 65_534;

/// The tool in a directory that is its home as well.
fn offshoot_in(place: &Path, args: &[&str]) -> Result<Ended> {
    let (mut command, mut trace) = tool(args);
    command.current_dir(place).env("HOME", place.join("home"));
    for variable in ["OFFSHOOT_INVENTORY", "ANSIBLE_INVENTORY", "ANSIBLE_CONFIG", "CLUSTERSHELL_CFGDIR"] {
        command.env_remove(variable);
    }
    let ended = run(&mut command)?;
    trace.expect_nothing_left(AT_ONCE)?;
    Ok(ended)
}

fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    std::fs::write(path, text)?;
    Ok(std::fs::set_permissions(path, PermissionsExt::from_mode(mode))?)
}

pub(crate) fn what_others_have_put_into_the_current_directory_is_not_read() -> Result<()> {
    const PROGRAM: &str = "#!/bin/sh\n: >ran\necho '{\"web\": [\"web1\"], \"_meta\": {}}'\n";
    let project = tempfile::tempdir()?;
    let (place, ran) = (project.path(), project.path().join("ran"));
    write(&place.join("prog"), PROGRAM, 0o755)?;
    write(&place.join("ansible.cfg"), "[defaults]\ninventory = ./prog\n", 0o644)?;
    let lines = [&["hosts", "@web"][..], &["run", "--dry-run", "-w", "@web", "--", "true"]];
    // The user's own is run, and never to complete a word.
    for line in lines {
        ensure!(offshoot_in(place, line)?.code == Some(0) && ran.exists(), "{line:?}");
        std::fs::remove_file(&ran)?;
    }
    let completed = offshoot_in(place, &["__complete", "bash", "offshoot run -w @", "@"])?;
    ensure!(!ran.exists() && completed.stdout == ["@failed"], "{completed:?}");
    let named = offshoot_in(place, &["__complete", "bash", "offshoot run -I prog -w @", "@"])?;
    ensure!(!ran.exists() && named.stdout == ["@failed"], "{named:?}");
    let is_root = nix::unistd::geteuid().is_root();
    for (what, owner, mode) in [
        (place.to_owned(), STRANGER, 0o755),
        (place.join("ansible.cfg"), STRANGER, 0o644),
        (place.join("prog"), STRANGER, 0o755),
        (place.to_owned(), 0, 0o757),
        (place.join("prog"), 0, 0o757),
    ] {
        // Only root can give a file away.
        if owner != 0 && !is_root {
            continue;
        }
        let before = what.metadata()?.permissions();
        if is_root {
            chown(&what, Some(owner), None)?;
        }
        std::fs::set_permissions(&what, PermissionsExt::from_mode(mode))?;
        for line in lines {
            let ended = offshoot_in(place, line)?;
            let told = ended.stderr.iter().filter(|line| line.contains("is not read, because") && line.contains("-I"));
            ensure!(ended.code == Some(66) && told.count() == 1 && !ran.exists(), "{what:?} {mode:o}: {ended:?}");
        }
        if is_root {
            chown(&what, Some(0), None)?;
        }
        std::fs::set_permissions(&what, before)?;
    }
    // What is named is read, wherever it is.
    std::fs::set_permissions(place, PermissionsExt::from_mode(0o777))?;
    ensure!(offshoot_in(place, &["hosts", "-I", "prog", "@web"])?.stdout == ["web1"] && ran.exists());
    Ok(())
}

pub(crate) fn bash_is_offered_no_name_on_which_it_would_act() -> Result<()> {
    let place = tempfile::tempdir()?;
    std::fs::write(place.path().join("hosts.json"), r#"{"$(touch x)": {"hosts": {"a": {}}}, "web": {}}"#)?;
    let offered = |word: &str| -> Result<Vec<String>> {
        let line = format!("offshoot run -I hosts.json -w {word}");
        Ok(offshoot_in(place.path(), &["__complete", "bash", &line, word])?.stdout)
    };
    ensure!(offered("@")? == ["@web", "@failed"], "{:?}", offered("@")?);
    // Within quotes it is harmless.
    ensure!(offered("'@$")? == ["@$(touch x)"], "{:?}", offered("'@$")?);
    Ok(())
}

/// The tool, started by a line of perl that ends with the program: a parent that has done something with signals.
fn by_perl(line: &str, args: &[&str]) -> Command {
    let (tool, _) = tool(args);
    let mut command = Command::new("perl");
    command.args(["-MPOSIX", "-e", &format!("{line}; exec @ARGV")]).arg(tool.get_program()).args(tool.get_args());
    command.envs(tool.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

pub(crate) fn what_a_parent_did_with_signals_changes_nothing() -> Result<()> {
    let ended = run(&mut by_perl("$SIG{CHLD} = 'IGNORE'", &["with", "local1", "--", "sh", "-c", "exit 3"]))?;
    ensure!(ended.code == Some(3), "{ended:?}");
    let begun = |line: &str| -> Result<Running> {
        let running =
            Running::start(&mut by_perl(line, &["run", "-n", "-w", "local1", "-s", "echo begun; exec sleep 1000"]))?;
        ensure!(running.line()? == "local1: begun");
        Ok(running)
    };
    let blocked = begun("sigprocmask(SIG_BLOCK, POSIX::SigSet->new(SIGTERM, SIGINT, SIGHUP, SIGCHLD))")?;
    blocked.signal(Signal::SIGTERM)?;
    let ended = blocked.finish()?;
    ensure!(ended.code == Some(143), "{ended:?}");
    // As a shell without job control starts what is to go on in the background.
    let mut ignoring = begun("$SIG{INT} = 'IGNORE'; $SIG{HUP} = 'IGNORE'")?;
    for signal in [Signal::SIGINT, Signal::SIGHUP] {
        ignoring.signal(signal)?;
    }
    std::thread::sleep(Duration::from_millis(300));
    ensure!(!ignoring.has_ended(), "it goes on");
    ignoring.signal(Signal::SIGTERM)?;
    ensure!(ignoring.finish()?.code == Some(143));
    Ok(())
}

/// The bits of SIGUSR2 and SIGXFSZ in a mask of `/proc`.
const OURS: u64 = 1 << 11 | 1 << 24;

pub(crate) fn a_tool_that_is_asked_what_it_does_goes_on() -> Result<()> {
    let masks = "grep -E 'Sig(Ign|Blk)' /proc/self/status; ulimit -Sn; echo begun; read a; exit 4";
    for args in [
        &["rsh", "local1", masks][..],
        &["with", "local1", "--", "sh", "-c", masks],
        &["forward", "local1", "-L", "0:localhost:9"],
        &["run", "-w", "local1", "-s", masks],
    ] {
        let (mut command, mut trace) = tool(args);
        let mut running = Running::start(&mut command)?;
        let line = || -> Result<String> { Ok(running.line()?.trim_start_matches("local1: ").to_owned()) };
        if args[0] != "forward" {
            for name in ["SigBlk:", "SigIgn:"] {
                let mask = line()?;
                let bits = u64::from_str_radix(mask.strip_prefix(name).context(mask.clone())?.trim(), 16)?;
                ensure!(bits & OURS == 0, "{args:?}: {mask}");
            }
            let files = line()?;
            ensure!(line()? == "begun" && files == soft_limit()?, "{args:?}: {files}");
        } else {
            running.line()?;
        }
        running.signal(Signal::SIGUSR2)?;
        if args[0] != "with" {
            let told = |line: String| line.contains("offshoot::stats");
            ensure!(running.stderr.recv_timeout(Duration::from_secs(30)).is_ok_and(told), "{args:?} says nothing");
        }
        std::thread::sleep(Duration::from_millis(100));
        ensure!(!running.has_ended(), "{args:?} has ended");
        if args[0] == "forward" {
            running.signal(Signal::SIGTERM)?;
            running.finish()?;
        } else {
            running.stdin().context("stdin")?.write_all(b"a\n")?;
            let code = if args[0] == "run" { 2 } else { 4 };
            ensure!(running.finish()?.code == Some(code), "{args:?}");
        }
        trace.expect_nothing_left(AT_ONCE)?;
    }
    Ok(())
}

fn soft_limit() -> Result<String> {
    let output = Command::new("sh").args(["-c", "ulimit -Sn"]).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// One end of a connection that another process has made non-blocking, and the other end.
fn non_blocking() -> Result<(Stdio, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    theirs.set_nonblocking(true)?;
    Ok((OwnedFd::from(theirs).into(), ours))
}

pub(crate) fn streams_that_are_non_blocking_are_awaited() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let word = "[methods.vault]\nargv = [\"sh\", \"-c\", \"read -r a </dev/tty; shift; exec \\\"$@\\\"\", \"sh\"]\n\
                prompts = [{ says = \"no such word\", asks = \"become\" }]\n";
    std::fs::write(directory.path().join("c.toml"), word)?;
    let config = directory.path().join("c.toml").display().to_string();
    for (args, input, output) in [
        (&["hosts", "-"][..], "local1\n", "local1"),
        (&["run", "-w", "local1", "--", "cat"], "hello\n", "local1: hello"),
        (&["script", "-w", "local1", "-"], "echo hello\n", "local1: hello"),
        (&["plan", "-w", "-"], "local1\n", "local.local1: a copy of this program"),
        (
            &["--config", &config, "run", "-w", "vault/local1", "--become-pass-fd", "0", "--dry-run", "--", "true"],
            "x\n",
            "",
        ),
    ] {
        let (stdin, mut ours) = non_blocking()?;
        let (mut command, _) = tool(args);
        let running = Running::start_with(&mut command, stdin)?;
        std::thread::sleep(Duration::from_millis(200));
        ours.write_all(input.as_bytes())?;
        drop(ours);
        drop(command);
        let ended = running.finish()?;
        ensure!(ended.code == Some(0), "{args:?}: {ended:?}");
        ensure!(output.is_empty() || ended.stdout.iter().any(|line| line.contains(output)), "{args:?}: {ended:?}");
    }
    let (stdout, mut ours) = non_blocking()?;
    let (mut command, _) = tool(&["hosts", "a[1-200000]"]);
    let mut child = command.stdout(stdout).stdin(Stdio::null()).spawn()?;
    drop(command);
    std::thread::sleep(Duration::from_millis(500));
    let mut text = String::new();
    ours.read_to_string(&mut text)?;
    ensure!(child.wait()?.success() && text.lines().count() == 200_000, "{} lines", text.lines().count());
    Ok(())
}

pub(crate) fn files_of_outdir_wait_for_a_place_when_files_run_out() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let place = directory.path().join("od").display().to_string();
    let line = ["run", "-y", "-n", "-f", "60", "--outdir", &place, "-w", "local[1-120]", "-s", "sleep 0.3; echo hi"];
    let (command, mut trace) = tool(&line);
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n 100; exec \"$@\"", "sh"]).arg(command.get_program()).args(command.get_args());
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ended = run(&mut shell)?;
    ensure!(ended.code == Some(0), "{ended:?}");
    for host in 1..=120 {
        let written = std::fs::read_to_string(format!("{place}/local{host}.out"))?;
        ensure!(written == "hi\n", "local{host}: {written:?}");
    }
    trace.expect_nothing_left(AT_ONCE)
}

pub(crate) fn a_file_that_may_not_grow_is_told() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("file");
    let (command, _) = tool(&["run", "-n", "-w", "local1", "--", "seq", "1000"]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "f=$1; shift; ulimit -f 1; exec \"$@\" >\"$f\"", "sh"]).arg(&file);
    shell.arg(command.get_program()).args(command.get_args());
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ended = run(&mut shell)?;
    let says = |text: &str| ended.stderr.iter().any(|line| line.contains(text));
    ensure!(ended.code == Some(70) && says("cannot write the output: file too large"), "{ended:?}");
    Ok(())
}

pub(crate) fn an_ssh_that_starts_the_tool_again_is_told() -> Result<()> {
    let (_directory, path) = launcher("ssh", &format!("exec '{TOOL}' rsh \"$@\""))?;
    let (mut command, mut trace) = tool(&["rsh", "--connect-timeout", "20s", "web1", "true"]);
    let ended = run(command.env("PATH", &path))?;
    ensure!(ended.code == Some(255), "{ended:?}");
    ensure!(ended.stderr.iter().any(|line| line.contains("give that program another name")), "{ended:?}");
    ensure!(ended.elapsed < Duration::from_secs(20), "{:?}", ended.elapsed);
    trace.expect_nothing_left(AT_ONCE)
}

pub(crate) fn a_timeout_is_told_as_it_was_given() -> Result<()> {
    // ssh takes long to say what its configuration means.
    let slow = "case \"$*\" in *' -G '*|'-G '*) sleep 0.5; echo hostname web1; exit 0 ;; esac\nexec sleep 1000";
    let (directory, path) = launcher("ssh", slow)?;
    let config = directory.path().join("config");
    std::fs::write(&config, "Match exec true\nServerAliveInterval 5\n")?;
    let config = config.display().to_string();
    let (mut command, mut trace) =
        tool(&["run", "-F", &config, "--connect-timeout", "1500ms", "-w", "web1", "--", "true"]);
    let ended = run(command.env("PATH", &path))?;
    ensure!(ended.stderr.iter().any(|line| line.contains("timed out after 1.5s in phase login")), "{ended:?}");
    trace.expect_nothing_left(AT_ONCE)
}

pub(crate) fn a_login_that_is_a_path_is_told() -> Result<()> {
    let ended = run(&mut tool(&["run", "--dry-run", "-w", "web1", "-s", "ls", "-l", "/"]).0)?;
    let told = |line: &String| line.contains("/ is no name of a user");
    ensure!(ended.stderr.iter().any(told), "{ended:?}");
    Ok(())
}
