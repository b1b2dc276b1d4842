//! What this process starts to make a child: a launcher or an image, with a link to it.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use crate::sys::pipe::{Input, Output, Stream};
use crate::sys::process::Known;
use crate::sys::process::sys::{self, Exec};
use crate::sys::pty;

/// A process whose link has ended has this long to follow.
const TERM_AFTER: Duration = Duration::from_millis(500);
/// After SIGTERM it has this long until SIGKILL.
const KILL_AFTER: Duration = Duration::from_secs(1);

/// How long the thread waits for a process that was killed, since it was not
/// wanted any more.
const MOMENT: Duration = Duration::from_millis(1);
const MOMENTS: u32 = 20;

/// What to start.
#[derive(Debug)]
pub(crate) enum Launch {
    /// A tool, found through PATH.
    Tool(Vec<String>),
    /// An image that is open as this descriptor, with all its arguments.
    Image { image: OwnedFd, argv: Vec<OsString> },
}

/// What a launcher finds on its standard descriptors. The link is a socket on
/// 0 and another on 1 in either case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stdio {
    /// A pipe on 2, and no terminal.
    Pipe,
    /// A terminal on 2, which is also what `/dev/tty` leads to. For launchers
    /// that may ask, and that gain privileges.
    Terminal,
}

/// A launcher or child context that this process has started.
#[derive(Debug)]
pub(crate) struct Launched {
    child: Child,
    pid: Option<u32>,
    /// Our end of its terminal, which must not close before it has ended.
    terminal: Option<Output>,
    /// It is nobody's business any more.
    is_free: bool,
    /// What cleans up behind a first stage is in its group.
    may_clean_up: bool,
    _known: Known,
}

/// Starts a process with its link as stdin and stdout, in a session of its own.
/// It dies with this thread, which must be the I/O thread. The last of what is
/// returned is its stderr, or the terminal.
pub(crate) fn launch(what: Launch, stdio: Stdio) -> io::Result<(Launched, Stream, Input)> {
    let (ours, theirs) = link(&what, stdio)?;
    let (terminal, stderr, their_stderr) = match stdio {
        Stdio::Pipe => {
            let (stderr, theirs) = io::pipe()?;
            (None, OwnedFd::from(stderr), OwnedFd::from(theirs))
        }
        Stdio::Terminal => {
            let (ours, theirs) = pty::open().map_err(io::Error::other)?;
            (Some(Output::new(ours.try_clone()?)?), ours, theirs.into())
        }
    };
    let mut command = match &what {
        Launch::Tool(argv) => {
            let Some((tool, args)) = argv.split_first() else {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "nothing to start"));
            };
            let mut command = std::process::Command::new(tool);
            command.args(args);
            command
        }
        // The name is only for error texts: it is never looked up.
        Launch::Image { .. } => std::process::Command::new("/offshoot"),
    };
    command.stdin(theirs[0].try_clone()?).stdout(theirs[1].try_clone()?).stderr(their_stderr);
    if terminal.is_some() {
        // ssh is to ask where it is answered.
        command.env_remove("SSH_ASKPASS_REQUIRE");
    }
    let exec = match what {
        Launch::Tool(_) => None,
        Launch::Image { image, argv } => Some(Exec::new(image, &argv)?),
    };
    sys::start_in_own_session(&mut command, exec, terminal.is_some());
    let mut command = Command::from(command);
    let child = command.spawn()?;
    let [input, output] = ours;
    let stream = Stream { input: Input::new(input)?, output: Output::new(output)? };
    let pid = child.id();
    let launched = Launched { child, pid, terminal, is_free: false, may_clean_up: true, _known: Known::new(pid) };
    Ok((launched, stream, Input::new(stderr)?))
}

/// Both ends of a link, each as what is read from and what is written to.
fn link(what: &Launch, stdio: Stdio) -> io::Result<([OwnedFd; 2], [OwnedFd; 2])> {
    if stdio == Stdio::Terminal && selinux_enforces() {
        // A process that changes its domain may not use the socket of another
        // domain; pipes it may.
        let (input, their_output) = io::pipe()?;
        let (their_input, output) = io::pipe()?;
        return Ok(([input.into(), output.into()], [their_input.into(), their_output.into()]));
    }
    // Closed on exec, like all that std opens.
    let (ours, theirs) = UnixStream::pair()?;
    let (input, their_output) = (OwnedFd::from(ours), OwnedFd::from(theirs));
    if let Launch::Image { .. } = what {
        // Our own image treats both directions alike.
        return Ok(([input.try_clone()?, input], [their_output.try_clone()?, their_output]));
    }
    // A tool that makes its stdout non-blocking, as sudo does when it logs the
    // output, must leave the stdin of what it starts as it is.
    let (ours, theirs) = UnixStream::pair()?;
    Ok(([input, ours.into()], [theirs.into(), their_output]))
}

fn selinux_enforces() -> bool {
    std::fs::read("/sys/fs/selinux/enforce").is_ok_and(|mode| mode.starts_with(b"1"))
}

impl Launched {
    /// The process's id, as long as it has not been reaped.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Lets the process live as long as it likes; reaps it if it ends first.
    pub(crate) async fn let_go(mut self) {
        self.is_free = true;
        let _ = self.child.wait().await;
    }

    /// There is a child at its end, and nothing that a first stage has left.
    pub(crate) fn settle(&mut self) {
        self.may_clean_up = false;
    }

    /// Kills the process and its group. What cleans up behind a first stage
    /// ends by itself, and would leave files if it was killed: where it may be
    /// in the group, that only gets SIGTERM, which it ignores.
    pub(crate) fn kill(&mut self) {
        if !self.is_free && self.child.id().is_some() {
            let _ = self.child.start_kill();
            signal_group(self.pid, if self.may_clean_up { Signal::SIGTERM } else { Signal::SIGKILL });
        }
    }

    /// Our end of its terminal, if it has one.
    pub(crate) fn terminal(&self) -> Option<&Output> {
        self.terminal.as_ref()
    }

    /// Closes its terminal. What asks a question there gives up, also where
    /// it is another user's and cannot be signalled.
    pub(crate) fn hang_up(&mut self) {
        self.terminal = None;
    }

    /// Waits for its end. Cancel safe.
    pub(crate) async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Sees to it that the process ends, and reaps it: first it may end by
    /// itself, then SIGTERM, then SIGKILL.
    pub(crate) async fn reap(mut self) -> Option<ExitStatus> {
        if let Ok(status) = tokio::time::timeout(TERM_AFTER, self.child.wait()).await {
            return status.ok();
        }
        self.hang_up();
        signal_group(self.pid, Signal::SIGTERM);
        if let Ok(status) = tokio::time::timeout(KILL_AFTER, self.child.wait()).await {
            return status.ok();
        }
        self.kill();
        self.child.wait().await.ok()
    }
}

impl Drop for Launched {
    /// Whatever was not reaped was not wanted: it goes.
    fn drop(&mut self) {
        self.kill();
        // It takes no time to die, but nobody will look again.
        for _ in 0..MOMENTS {
            if self.is_free || !matches!(self.child.try_wait(), Ok(None)) {
                break;
            }
            std::thread::sleep(MOMENT);
        }
    }
}

/// Signals a group that a session leader of ours leads.
fn signal_group(leader: Option<u32>, signal: Signal) {
    if let Some(leader) = leader.and_then(|pid| i32::try_from(pid).ok()) {
        // It may just have ended.
        let _ = killpg(Pid::from_raw(leader), signal);
    }
}
