//! Exit codes of ends that are not the hosts'.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::text::offshoot;
use crate::support::tool::{Ended, Running, run, tool};
use crate::support::{A_WHILE, ONE_SECOND, promised};

/// The tool, with a redirection as a shell takes it.
fn redirected(args: &[&str], redirection: &str) -> Result<Ended> {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("\"$@\" {redirection}"), "sh", env!("CARGO_BIN_EXE_offshoot")]).args(args);
    run(&mut shell)
}

pub(crate) fn what_cannot_be_written_is_no_success() -> Result<()> {
    for args in [&["hosts", "a"][..], &["functions"], &["--help"], &["run", "--help"], &["--version"], &["images"]] {
        for redirection in [">&-", ">/dev/full"] {
            let ended = redirected(args, redirection)?;
            ensure!(ended.code == Some(70) && ended.stderr.concat().contains("stdout"), "{args:?}: {ended:?}");
        }
        assert_eq!(redirected(args, ">/dev/null")?.code, Some(0), "{args:?}");
        assert_eq!(redirected(args, "<>/dev/null >&0")?.code, Some(0), "{args:?}");
    }
    let directory = tempfile::tempdir()?;
    let mark = directory.path().join("mark");
    let ended = redirected(&["run", "-w", "local1", "--", "touch", &mark.to_string_lossy()], ">&-")?;
    ensure!(ended.code == Some(70) && !mark.exists(), "nothing is run: {ended:?}");
    Ok(())
}

pub(crate) fn help_is_found_where_it_is_looked_for() -> Result<()> {
    let (help, long) = (offshoot(&["help", "run"])?, offshoot(&["run", "--help"])?);
    ensure!(help.code == Some(0) && help.stdout == long.stdout, "{help:?}");
    ensure!(offshoot(&["--help"])?.stdout.concat().contains("129 hung up"), "--help has all codes");
    for format in [&[][..], &["--json"]] {
        let ended = offshoot(&[&["functions", "nosuch"], format].concat())?;
        ensure!(ended.code == Some(64) && ended.stderr.concat().contains("no function has"), "{ended:?}");
    }
    let ended = offshoot(&["call", "-w", "local1", "host_facts", "[1]"])?;
    ensure!(ended.code == Some(64) && ended.stderr.concat().contains("takes 0 arguments, got 1"), "{ended:?}");
    Ok(())
}

pub(crate) fn a_command_that_has_ended_in_time_has_its_code_even_if_others_write_on() -> Result<()> {
    for (code, exit) in [(3, 2), (0, 0)] {
        let line = format!("(while :; do echo x; sleep 0.2; done) & exit {code}");
        let (mut command, mut trace) = tool(&["run", "-t", "3s", "-w", "local1", "-s", &line]);
        let ended = run(&mut command)?;
        trace.expect_nothing_left(ONE_SECOND)?;
        let told = ended.stderr.join("\n");
        ensure!(ended.code == Some(exit) && !told.contains("timed out"), "{told}");
        ensure!(told.contains(&format!("exited with return code {code}")) == (code == 3), "{told}");
        let note = format!("note: the command has ended with return code {code}, but its output was still open");
        ensure!(told.contains(&note) && told.contains("its time of 3s") && !told.contains("silent"), "{told}");
        ensure!(ended.elapsed < promised(A_WHILE), "{:?}", ended.elapsed);
    }
    // The reading ends with the time, not with a silence that never comes.
    let line = "(while :; do echo x; sleep 0.1; done) & exit 0";
    let ended = run(&mut tool(&["run", "-t", "1s", "-w", "local1", "-s", line]).0)?;
    ensure!(ended.stderr.concat().contains("its time of 1s was over"), "{ended:?}");
    ensure!(ended.elapsed < promised(Duration::from_secs(2)), "{:?}", ended.elapsed);
    Ok(())
}

pub(crate) fn hosts_that_were_interrupted_have_their_seconds() -> Result<()> {
    for format in ["--json", "--jsonl"] {
        let directory = tempfile::tempdir()?;
        let mark = directory.path().join("mark");
        let line = format!("touch {}; exec sleep 1000", mark.display());
        let running = Running::start(&mut tool(&["run", format, "-w", "local1", "-s", &line]).0)?;
        crate::support::wait_for(crate::support::PATIENCE, || mark.exists().then_some(())).context("it runs")?;
        std::thread::sleep(ONE_SECOND);
        running.signal(Signal::SIGINT)?;
        let ended = running.finish()?;
        let lines = ended.stdout.iter().map(|line| Ok(serde_json::from_str(line)?)).collect::<Result<Vec<Value>>>()?;
        let host = match format {
            "--json" => &lines[0]["hosts"]["local1"],
            _ => lines.iter().find(|line| line["event"] == "exit").context("an end")?,
        };
        ensure!(host["status"] == "cancelled" && host["seconds"].as_f64() > Some(1.0), "{host}");
    }
    Ok(())
}

pub(crate) fn a_program_without_images_is_a_wrong_argument() -> Result<()> {
    for (program, says) in [("/bin/ls", "was not built with offshoot"), ("/nope", "No such file")] {
        let ended = offshoot(&["images", program])?;
        ensure!(ended.code == Some(64) && ended.stderr.concat().contains(says), "{ended:?}");
    }
    Ok(())
}
