//! Runs that end before they are done.

use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Write};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::lines::lines_of;
use crate::support::process::Process;
use crate::support::tool::{Running, run, tool};
use crate::support::trace::Trace;
use crate::support::{A_WHILE, AT_ONCE, ONE_SECOND, PATIENCE, THREE_SECONDS, long_time, promised, unique, wait_for};

pub(crate) fn a_command_that_takes_too_long_is_ended() -> Result<()> {
    let time = long_time();
    let (mut command, trace) = tool(&["run", "-t", "1s", "-w", "local[1-2],local1/local3", "--", "sleep", &time]);
    let mut trace = trace.with_needle(&time);
    let ended = run(&mut command)?;
    assert_eq!(ended.code, Some(2));
    ensure!(ended.elapsed > ONE_SECOND && ended.elapsed < promised(ONE_SECOND), "it took {:?}", ended.elapsed);
    ensure!(
        ended.stderr.iter().any(|line| line.starts_with("local2: timed out: the command did not end within 1s")),
        "{:?}",
        ended.stderr
    );
    ensure!(ended.stderr.iter().any(|line| line.contains(": 3 timed out in 1.")), "{:?}", ended.stderr);
    trace.expect_nothing_left(AT_ONCE)
}

pub(crate) fn a_command_that_does_not_want_to_end_is_killed() -> Result<()> {
    for line in ["trap '' TERM; sleep TIME; true", "(trap '' TERM INT HUP; sleep TIME; true) & wait"] {
        let time = long_time();
        let line = line.replace("TIME", &time);
        let (mut command, trace) = tool(&["run", "-t", "1s", "-w", "local1,local2/local3", "-s", &line]);
        let mut trace = trace.with_needle(&time);
        let ended = run(&mut command)?;
        assert_eq!(ended.code, Some(2), "{:?}", ended.stderr);
        ensure!(ended.elapsed < promised(ONE_SECOND * 2), "it took {:?}", ended.elapsed);
        trace.expect_nothing_left(AT_ONCE)?;
    }
    Ok(())
}

pub(crate) fn a_tool_that_is_killed_or_loses_its_terminal_takes_its_commands_along_alone() -> Result<()> {
    for (signal, code) in [(Signal::SIGHUP, Some(129)), (Signal::SIGKILL, None)] {
        for line in ["sleep TIME; true", "(trap '' TERM HUP; sleep TIME; true) & wait"] {
            let time = long_time();
            let line = format!("echo begun; {}", line.replace("TIME", &time));
            let (running, trace) = begun(&line)?;
            let mut trace = trace.with_needle(&time);
            ensure!(trace.look().iter().any(|process| process.argv.contains(&time)), "the command runs");
            running.signal(signal)?;
            let start = Instant::now();
            let ended = running.finish()?;
            assert_eq!(ended.code, code, "{signal}: {:?}", ended.stderr);
            trace.expect_nothing_left(THREE_SECONDS.saturating_sub(start.elapsed()))?;
        }
    }
    Ok(())
}

/// What ends by itself when its link is closed, and has not to be killed, ends sooner.
pub(crate) fn the_whole_tree_of_a_killed_tool_ends_within_a_second_alone() -> Result<()> {
    let mut took = Duration::MAX;
    for _ in 0..3 {
        let time = long_time();
        let line = format!("echo begun; exec sleep {time}");
        let (mut command, trace) = tool(&["run", "-w", "local1/local1/local1", "-s", &line]);
        let mut trace = trace.with_needle(&time);
        let running = Running::start(&mut command)?;
        running.line()?;
        trace.look();
        running.signal(Signal::SIGKILL)?;
        let start = Instant::now();
        running.finish()?;
        trace.expect_nothing_left(THREE_SECONDS)?;
        took = took.min(start.elapsed());
    }
    ensure!(took < ONE_SECOND, "it took {took:?}");
    Ok(())
}

pub(crate) fn a_tool_that_is_to_ignore_the_loss_of_its_terminal_does() -> Result<()> {
    let (command, mut trace) = tool(&["run", "-w", "local1", "-s", "echo begun; sleep 1; echo done"]);
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]).arg(command.get_program()).args(command.get_args());
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let running = Running::start(&mut shell)?;
    assert_eq!(running.line()?, "local1: begun");
    running.signal(Signal::SIGHUP)?;
    let ended = running.finish()?;
    assert_eq!((ended.code, &ended.stdout[..]), (Some(0), &["local1: done".to_owned()][..]), "{:?}", ended.stderr);
    trace.expect_nothing_left(AT_ONCE)
}

pub(crate) fn output_waits_for_a_reader_that_comes_late() -> Result<()> {
    for format in ["--color=never", "--jsonl"] {
        let (command, mut trace) = tool(&["run", format, "-w", "local[1-3]", "--", "seq", "1", "40000"]);
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "\"$@\" | (sleep 3; grep -c '[0-9]$\\|\"line\"')", "sh"]);
        shell.arg(command.get_program()).args(command.get_args());
        shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let ended = run(&mut shell)?;
        assert_eq!(ended.stdout, ["120000"], "{:?}", ended.stderr);
        trace.expect_nothing_left(AT_ONCE)?;
    }
    Ok(())
}

pub(crate) fn output_of_a_filter_that_outlives_its_writer_is_shown() -> Result<()> {
    let line = "{ for n in 1 2 3; do sleep 0.5; seq 1 2000; done; } & exit 3";
    let ended = run(&mut tool(&["run", "-w", "local1", "-s", line]).0)?;
    assert_eq!((ended.code, ended.stdout.len()), (Some(2), 6000), "{:?}", ended.stderr);
    Ok(())
}

pub(crate) fn output_that_a_daemon_holds_open_is_told_and_holds_nobody_up() -> Result<()> {
    let time = long_time();
    let line = format!("sleep {time} & echo $!");
    // In less time than is waited for the daemon, which does not count.
    let (mut command, _) = tool(&["run", "-t", "1s", "-w", "local1", "-s", &line]);
    let ended = run(&mut command)?;
    let daemon: i32 = ended.stdout.concat().trim_start_matches("local1: ").parse()?;
    kill(Pid::from_raw(daemon), Signal::SIGKILL).context("the daemon lives on")?;
    ensure!(ended.code == Some(0) && ended.elapsed < promised(A_WHILE), "{ended:?}");
    ensure!(ended.stderr.iter().any(|line| line.starts_with("local1: note: ") && line.contains("open")), "{ended:?}");
    for format in ["--json", "--jsonl"] {
        let (mut command, _) = tool(&["run", format, "-w", "local1", "-s", "sleep 5 &"]);
        let ended = run(&mut command)?;
        ensure!(ended.code == Some(0) && ended.stdout.concat().contains("\"signal\":null,\"open\":true,"), "{ended:?}");
        let ended = run(&mut tool(&["run", format, "-w", "local1", "--", "true"]).0)?;
        ensure!(!ended.stdout.concat().contains("\"open\""), "{ended:?}");
    }
    Ok(())
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
    // Two hosts were not done, which is what 8 says.
    ensure!(ended.stderr.contains(&"code 8".to_owned()), "{:?}", ended.stderr);
    ensure!(ended.stderr.iter().any(|line| line.contains("stopped early: ")), "{:?}", ended.stderr);
    ensure!(!ended.stderr.iter().any(|line| line.contains("rror") || line.contains("panic")), "{:?}", ended.stderr);
    ensure!(ended.elapsed < promised(ONE_SECOND), "it took {:?}", ended.elapsed);
    trace.expect_nothing_left(AT_ONCE)
}

pub(crate) fn a_reader_that_goes_after_the_last_host_is_done_changes_nothing() -> Result<()> {
    let (command, _) = tool(&["run", "-w", "local1", "-s", "echo first; echo second"]);
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "{ \"$@\"; echo \"code $?\" >&2; } | { read -r line; echo \"$line\"; sleep 1; }", "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    let ended = run(&mut shell)?;
    ensure!(ended.stdout == ["local1: first"] && ended.stderr.contains(&"code 0".to_owned()), "{ended:?}");
    Ok(())
}

/// The tool, whose stdout nobody reads.
fn unread(args: &[&str]) -> Result<(Unread, Trace)> {
    let (mut command, trace) = tool(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok((Unread(command.spawn()?), trace))
}

/// The same, running `yes MARK`, which is held up because all on the way is full.
fn stuck(args: &[&str], mark: &str) -> Result<(Unread, Trace)> {
    let (unread, mut trace) = unread(&[args, &["--", "yes", mark]].concat())?;
    let mut sleeps = 0;
    let is_held_up = || {
        let sleeping = trace.look().iter().any(|process| is_yes(process) && process.state == 'S');
        sleeps = if sleeping { sleeps + 1 } else { 0 };
        (sleeps > 20).then_some(())
    };
    wait_for(PATIENCE, is_held_up).context("the command is not held up")?;
    Ok((unread, trace))
}

fn is_yes(process: &Process) -> bool {
    process.argv.first().is_some_and(|program| program == "yes")
}

/// A tool that runs, and ends with the test.
struct Unread(Child);

impl Unread {
    fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(i32::try_from(self.0.id())?), signal)?)
    }

    /// Waits for its end, which is to come within a second.
    fn code(&mut self) -> Result<Option<i32>> {
        let status = wait_for(promised(ONE_SECOND), || self.0.try_wait().transpose());
        Ok(status.context("it does not end")??.code())
    }

    /// Waits until nothing runs but the tool itself.
    fn expect_to_be_alone(&self, trace: &mut Trace, within: Duration) -> Result<()> {
        trace.exempt(self.0.id());
        trace.expect_nothing_left(within)?;
        trace.exempt_no_more(self.0.id());
        Ok(())
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn signals_are_heard_while_nobody_reads_stdout() -> Result<()> {
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
        for json in [&[][..], &["--jsonl"]] {
            let mark = unique();
            let (mut unread, mut trace) = stuck(&[&["run", "-w", "local[1-2]"], json].concat(), &mark)?;
            unread.signal(signal)?;
            unread.expect_to_be_alone(&mut trace, ONE_SECOND)?;
            ensure!(matches!(unread.0.try_wait(), Ok(None)), "what has arrived waits for its reader");
            unread.signal(signal)?;
            assert_eq!(unread.code()?, Some(code));
            trace.expect_nothing_left(AT_ONCE)?;
        }
    }
    Ok(())
}

/// As JSON, a line of one byte is some hundred.
pub(crate) fn short_lines_that_nobody_reads_take_little_memory_and_no_time_at_the_end() -> Result<()> {
    const MOST: u64 = 100 << 10;
    let began = Instant::now();
    let (mut unread, mut trace) = unread(&["run", "--jsonl", "-t", "2s", "-w", "local[1-2]", "--", "yes"])?;
    let status = format!("/proc/{}/status", unread.0.id());
    let mut peak = 0;
    wait_for(PATIENCE, || {
        let status = std::fs::read_to_string(&status).unwrap_or_default();
        let high =
            status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        peak = peak.max(high.unwrap_or(0));
        matches!(unread.0.try_wait(), Ok(Some(_))).then_some(())
    })
    .context("the tool does not end")?;
    let took = began.elapsed();
    ensure!(peak > 0 && peak < MOST, "the tool took {peak} KiB");
    // The limit, two seconds in which nobody reads, and the last words.
    ensure!(took < promised(6 * ONE_SECOND), "the tool ended after {took:?}");
    assert_eq!(unread.code()?, Some(2));
    trace.expect_nothing_left(AT_ONCE)
}

pub(crate) fn what_has_arrived_is_shown_when_the_reader_comes_back() -> Result<()> {
    let mark = unique();
    let (mut unread, mut trace) = stuck(&["run", "-w", "local1"], &mark)?;
    unread.signal(Signal::SIGINT)?;
    unread.expect_to_be_alone(&mut trace, ONE_SECOND)?;
    let stdout = BufReader::new(unread.0.stdout.take().context("a pipe")?);
    let lines = stdout.lines().collect::<std::io::Result<Vec<_>>>()?;
    let expected = format!("local1: {mark}");
    let (last, whole) = lines.split_last().context("lines")?;
    ensure!(whole.len() > 10_000 && whole.iter().all(|line| *line == expected), "{} lines", lines.len());
    ensure!(expected.starts_with(last.as_str()), "{last}");
    assert_eq!(unread.code()?, Some(130));
    let stderr = lines_of(unread.0.stderr.take());
    ensure!(stderr.iter().any(|line| line.contains("interrupted: 1 host: 1 cancelled")), "there is a summary");
    Ok(())
}

pub(crate) fn a_timeout_holds_while_nobody_reads_stdout() -> Result<()> {
    let mark = unique();
    let began = Instant::now();
    let (mut unread, mut trace) = unread(&["run", "-t", "2s", "-w", "local1", "--", "yes", &mark])?;
    wait_for(PATIENCE, || trace.look().iter().any(is_yes).then_some(())).context("the command does not run")?;
    wait_for(PATIENCE, || (!trace.look().iter().any(is_yes)).then_some(())).context("the command runs on")?;
    let took = began.elapsed();
    ensure!(took >= 2 * ONE_SECOND && took < promised(2 * ONE_SECOND), "it ran for {took:?}");
    let stdout = lines_of(unread.0.stdout.take());
    ensure!(stdout.iter().count() > 10_000, "what had arrived is shown");
    assert_eq!(unread.code()?, Some(2));
    let stderr = lines_of(unread.0.stderr.take());
    ensure!(
        stderr.iter().any(|line| line.starts_with("local1: timed out: the command did not end within 2s")),
        "the host is named"
    );
    trace.expect_nothing_left(AT_ONCE)
}

pub(crate) fn a_run_that_is_over_waits_for_its_reader_until_a_signal_comes() -> Result<()> {
    // More than a pipe holds, and less than what waits in the tool.
    let (mut unread, mut trace) = unread(&["run", "-w", "local1", "-s", "seq 20000; sleep 1"])?;
    wait_for(PATIENCE, || (trace.look().len() > 1).then_some(())).context("there is no child")?;
    unread.expect_to_be_alone(&mut trace, A_WHILE)?;
    ensure!(matches!(unread.0.try_wait(), Ok(None)), "it waits for its reader");
    unread.signal(Signal::SIGTERM)?;
    assert_eq!(unread.code()?, Some(143));
    Ok(())
}

pub(crate) fn a_stderr_that_nobody_reads_holds_up_neither_hosts_nor_signals() -> Result<()> {
    let (mut command, mut trace) = tool(&["-vvv", "run", "-w", "local[1-3]", "-s", "seq 3000; exec sleep 10000"]);
    let (_unread, stderr) = full_pipe()?;
    let mut child = Unread(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).spawn()?);
    let stdout = lines_of(child.0.stdout.take());
    for _ in 0..9000 {
        stdout.recv_timeout(PATIENCE).context("no more lines on stdout")?;
    }
    child.signal(Signal::SIGINT)?;
    // The children, and then a second for what is logged last and one for the summary.
    let ended = wait_for(promised(A_WHILE), || child.0.try_wait().transpose());
    assert_eq!(ended.context("it does not end")??.code(), Some(130));
    trace.expect_nothing_left(AT_ONCE)
}

pub(crate) fn output_that_nobody_reads_is_cut_when_time_is_up_or_a_signal_has_come() -> Result<()> {
    let mark = unique();
    // One host at a time: those that were not begun are told as such.
    for (fanout, line, code) in
        [("3", format!("yes {mark} >&2"), 2), ("3", format!("yes {mark}"), 2), ("1", format!("yes {mark} >&2"), 2 + 8)]
    {
        let (mut child, mut trace) = unread(&["run", "-w", "local[1-3]", "-f", fanout, "-t", "2s", "-s", &line])?;
        // Its time, the wait for a reader, and a moment.
        let ended = wait_for(promised(6 * ONE_SECOND), || child.0.try_wait().transpose());
        assert_eq!(ended.context("it does not end")??.code(), Some(code), "{line}");
        trace.expect_nothing_left(AT_ONCE)?;
    }
    for (signal, code, line) in [
        (Signal::SIGTERM, 143, format!("yes {mark}")),
        (Signal::SIGINT, 130, format!("yes {mark} >&2")),
        (Signal::SIGHUP, 129, format!("yes {mark}")),
    ] {
        let (mut child, mut trace) = unread(&["run", "-w", "local1", "-s", &line])?;
        wait_for(PATIENCE, || trace.look().iter().any(is_yes).then_some(())).context("the command does not run")?;
        std::thread::sleep(ONE_SECOND);
        child.signal(signal)?;
        let ended = wait_for(promised(4 * ONE_SECOND), || child.0.try_wait().transpose());
        assert_eq!(ended.context("it does not end")??.code(), Some(code), "{line}");
        if !line.ends_with(">&2") {
            let stderr = lines_of(child.0.stderr.take());
            ensure!(stderr.iter().any(|line| line.starts_with("offshoot: the output was cut")), "{signal} is told");
        }
        trace.expect_nothing_left(AT_ONCE)?;
    }
    Ok(())
}

pub(crate) fn hosts_whose_output_was_cut_have_failed() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let first = directory.path().join("first");
    // One host writes more than a pipe holds, the other makes it late.
    let line = format!("mkdir {} 2>/dev/null && exec seq 30000; exec sleep {}", first.display(), long_time());
    let (mut child, mut trace) = unread(&["run", "-w", "local[1-2]", "-t", "2s", "-s", &line])?;
    let ended = wait_for(promised(2 * A_WHILE), || child.0.try_wait().transpose());
    assert_eq!(ended.context("it does not end")??.code(), Some(2));
    let stderr: Vec<String> = lines_of(child.0.stderr.take()).iter().collect();
    ensure!(stderr.iter().any(|line| line.contains("2 hosts: 1 failed, 1 timed out")), "{stderr:?}");
    trace.expect_nothing_left(AT_ONCE)
}

/// A pipe that holds all that it can.
fn full_pipe() -> Result<(PipeReader, PipeWriter)> {
    let (read, mut write) = std::io::pipe()?;
    let flags = OFlag::from_bits_retain(fcntl(&write, FcntlArg::F_GETFL)?);
    fcntl(&write, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    while write.write(&[b'x'; 4096]).is_ok() {}
    fcntl(&write, FcntlArg::F_SETFL(flags))?;
    Ok((read, write))
}

/// Starts commands that would run on and on, and waits until they do.
fn begun(line: &str) -> Result<(Running, Trace)> {
    let (mut command, trace) = tool(&["run", "-w", "local[1-2],local1/local3", "-s", line]);
    let running = Running::start(&mut command)?;
    for _ in 0..3 {
        let line = running.line()?;
        ensure!(line.ends_with(": begun"), "{line}");
    }
    Ok((running, trace))
}

pub(crate) fn ctrl_c_shows_what_has_arrived_and_ends_everything() -> Result<()> {
    for (signal, code, line) in
        [(Signal::SIGINT, 130, "echo begun; exec sleep 10000"), (Signal::SIGTERM, 143, "echo begun; sleep 10000")]
    {
        let (running, mut trace) = begun(line)?;
        ensure!(trace.look().len() >= 6, "three children and their commands run: {:?}", trace.look());
        let start = Instant::now();
        running.signal(signal)?;
        let ended = running.finish()?;
        ensure!(start.elapsed() < promised(ONE_SECOND), "{signal}: it took {:?}", start.elapsed());
        assert_eq!(ended.code, Some(code), "{signal}: {:?}", ended.stderr);
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
