//! Runs that end before they are done.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use crate::support::tool::{Running, run, tool};
use crate::support::{AT_ONCE, ONE_SECOND, THREE_SECONDS, long_time, promised, unique, wait_for};

pub(crate) fn a_command_that_takes_too_long_is_ended() -> Result<()> {
    let time = long_time();
    let (mut command, trace) = tool(&["run", "-t", "1s", "-w", "local[1-2],local1/local3", "--", "sleep", &time]);
    let mut trace = trace.with_needle(&time);
    let ended = run(&mut command)?;
    assert_eq!(ended.code, Some(2));
    ensure!(ended.elapsed > ONE_SECOND && ended.elapsed < promised(ONE_SECOND), "it took {:?}", ended.elapsed);
    ensure!(ended.stderr.iter().any(|line| line.starts_with("local2: timed out after 1.")), "{:?}", ended.stderr);
    ensure!(ended.stderr.iter().any(|line| line.contains(": 3 timed out in 1.")), "{:?}", ended.stderr);
    trace.expect_nothing_left(AT_ONCE)
}

pub(crate) fn a_reader_that_has_seen_enough_is_no_error() -> Result<()> {
    let mark = unique();
    let (command, mut trace) = tool(&["run", "-w", "local[1-2]", "--", "yes", &mark]);
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "{ \"$@\"; echo \"code $?\" >&2; } | head -n 1", "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ended = run(&mut shell)?;
    ensure!(ended.stdout.len() == 1 && ended.stdout[0].ends_with(&format!(": {mark}")), "{:?}", ended.stdout);
    ensure!(ended.stderr.contains(&"code 0".to_owned()), "{:?}", ended.stderr);
    ensure!(!ended.stderr.iter().any(|line| line.contains("rror") || line.contains("panic")), "{:?}", ended.stderr);
    ensure!(ended.elapsed < promised(ONE_SECOND), "it took {:?}", ended.elapsed);
    trace.expect_nothing_left(AT_ONCE)
}

/// Starts commands that would run on and on, and waits until they do.
fn begun(line: &str) -> Result<(Running, crate::support::trace::Trace)> {
    let (mut command, trace) = tool(&["run", "-w", "local[1-2],local1/local3", "-s", line]);
    let running = Running::start(&mut command)?;
    for _ in 0..3 {
        let line = running.line()?;
        ensure!(line.ends_with(": begun"), "{line}");
    }
    Ok((running, trace))
}

pub(crate) fn ctrl_c_shows_what_has_arrived_and_ends_everything() -> Result<()> {
    for (signal, line) in
        [(Signal::SIGINT, "echo begun; exec sleep 10000"), (Signal::SIGTERM, "echo begun; sleep 10000")]
    {
        let (running, mut trace) = begun(line)?;
        ensure!(trace.look().len() >= 6, "three children and their commands run: {:?}", trace.look());
        let start = Instant::now();
        running.signal(signal)?;
        let ended = running.finish()?;
        ensure!(start.elapsed() < promised(ONE_SECOND), "{signal}: it took {:?}", start.elapsed());
        assert_eq!(ended.code, Some(130), "{signal}: {:?}", ended.stderr);
        let summary = ended.stderr.iter().find(|line| line.starts_with("offshoot: ")).context("a summary")?;
        ensure!(summary.contains("interrupted: 3 hosts: 3 cancelled in "), "{summary}");
        trace.expect_nothing_left(AT_ONCE)?;
    }
    Ok(())
}

pub(crate) fn ctrl_c_twice_ends_it_at_once_and_is_tried_alone() -> Result<()> {
    let line = "trap '' INT TERM HUP; echo begun; while :; do sleep 1; done";
    let (mut running, mut trace) = begun(line)?;
    ensure!(!trace.look().is_empty(), "children and their commands run");
    // As somebody who is impatient does it.
    let mut presses = 0;
    let pressed = wait_for(promised(ONE_SECOND), || {
        presses += 1;
        let gone = running.has_ended() || running.signal(Signal::SIGINT).is_err();
        gone.then_some(())
    });
    ensure!(pressed.is_some(), "it still runs after {presses} signals and a second");
    assert_eq!(running.finish()?.code, Some(130));
    trace.expect_nothing_left(THREE_SECONDS)
}

pub(crate) fn ctrl_c_while_hosts_are_being_reached_is_heard() -> Result<()> {
    // Nobody answers in this network, which is for documentation.
    let (mut command, mut trace) =
        tool(&["run", "-F", "none", "-w", "192.0.2.1,local1", "-s", "echo begun; sleep 10000"]);
    let running = Running::start(&mut command)?;
    assert_eq!(running.line()?, "local1: begun");
    running.signal(Signal::SIGINT)?;
    let start = Instant::now();
    let ended = running.finish()?;
    ensure!(start.elapsed() < promised(ONE_SECOND), "it took {:?}", start.elapsed());
    assert_eq!(ended.code, Some(130), "{:?}", ended.stderr);
    trace.expect_nothing_left(AT_ONCE)
}
