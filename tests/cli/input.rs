//! Stdin, which goes to all hosts.

use std::io::Write;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use crate::support::tool::{Ended, Running, tool};
use crate::support::{A_WHILE, AT_ONCE, ONE_SECOND, PATIENCE, long_time, promised};

/// Runs the tool with this on stdin. The writer does not mind a reader that goes.
fn fed(args: &[&str], input: Vec<u8>) -> Result<Ended> {
    let (mut command, mut trace) = tool(args);
    let (read, mut write) = std::io::pipe()?;
    let running = Running::start_with(&mut command, read.into())?;
    // The command holds the reading end, too.
    drop(command);
    let writer = std::thread::spawn(move || write.write_all(&input));
    let ended = running.finish()?;
    ensure!(writer.join().is_ok(), "the writer panics");
    trace.expect_nothing_left(AT_ONCE)?;
    Ok(ended)
}

pub(crate) fn stdin_goes_to_a_command_by_hops_too() -> Result<()> {
    for host in ["local1", "local1/local2/local3"] {
        let ended = fed(&["run", "-w", host, "--", "cat"], b"hello\n".to_vec())?;
        assert_eq!((ended.code, ended.stdout), (Some(0), vec![format!("{host}: hello")]), "{:?}", ended.stderr);
    }
    Ok(())
}

pub(crate) fn stdin_goes_to_all_hosts_whole_and_each_takes_it_at_its_own_pace() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let place = directory.path().display();
    // The first to come reads at once, the second begins late, the third pauses.
    let line = format!(
        "if mkdir {place}/1 2>/dev/null; then cksum; elif mkdir {place}/2 2>/dev/null; then sleep 1; cksum; \
         else (head -c 3000000; sleep 1; cat) | cksum; fi"
    );
    let input: Vec<u8> = (0_u32..).flat_map(u32::to_be_bytes).take(10_000_000).collect();
    for fanout in ["3", "1"] {
        let ended = fed(&["run", "-w", "local[1-2],local1/local3", "-f", fanout, "-s", &line], input.clone())?;
        let sums: Vec<&str> =
            ended.stdout.iter().filter_map(|line| line.split_once(": ")).map(|(_, sum)| sum).collect();
        ensure!(ended.code == Some(0) && sums.len() == 3, "{ended:?}");
        ensure!(sums.iter().all(|sum| *sum == sums[0] && sum.ends_with(" 10000000")), "{sums:?}");
        for nth in 1..3 {
            let _ = std::fs::remove_dir(directory.path().join(nth.to_string()));
        }
    }
    Ok(())
}

pub(crate) fn commands_without_input_see_its_end_at_once() -> Result<()> {
    assert_eq!(
        fed(&["run", "-w", "local[1-2]", "--", "wc", "-c"], Vec::new())?.stdout.concat().matches(": 0").count(),
        2
    );
    // Closed, and not to be read.
    for (redirection, flag) in [("<&-", "-v"), ("</dev/null", "-v"), ("<&9", "-n"), ("<&9", "--no-stdin")] {
        let (command, mut trace) = tool(&["run", flag, "-w", "local1", "--", "wc", "-c"]);
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &format!("exec 9<&0; exec \"$@\" {redirection}"), "sh"]);
        shell.arg(command.get_program()).args(command.get_args());
        shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        // The pipe stays open, and nothing comes.
        let running = Running::start(&mut shell)?;
        assert_eq!(running.line()?, "local1: 0", "{redirection} {flag}");
        assert_eq!(running.finish()?.code, Some(0));
        trace.expect_nothing_left(AT_ONCE)?;
    }
    Ok(())
}

pub(crate) fn a_command_that_does_not_read_its_input_is_no_error() -> Result<()> {
    let line = "case $A in x) exec <&-; sleep 1;; esac; echo done";
    let input = vec![b'x'; 1 << 22];
    for variable in ["A=x", "A=y"] {
        let ended = fed(&["run", "-w", "local[1-2]", "-e", variable, "-s", line], input.clone())?;
        ensure!(ended.code == Some(0) && ended.stdout.len() == 2, "{ended:?}");
        ensure!(ended.elapsed < promised(A_WHILE), "{ended:?}");
    }
    // A host that dies has its own fault, and the other gets all.
    let directory = tempfile::tempdir()?;
    let line = format!("mkdir {}/1 2>/dev/null && kill -9 $$; wc -c", directory.path().display());
    let ended = fed(&["run", "-w", "local[1-2]", "-s", &line], input)?;
    ensure!(ended.code == Some(2) && ended.stdout.concat().ends_with(": 4194304"), "{ended:?}");
    Ok(())
}

pub(crate) fn time_and_signals_end_commands_that_wait_for_input() -> Result<()> {
    let time = long_time();
    let (mut command, trace) = tool(&["run", "-t", "1s", "-w", "local1", "-s", &format!("cat; sleep {time}")]);
    let mut trace = trace.with_needle(&time);
    let (read, _write) = std::io::pipe()?;
    let ended = Running::start_with(&mut command, read.into())?.finish()?;
    ensure!(ended.code == Some(2) && ended.elapsed < promised(2 * ONE_SECOND), "{ended:?}");
    trace.expect_nothing_left(AT_ONCE)?;
    let (mut command, mut trace) = tool(&["run", "-w", "local[1-2]", "-s", "echo begun; cat"]);
    let (read, write) = std::io::pipe()?;
    let running = Running::start_with(&mut command, read.into())?;
    let first = running.stdout.recv_timeout(PATIENCE).context("a line")?;
    ensure!(first.ends_with(": begun"), "{first}");
    running.signal(Signal::SIGINT)?;
    let ended = running.finish()?;
    drop(write);
    ensure!(ended.code == Some(130) && ended.elapsed < promised(A_WHILE), "{ended:?}");
    trace.expect_nothing_left(AT_ONCE)
}
