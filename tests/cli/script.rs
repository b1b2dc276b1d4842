//! `offshoot script`: local scripts on hosts.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::support::AT_ONCE;
use crate::support::tool::{Ended, Running, tool};

/// Runs the tool in a directory with a script, and with this on stdin.
fn with_script(text: &[u8], before: &[&str], after: &[&str], input: &[u8]) -> Result<Ended> {
    let directory = tempfile::tempdir()?;
    std::fs::write(directory.path().join("x.sh"), text)?;
    fed(&[before, &["./x.sh"], after].concat(), directory.path(), input)
}

fn fed(args: &[&str], place: &Path, input: &[u8]) -> Result<Ended> {
    let (mut command, mut trace) = tool(&[&["script"], args].concat());
    command.current_dir(place);
    let mut running = Running::start(&mut command)?;
    // A script that reads nothing closes the pipe.
    let _ = running.stdin().context("no stdin")?.write_all(input);
    let ended = running.finish()?;
    trace.expect_nothing_left(AT_ONCE)?;
    Ok(ended)
}

pub(crate) fn a_script_runs_by_its_interpreter_with_its_arguments_and_input() -> Result<()> {
    let hosts = ["-w", "local1,local1/local2"];
    let plain = b"printf '%s|' \"$0\" \"$@\"; cat\n";
    let mut bodies = vec![
        (plain.to_vec(), "./x.sh|-a|b c|hello"),
        ([b"#!/bin/sh -e\n", &plain[..]].concat(), "./x.sh|-a|b c|hello"),
    ];
    if Path::new("/bin/bash").exists() {
        // bash must find the same name in both, as scripts tell by it whether they are sourced.
        let bash = b"#!/bin/bash\n[[ ${BASH_SOURCE[0]} == \"$0\" ]] && printf 'main|%s|' \"$@\"; cat\n";
        bodies.push((bash.to_vec(), "main|-a|main|b c|hello"));
    }
    if Path::new("/usr/bin/perl").exists() {
        bodies.push((b"#!/usr/bin/env perl\nprint join('|', @ARGV, <STDIN>);\n".to_vec(), "-a|b c|hello"));
    }
    for (text, wanted) in bodies {
        let mut ended = with_script(&text, &hosts, &["-a", "b c"], b"hello\n")?;
        ended.stdout.sort();
        let lines = [format!("local1/local2: {wanted}"), format!("local1: {wanted}")];
        ensure!(ended.code == Some(0) && ended.stdout == lines, "{ended:?} and not {lines:?}");
    }
    Ok(())
}

pub(crate) fn a_script_on_stdin_runs_and_gets_no_input() -> Result<()> {
    let ended = fed(&["-w", "local1", "-", "a"], Path::new("/"), b"echo $0 $1; cat; exit 3\n")?;
    ensure!(ended.code == Some(2) && ended.stdout == ["local1: sh a"], "{ended:?}");
    Ok(())
}

pub(crate) fn a_script_has_the_exit_code_and_the_options_of_a_command() -> Result<()> {
    let text = b"pwd; echo $A; exit 7\n";
    let ended = with_script(text, &["-S", "-C", "/", "-e", "A=b", "-w", "local1"], &[], b"")?;
    ensure!(ended.code == Some(7) && ended.stdout == ["local1: /", "local1: b"], "{ended:?}");
    let ended = with_script(b"echo out\n", &["--json", "-w", "local1"], &[], b"")?;
    let text = ended.stdout.concat();
    ensure!(ended.code == Some(0) && text.contains(r#""stdout":"out\n""#), "{ended:?}");
    let ended = with_script(b"sleep 100\n", &["-t", "1s", "-w", "local1"], &[], b"")?;
    ensure!(ended.code == Some(2) && ended.stderr.concat().contains("timed out"), "{ended:?}");
    Ok(())
}

pub(crate) fn no_file_of_a_script_is_on_the_host_and_its_text_is_in_no_argument() -> Result<()> {
    // A comment that is longer than what an argument can hold.
    let mut text = b"tr '\\0' ' ' </proc/$$/cmdline; echo; ls -l /proc/$$/fd\n# ".to_vec();
    text.resize(1 << 20, b'x');
    let ended = with_script(&text, &["-w", "local1"], &[], b"")?;
    let shown = ended.stdout.join("\n");
    ensure!(ended.code == Some(0) && shown.len() < 10_000, "{} bytes: {ended:?}", shown.len());
    ensure!(shown.contains("./x.sh") && !shown.contains("xxx"), "{shown}");
    ensure!(shown.contains("/memfd:offshoot (deleted)"), "{shown}");
    Ok(())
}

pub(crate) fn a_script_that_cannot_be_run_is_told_before_anything_is_connected() -> Result<()> {
    for (text, says) in [
        (&b"\x7fELF\0"[..], "./x.sh: this is no text"),
        (b"#!/bin/sh\r\n", "convert it"),
        (b"\xef\xbb\xbf#!/bin/sh\n", "./x.sh: it begins with a byte order mark (BOM) of UTF-8"),
        (&[b'x'; (4 << 20) + 1], "more than 4194304 bytes"),
    ] {
        let ended = with_script(text, &["-w", "local1"], &[], b"")?;
        ensure!(ended.code == Some(64) && ended.stderr.concat().contains(says), "{ended:?}");
    }
    let ended = fed(&["-w", "local1", "no-such-file"], Path::new("/"), b"")?;
    ensure!(ended.code == Some(64) && ended.stderr.concat().contains("cannot read no-such-file"), "{ended:?}");
    let ended = with_script(b"#!/no/such/program\n", &["-w", "local1"], &[], b"")?;
    let says = "local1: failed: local.local1: no such interpreter of the script on the host: `/no/such/program`";
    ensure!(ended.code == Some(2) && ended.stderr.concat().contains(says), "{ended:?}");
    Ok(())
}
