//! Runs a program and watches it from outside: the tool, or a copy of a test.

use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::lines::lines_of;
use super::trace::Trace;
use super::{PATIENCE, unique, wait_for};

/// The variable that identifies everything that a run starts on this machine.
pub(crate) const MARK: &str = "OFS_TEST_MARK";

/// Prepares a run of the tool with these arguments. Also returns the trace of what it will leave behind.
pub(crate) fn tool(args: &[&str]) -> (Command, Trace) {
    program(env!("CARGO_BIN_EXE_offshoot").as_ref(), args)
}

/// The same for any program.
pub(crate) fn program(path: &Path, args: &[&str]) -> (Command, Trace) {
    let mark = unique();
    let mut command = Command::new(path);
    command.args(args).env(MARK, &mark).env_remove("NO_COLOR").env_remove("WCOLL");
    // What a run keeps for the next one is not the user's, and neither is its configuration.
    command.env("XDG_STATE_HOME", env!("CARGO_TARGET_TMPDIR")).env("XDG_CONFIG_HOME", "/nonexistent");
    (command, Trace::new(&mark))
}

/// A running program.
pub(crate) struct Running {
    pub(crate) pid: u32,
    pub(crate) stdout: Receiver<String>,
    pub(crate) stderr: Receiver<String>,
    child: Child,
    stdin: Option<ChildStdin>,
    since: Instant,
}

/// The end of a program.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    /// The output that was not read before.
    pub(crate) stdout: Vec<String>,
    pub(crate) stderr: Vec<String>,
    pub(crate) elapsed: Duration,
}

impl Running {
    /// Starts the program, with pipes.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        Self::start_with(command, Stdio::piped())
    }

    /// Does the same with another stdin.
    pub(crate) fn start_with(command: &mut Command, stdin: Stdio) -> Result<Self> {
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("{}", command.get_program().display()))?;
        Ok(Self {
            pid: child.id(),
            stdout: lines_of(child.stdout.take()),
            stderr: lines_of(child.stderr.take()),
            stdin: child.stdin.take(),
            child,
            since: Instant::now(),
        })
    }

    /// The next line on stdout.
    pub(crate) fn line(&self) -> Result<String> {
        self.stdout.recv_timeout(PATIENCE).map_err(|error| {
            let said: Vec<String> = self.stderr.try_iter().collect();
            anyhow!("no more lines on stdout ({error}); stderr: {}", said.join(" / "))
        })
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(i32::try_from(self.pid)?), signal)?)
    }

    pub(crate) fn stdin(&mut self) -> Option<&mut ChildStdin> {
        self.stdin.as_mut()
    }

    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Closes stdin and waits for the end of the program.
    pub(crate) fn finish(self) -> Result<Ended> {
        self.finish_within(PATIENCE)
    }

    /// The same, for a program that has much to do.
    pub(crate) fn finish_within(mut self, limit: Duration) -> Result<Ended> {
        self.close_stdin();
        let status = wait_for(limit, || self.child.try_wait().transpose()).context("it does not end")??;
        let elapsed = self.since.elapsed();
        Ok(Ended { code: status.code(), stdout: rest(&self.stdout), stderr: rest(&self.stderr), elapsed })
    }
}

impl Drop for Running {
    /// A test that fails must not leave a process either.
    fn drop(&mut self) {
        if !self.has_ended() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Reads the rest of a stream whose writer has ended. Other processes may hold it open.
fn rest(lines: &Receiver<String>) -> Vec<String> {
    let mut rest = Vec::new();
    while let Ok(line) = lines.recv_timeout(Duration::from_secs(5)) {
        rest.push(line);
    }
    rest
}

/// Runs the program to its end.
pub(crate) fn run(command: &mut Command) -> Result<Ended> {
    Running::start(command)?.finish()
}
