//! What people are told when a host cannot be reached.

use std::os::unix::fs::symlink;

use anyhow::{Result, ensure};

use super::text::{launcher, offshoot};
use crate::support::tool::{run, tool};

pub(crate) fn a_copy_that_is_there_is_run_at_every_hop_that_can() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let copy = directory.path().join("a copy");
    symlink(env!("CARGO_BIN_EXE_offshoot"), &copy)?;
    let copy = copy.to_string_lossy();
    // The first word of a child's argv is the program that was run.
    let program = "tr '\\0' '\\n' </proc/$PPID/cmdline | sed -n 1p";
    let ended = offshoot(&["run", "--binary", &copy, "-w", "local1,local1/local2", "-s", program])?;
    let mut lines = ended.stdout;
    lines.sort_unstable();
    ensure!(lines == [format!("local1/local2: {copy}"), format!("local1: {copy}")], "{lines:?}");
    let ended = offshoot(&["run", "--binary", "/nope", "-w", "local1", "--", "true"])?;
    ensure!(ended.code == Some(4) && ended.stderr.concat().contains("No such file or directory: /nope"), "{ended:?}");
    let ended = offshoot(&["run", "--binary", &copy, "-w", "local1/fork", "--", "true"])?;
    let says = "--binary does not apply to the hop fork of local1/fork";
    ensure!(ended.code == Some(64) && ended.stderr.concat().contains(says), "{ended:?}");
    Ok(())
}

pub(crate) fn a_copy_that_is_not_there_is_told_as_such() -> Result<()> {
    const RUNS: &str = "case \"$*\" in *' -G '*) exit 0 ;; esac; for command; do :; done; exec sh -c \"$command\"";
    let (_directory, path) = launcher("ssh", RUNS)?;
    let (mut command, _) = tool(&["run", "-F", "none", "--binary", "/nope", "-w", "web1", "--", "true"]);
    let ended = run(command.env("PATH", &path))?;
    let told = ended.stderr.join("\n");
    let says = "there is no program /nope at ssh.web1, which is to be run there; install this program there";
    ensure!(ended.code == Some(4) && told.contains(says) && !told.contains("POSIX shell"), "{told}");
    // sudo says it in its own words.
    let (_directory, path) = launcher("sudo", "echo 'sudo: /nope: command not found' >&2; exit 1")?;
    let (mut command, _) = tool(&["run", "--binary", "/nope", "-w", "sudo", "--", "true"]);
    let told = run(command.env("PATH", &path))?.stderr.join("\n");
    ensure!(told.contains("there is no program /nope at sudo.root"), "{told}");
    Ok(())
}

pub(crate) fn advice_is_about_the_program_that_failed() -> Result<()> {
    for (tool_name, said, advice) in [
        ("sudo", "sudo: unknown user nosuch", "check the name of the user"),
        ("sudo", "sudo: something new", "nothing of ours has run"),
        (
            "doas",
            "doas: doas is not enabled, /etc/doas.conf: No such file or directory",
            "write a rule into /etc/doas.conf",
        ),
        ("su", "su: user nosuch does not exist", "check the name of the user"),
    ] {
        let (_directory, path) = launcher(tool_name, &format!("echo '{said}' >&2; exit 1"))?;
        let (mut command, _) = tool(&["run", "-w", &format!("local/{tool_name}:nosuch"), "--", "true"]);
        let told = run(command.env("PATH", &path))?.stderr.join("\n");
        ensure!(told.contains(advice) && !told.contains("ssh -v"), "{told}");
    }
    Ok(())
}

pub(crate) fn advice_for_many_hosts_is_said_once() -> Result<()> {
    const REFUSES: &str = "case \"$*\" in *' -G '*) exit 0 ;; esac; echo 'Host key verification failed.' >&2; exit 255";
    let (_directory, path) = launcher("ssh", REFUSES)?;
    for more in [&[][..], &["--fold", "always"]] {
        let args = [&["run", "-F", "none", "-w", "web[1-3]"], more, &["--", "true"]].concat();
        let told = run(tool(&args).0.env("PATH", &path))?.stderr.join("\n");
        let counts =
            ["the host key is not known yet", "connect to it once by hand"].map(|part| told.matches(part).count());
        assert_eq!(counts, [3, 1], "{told}");
    }
    let ended = run(tool(&["run", "--jsonl", "-F", "none", "-w", "web[1-3]", "--", "true"]).0.env("PATH", &path))?;
    assert_eq!(ended.stdout.concat().matches("connect to it once by hand").count(), 3, "each event of JSON has it");
    Ok(())
}

pub(crate) fn this_machine_needs_no_ssh() -> Result<()> {
    const REFUSES: &str = "case \"$*\" in *' -G '*) exit 0 ;; esac; \
        echo 'ssh: connect to host localhost port 22: Connection refused' >&2; exit 255";
    let (_directory, path) = launcher("ssh", REFUSES)?;
    let own = nix::unistd::gethostname()?.into_string().unwrap_or_default();
    for (host, is_here) in [("localhost", true), ("[::1]", true), (own.as_str(), true), ("web1.example.com", false)] {
        for args in [&["run", "-F", "none", "-w", host, "--", "true"][..], &["doctor", "-F", "none", host]] {
            let ended = run(tool(args).0.env("PATH", &path))?;
            let told = [ended.stdout, ended.stderr].concat().join("\n");
            ensure!(told.contains("for this machine write local1") == is_here, "{told}");
        }
    }
    let (mut command, _) = tool(&["run", "-F", "none", "-w", "localhost:2222", "--", "true"]);
    let told = run(command.env("PATH", &path))?.stderr.join("\n");
    ensure!(!told.contains("local1"), "behind another port is often another machine: {told}");
    Ok(())
}

pub(crate) fn a_hop_that_is_lost_is_told_in_plain_words() -> Result<()> {
    // The hop ends as soon as it starts sudo.
    let (_directory, path) = launcher("sudo", "kill -KILL $PPID; exec sleep 10000")?;
    let (mut command, _) = tool(&["run", "-w", "local1/sudo:nosuch", "--", "true"]);
    let ended = run(command.env("PATH", &path))?;
    let told = ended.stderr.join("\n");
    ensure!(ended.code == Some(4) && told.contains("a hop on the way to it was lost"), "{told}");
    ensure!(!told.contains("offshoot::"), "{told}");
    Ok(())
}

pub(crate) fn words_of_the_shell_are_advised_to_be_a_line_of_shell() -> Result<()> {
    for (words, advice) in [
        (&["cd", "/tmp"][..], "`cd` belongs to the shell and is no program; for a line of shell write -s 'cd /tmp'"),
        (&["FOO=1", "env"], "for a line of shell write -s 'FOO=1 env'"),
        (&["ulimit", "-a"], "for a line of shell write -s 'ulimit -a'"),
    ] {
        let (mut command, _) = tool(&[&["run", "-e", "PATH=/nonexistent", "-w", "local1", "--"], words].concat());
        let ended = run(&mut command)?;
        let told = ended.stderr.join("\n");
        ensure!(ended.code == Some(2) && told.contains("not found on the host") && told.contains(advice), "{told}");
    }
    let told = offshoot(&["run", "-w", "local1", "--", "no-such-program"])?.stderr.join("\n");
    ensure!(told.contains("not found on the host") && !told.contains(" -s "), "{told}");
    Ok(())
}

pub(crate) fn a_hop_that_is_almost_a_method_is_asked_about() -> Result<()> {
    let says = "note: sodu is read as a host of ssh; did you mean sudo? if not, write ssh:sodu";
    for args in [&["hosts", "web1/sodu"][..], &["doctor", "-F", "none", "local1/sodu"]] {
        let ended = offshoot(args)?;
        ensure!(ended.stderr.iter().any(|line| line == says), "{ended:?}");
    }
    ensure!(offshoot(&["hosts", "web1/ssh:sodu"])?.stderr.is_empty(), "it was meant");
    Ok(())
}
