//! `offshoot shell`: terminals on hosts, typed in on a terminal of this machine.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::Pid;

use crate::support::process::{Process, below};
use crate::support::tool::{run, tool};
use crate::support::trace::Trace;
use crate::support::{A_WHILE, AT_ONCE, ONE_SECOND, PATIENCE, THREE_SECONDS, long_time, promised, wait_for};

/// What leaves the shell at the start of a line.
const LEAVE: &str = "~.";

/// The tool on a terminal.
pub(crate) struct Typist {
    master: File,
    /// Holds the terminal open, so that its settings can be read.
    slave: File,
    child: Child,
    pub(crate) trace: Trace,
    shown: Arc<Mutex<Vec<u8>>>,
    /// How much of it was expected.
    seen: usize,
    before: Termios,
}

impl Typist {
    pub(crate) fn start(args: &[&str]) -> Result<Self> {
        let (mut command, trace) = tool(&[&["shell"], args].concat());
        Self::start_command(&mut command, trace)
    }

    /// Starts a prepared command of the tool on a terminal of 33 rows and 99 columns.
    pub(crate) fn start_command(command: &mut Command, trace: Trace) -> Result<Self> {
        let size = nix::pty::Winsize { ws_row: 33, ws_col: 99, ws_xpixel: 0, ws_ypixel: 0 };
        let terminal = openpty(Some(&size), None)?;
        let slave = File::from(terminal.slave);
        let before = tcgetattr(&slave)?;
        command.env("TERM", "vt100").env("LC_OFFSHOOT", "here").env("PS1", "$ ").env_remove("ENV");
        command.stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(slave.try_clone()?);
        let child = command.spawn()?;
        let (master, shown) = (File::from(terminal.master), Arc::new(Mutex::new(Vec::new())));
        let (mut from, to) = (master.try_clone()?, Arc::clone(&shown));
        std::thread::spawn(move || {
            let mut chunk = vec![0; 65536];
            // The end of a terminal is an error.
            while let Ok(count @ 1..) = from.read(&mut chunk) {
                to.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&chunk[..count]);
            }
        });
        Ok(Self { master, slave, child, trace, shown, seen: 0, before })
    }

    pub(crate) fn shown(&self) -> Vec<u8> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns what is shown, also after the end.
    pub(crate) fn shared_output(&self) -> impl Fn() -> Vec<u8> + use<> {
        let shown = Arc::clone(&self.shown);
        move || shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn type_text(&mut self, text: &str) -> Result<()> {
        Ok(self.master.write_all(text.as_bytes())?)
    }

    /// Waits until a text is shown behind what was expected before.
    pub(crate) fn expect(&mut self, text: &str) -> Result<()> {
        let found = wait_for(PATIENCE, || {
            let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
            let at = shown[self.seen..].windows(text.len()).position(|window| window == text.as_bytes())?;
            Some(self.seen + at + text.len())
        });
        let Some(found) = found else {
            let shown = self.shown();
            let end = &shown[shown.len().saturating_sub(2000).max(self.seen.min(shown.len()))..];
            bail!("{text:?} is not shown: {}", end.escape_ascii());
        };
        self.seen = found;
        Ok(())
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(self.pid(), signal)?)
    }

    /// Kills the tool. What it has started was looked at before.
    pub(crate) fn kill(&mut self) -> Result<()> {
        ensure!(self.trace.look().len() > 2, "the trace is too short");
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    pub(crate) fn resize(&self, rows: &str, columns: &str) -> Result<()> {
        let mut stty = Command::new("stty");
        let status = stty.args(["rows", rows, "cols", columns]).stdin(self.slave.try_clone()?).status()?;
        ensure!(status.success(), "stty fails");
        // It is not the controlling terminal of the tool, so the kernel does not send it.
        self.signal(Signal::SIGWINCH)
    }

    /// Waits for the end of the tool, and returns its exit code. The terminal is as it was, and nothing is left.
    pub(crate) fn finish(self, promise: Duration) -> Result<i32> {
        let status = self.ended(promise)?;
        status.code().with_context(|| format!("it ended by {status}"))
    }

    /// The same for a tool that may end by a signal.
    fn ended(mut self, promise: Duration) -> Result<ExitStatus> {
        let status = wait_for(PATIENCE, || self.child.try_wait().transpose())
            .with_context(|| format!("it does not end: {}", self.shown().escape_ascii()))??;
        let after = settings(&tcgetattr(&self.slave)?);
        ensure!(after == settings(&self.before), "the terminal is not as it was before: {after:?}");
        self.trace.expect_nothing_left(promise)?;
        Ok(status)
    }

    /// The descendants of the tool whose arguments contain this text.
    fn below(&self, text: &str) -> Vec<Process> {
        let all = Process::all();
        let found = below(self.child.id().cast_signed(), &all);
        found.into_iter().filter(|process| process.argv.iter().any(|word| word.contains(text))).cloned().collect()
    }
}

/// Of the control characters, Linux has fewer than the C library keeps.
fn settings(all: &Termios) -> impl PartialEq + std::fmt::Debug + use<> {
    let characters = all.control_chars[..17].to_vec();
    (all.input_flags, all.output_flags, all.control_flags, all.local_flags, characters)
}

impl Drop for Typist {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

pub(crate) fn a_terminal_there_has_the_size_and_the_variables_of_the_one_here() -> Result<()> {
    for host in ["local1", "local1/local2"] {
        let line = "stty size; echo $TERM $LC_OFFSHOOT; read -r a; stty size; tty; exit 5";
        let mut typist = Typist::start(&[host, "--", "sh", "-c", line])?;
        typist.expect("33 99\r\nvt100 here\r\n")?;
        typist.resize("40", "111")?;
        let sized = || {
            let terminals = typist.below("sh").into_iter().filter(|process| process.argv.contains(&line.to_owned()));
            terminals.into_iter().find_map(|process| {
                let tty = File::open(format!("/proc/{}/fd/0", process.pid)).ok()?;
                let size = Command::new("stty").arg("size").stdin(tty).output().ok()?;
                (size.stdout == b"40 111\n").then_some(())
            })
        };
        wait_for(PATIENCE, sized).context("the size does not arrive")?;
        typist.type_text("\r")?;
        typist.expect("40 111\r\n/dev/pts/")?;
        ensure!(typist.finish(AT_ONCE)? == 5);
    }
    Ok(())
}

pub(crate) fn the_login_shell_of_the_user_is_started_and_its_code_is_that_of_the_tool() -> Result<()> {
    let mut typist = Typist::start(&["local1"])?;
    typist.type_text("echo \"$SHELL\" is o\"\"k; exit 7\r")?;
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid())?.context("no user")?;
    typist.expect(&format!("{} is ok\r\n", user.shell.display()))?;
    ensure!(typist.finish(AT_ONCE)? == 7);
    Ok(())
}

pub(crate) fn ctrl_c_stops_a_command_that_prints_without_end_at_once() -> Result<()> {
    let mut typist = Typist::start(&["local1", "--", "sh", "-i"])?;
    typist.expect("$ ")?;
    typist.type_text("yes\r")?;
    wait_for(PATIENCE, || (typist.shown().len() > 3_000_000).then_some(())).context("not much output")?;
    typist.type_text("\x03")?;
    let typed = Instant::now();
    typist.expect("$ ")?;
    typist.type_text("echo o\"\"ver\r")?;
    typist.expect("over\r\n")?;
    let took = typed.elapsed();
    ensure!(took < promised(ONE_SECOND), "it took {took:?}");
    typist.type_text("exit 3\r")?;
    ensure!(typist.finish(AT_ONCE)? == 3);
    Ok(())
}

pub(crate) fn ctrl_z_stops_a_job_there_and_not_the_tool() -> Result<()> {
    let mut typist = Typist::start(&["local1/local2", "--", "sh", "-i"])?;
    typist.expect("$ ")?;
    let sleep = format!("sleep {}", long_time());
    typist.type_text(&format!("{sleep}\r"))?;
    let is_there = || typist.below("10000.").into_iter().find(|process| process.argv[0] == "sleep").map(drop);
    wait_for(PATIENCE, is_there).context("the job does not run")?;
    typist.type_text("\x1a")?;
    typist.expect("topped")?;
    typist.expect("$ ")?;
    typist.type_text("fg\r")?;
    typist.expect(&format!("{sleep}\r\n"))?;
    typist.type_text("\x03")?;
    typist.expect("$ ")?;
    typist.type_text("echo job $?\r")?;
    typist.expect("job 130\r\n")?;
    typist.type_text("exit 0\r")?;
    ensure!(typist.finish(AT_ONCE)? == 0);
    Ok(())
}

pub(crate) fn the_escape_character_leaves_and_ends_what_runs_there() -> Result<()> {
    let mut typist =
        Typist::start(&["local1/local2", "--", "sh", "-c", "trap '' TERM HUP; echo up; sleep 1000; sleep 1000"])?;
    typist.expect("up\r\n")?;
    typist.type_text("\r~?")?;
    typist.expect("lists this")?;
    typist.type_text(&format!("a\r{LEAVE}"))?;
    typist.expect("offshoot: left local1/local2")?;
    ensure!(typist.finish(A_WHILE)? == 8);
    // Without an escape character everything goes to the far end.
    let mut typist = Typist::start(&["-e", "none", "local1", "--", "sh", "-c", "read -r a; echo \"got $a\""])?;
    typist.type_text("~.\r")?;
    typist.expect("got ~.\r\n")?;
    ensure!(typist.finish(AT_ONCE)? == 0);
    Ok(())
}

pub(crate) fn much_output_and_much_input_arrive_whole() -> Result<()> {
    let mut typist = Typist::start(&["local1/local2", "--", "seq", "1", "200000"])?;
    let status = wait_for(PATIENCE, || typist.child.try_wait().transpose()).context("it does not end")??;
    ensure!(status.code() == Some(0), "{status}");
    let wanted: String = (1..=200_000).map(|number| format!("{number}\r\n")).collect();
    let whole = wait_for(A_WHILE, || (typist.shown() == wanted.as_bytes()).then_some(()));
    ensure!(whole.is_some(), "{} bytes of {}", typist.shown().len(), wanted.len());
    let count = 100_000;
    let mut typist =
        Typist::start(&["local1", "--", "sh", "-c", &format!("stty raw -echo; echo up; head -c {count} | cksum")])?;
    typist.expect("up")?;
    let text: String =
        (0..).flat_map(|number: u32| format!("{number},").into_bytes()).take(count).map(char::from).collect();
    let mut sum = Command::new("cksum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    sum.stdin.take().context("no stdin")?.write_all(text.as_bytes())?;
    let sum = String::from_utf8(sum.wait_with_output()?.stdout)?;
    typist.type_text(&text)?;
    typist.expect(sum.trim())?;
    ensure!(typist.finish(AT_ONCE)? == 0);
    Ok(())
}

pub(crate) fn the_terminal_is_as_before_however_the_shell_ends() -> Result<()> {
    let mut typist = Typist::start(&["local1", "--", "sh", "-c", "echo up; kill -9 $$"])?;
    typist.expect("up")?;
    ensure!(typist.finish(AT_ONCE)? == 137);
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGHUP, 129), (Signal::SIGINT, 130)] {
        let mut typist = Typist::start(&["local1/local2", "--", "sh", "-c", "echo up; sleep 1000"])?;
        typist.expect("up")?;
        let modes = tcgetattr(&typist.slave)?.local_flags;
        ensure!(!modes.intersects(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG), "it is not raw");
        typist.signal(signal)?;
        ensure!(typist.finish(A_WHILE)? == code, "{signal}");
    }
    // What no program of this kind expects, and what is no end by any plan of ours.
    let unexpected = [Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGALRM, Signal::SIGABRT, Signal::SIGSEGV];
    for signal in unexpected {
        let mut typist = Typist::start(&["local1/local2", "--", "sh", "-c", "echo up; sleep 1000"])?;
        typist.expect("up")?;
        typist.signal(signal)?;
        let status = typist.ended(A_WHILE)?;
        ensure!(status.signal() == Some(signal as i32), "{signal}: {status}");
    }
    // A signal of real time.
    let mut typist = Typist::start(&["local1/local2", "--", "sh", "-c", "echo up; sleep 1000"])?;
    typist.expect("up")?;
    let killed = Command::new("kill").args(["-40", &typist.pid().to_string()]).status()?;
    ensure!(killed.success() && typist.ended(A_WHILE)?.signal() == Some(40));
    // The link is lost.
    let mut typist = Typist::start(&["local1/local2", "--", "sh", "-c", "echo up; sleep 1000"])?;
    typist.expect("up")?;
    let contexts = typist.below("offshoot:");
    let hop = contexts.iter().find(|process| process.parent == typist.pid().as_raw()).context("no hop")?;
    hop.signal(Signal::SIGKILL)?;
    typist.expect("offshoot: the connection to local1/local2 was lost")?;
    ensure!(typist.finish(A_WHILE)? == 4);
    // What cannot be started.
    let mut typist = Typist::start(&["local1", "--", "no-such-program"])?;
    typist.expect("cannot start `no-such-program`")?;
    ensure!(typist.finish(AT_ONCE)? == 2);
    Ok(())
}

pub(crate) fn a_shell_that_is_stopped_from_outside_leaves_the_terminal_to_others() -> Result<()> {
    use std::os::unix::process::CommandExt as _;
    let (mut command, trace) = tool(&["shell", "local1", "--", "sh", "-c", "echo up; read -r a; echo $a"]);
    // The kernel lets only a group be stopped whose session has another one.
    let mut typist = Typist::start_command(command.process_group(0), trace)?;
    typist.expect("up")?;
    for signal in [Signal::SIGTSTP, Signal::SIGSTOP] {
        typist.signal(signal)?;
        let state = format!("/proc/{}/stat", typist.pid());
        let is_stopped = || std::fs::read_to_string(&state).ok()?.contains(") T ").then_some(());
        wait_for(PATIENCE, is_stopped).with_context(|| format!("{signal} does not stop it"))?;
        let there = settings(&tcgetattr(&typist.slave)?);
        // Nothing can be done before SIGSTOP. A shell of a user sets the terminal then.
        ensure!(signal == Signal::SIGSTOP || there == settings(&typist.before), "{signal}: {there:?}");
        tcsetattr(&typist.slave, SetArg::TCSANOW, &typist.before)?;
        typist.signal(Signal::SIGCONT)?;
        let is_raw = || tcgetattr(&typist.slave).is_ok_and(|modes| !modes.local_flags.contains(LocalFlags::ICANON));
        wait_for(PATIENCE, || is_raw().then_some(())).with_context(|| format!("{signal}: it is not raw again"))?;
    }
    typist.type_text("well\r")?;
    typist.expect("well")?;
    ensure!(typist.finish(AT_ONCE)? == 0);
    Ok(())
}

pub(crate) fn everything_on_the_terminal_there_ends_with_a_tool_that_is_killed_alone() -> Result<()> {
    // bash tells its jobs that the terminal is gone.
    let mut typist = Typist::start(&["local1/local2", "--", "bash", "--norc", "-i"])?;
    typist.expect("$ ")?;
    // One in the background, one in front, both in groups of their own.
    typist.type_text(&format!("sleep {} & sleep {}\r", long_time(), long_time()))?;
    let both = || (typist.below("10000.").len() >= 2).then_some(());
    wait_for(PATIENCE, both).context("the jobs do not run")?;
    typist.kill()?;
    typist.trace.expect_nothing_left(THREE_SECONDS)
}

pub(crate) fn without_a_terminal_there_is_no_shell_and_the_remedy_is_named() -> Result<()> {
    let (mut command, _trace) = tool(&["shell", "local1"]);
    let ended = run(&mut command)?;
    ensure!(ended.code == Some(64) && ended.stderr.concat().contains("write offshoot run -w HOST"), "{ended:?}");
    let mut typist = Typist::start(&["local[1-2]"])?;
    typist.expect("names 2 hosts, and a shell is for one")?;
    ensure!(typist.finish(AT_ONCE)? == 64);
    Ok(())
}
