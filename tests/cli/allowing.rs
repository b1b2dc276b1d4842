//! `--allow` and `--no-upload`: contexts that run some functions only, and hosts that are sent nothing.

use std::os::unix::fs::PermissionsExt;

use anyhow::{Result, ensure};

use super::text::{launcher, offshoot};
use crate::support::tool::{run, tool};

/// Says what the child was started with.
const ARGUMENTS: &str = "tr '\\0' ' ' </proc/$PPID/cmdline";

pub(crate) fn a_host_runs_only_what_is_allowed() -> Result<()> {
    let allowed = offshoot(&["call", "--allow", "host_facts", "-w", "local1,local1/local2", "host_facts"]);
    ensure!(allowed?.code == Some(64), "a host that leads to another one starts children");
    for (what, command, is_ok) in [
        ("host_facts", &["call", "host_facts"][..], true),
        ("host_facts", &["run", "--", "true"], false),
        ("commands", &["run", "--", "true"], true),
        ("host_facts,commands", &["run", "--", "true"], true),
        ("commands", &["call", "host_facts"], false),
        ("sockets", &["push", "/etc/hostname", "/dev/shm/"], false),
    ] {
        let words = [&[command[0], "--allow", what, "-w", "local1/local2"], &command[1..]].concat();
        let ended = offshoot(&words)?;
        let told = ended.stderr.concat();
        ensure!((ended.code == Some(0)) == is_ok, "{words:?}: {ended:?}");
        ensure!(is_ok != told.contains("runs only the functions that its connect allows"), "{words:?}: {told}");
    }
    let ended = offshoot(&["run", "--allow", "no_such", "-w", "local1", "--", "true"])?;
    let says = "write commands, files, sockets, children";
    ensure!(ended.code == Some(64) && ended.stderr.concat().contains(says), "{ended:?}");
    Ok(())
}

pub(crate) fn an_installed_copy_keeps_to_its_arguments_whatever_its_parent_says() -> Result<()> {
    let tool_path = env!("CARGO_BIN_EXE_offshoot");
    let installed = ["--binary", tool_path, "-w", "local1"];
    let ended = offshoot(&[&["run", "--allow", "commands,host_facts"], &installed[..], &["-s", ARGUMENTS]].concat())?;
    let said = ended.stdout.concat();
    let says =
        "offshoot-child:only offshoot::builtin::facts::host_facts offshoot::builtin::process::run_process::run_process";
    ensure!(ended.code == Some(0) && said.contains(says), "{ended:?}");

    // A parent that allows all starts a copy that is told to run one function.
    let directory = tempfile::tempdir()?;
    let wrapper = directory.path().join("wrapper");
    let line = "{ printf '%s\\n' \"$1\"; exec cat; } | exec";
    let script = format!("#!/bin/sh\n{line} {tool_path} offshoot-child:only offshoot::builtin::facts::host_facts\n");
    std::fs::write(&wrapper, script)?;
    std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755))?;
    let installed = ["--binary", &wrapper.to_string_lossy(), "-w", "local1"].map(str::to_owned);
    let installed: Vec<&str> = installed.iter().map(String::as_str).collect();
    let ended = offshoot(&[&["call"], &installed[..], &["host_facts"]].concat())?;
    ensure!(ended.code == Some(0), "{ended:?}");
    let ended = offshoot(&[&["run"], &installed[..], &["--", "true"]].concat())?;
    let told = ended.stderr.concat();
    ensure!(ended.code == Some(2) && told.contains("run_process is none"), "{told}");
    Ok(())
}

pub(crate) fn a_host_without_an_image_is_sent_none() -> Result<()> {
    const RUNS: &str = "case \"$*\" in *' -G '*) exit 0 ;; esac; for command; do :; done; exec sh -c \"$command\"";
    let (directory, path) = launcher("ssh", RUNS)?;
    let home = directory.path().join("home");
    std::fs::create_dir(&home)?;
    let ran = |options: &[&str], host: &str| {
        let words = [&["run", "-F", "none"], options, &["-w", host, "--", "true"]].concat();
        let (mut command, _) = tool(&words);
        run(command.env("PATH", &path).env("HOME", &home).env_remove("XDG_CACHE_HOME"))
    };
    let says =
        "it has no image of this program, and none may be sent; install this program there and name it by --binary";
    for (options, host) in
        [(&["--no-upload"][..], "web1"), (&["--no-upload", "--cache"], "web1"), (&["--no-upload"], "local1/web1")]
    {
        let ended = ran(options, host)?;
        ensure!(ended.code == Some(4) && ended.stderr.concat().contains(says), "{ended:?}");
    }
    ensure!(ran(&["--no-upload"], "local1/local2")?.code == Some(0), "these need no image");
    ensure!(ran(&["--no-upload", "--binary", env!("CARGO_BIN_EXE_offshoot")], "web1")?.code == Some(0), "it is there");
    ensure!(ran(&["--cache"], "web1")?.code == Some(0), "it is kept");
    let ended = ran(&["--no-upload", "--cache"], "web1")?;
    ensure!(ended.code == Some(0), "it was kept: {ended:?}");
    Ok(())
}
