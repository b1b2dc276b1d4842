//! Starts the processes that make a child: a launcher or an image, with a link to it.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::sys::pipe::{Input, Output, Stream};
use crate::sys::process::program::Variables;
use crate::sys::process::{Known, Program, Start, Started};
use crate::sys::pty;

/// How long a process may live on after its link has ended, before SIGTERM.
const TERM_AFTER: Duration = Duration::from_millis(500);
/// How long it may live on after SIGTERM, before SIGKILL.
const KILL_AFTER: Duration = Duration::from_secs(1);

/// One wait of the thread for a process that was killed because it is not wanted any more.
const MOMENT: Duration = Duration::from_millis(1);
const MOMENTS: u32 = 20;

/// The program that a stand-in of ours may be found in place of.
const SSH: &str = "ssh";
/// How many ssh have been started within each other: by a proxy command, or because ssh is a stand-in for itself.
pub(crate) const SSH_DEPTH: &str = "OFFSHOOT_SSH_DEPTH";

/// What to start.
#[derive(Debug)]
pub(crate) enum Launch {
    /// A tool, found through PATH.
    Tool(Vec<String>),
    /// An image that is open as this descriptor, with all its arguments.
    Image { image: OwnedFd, argv: Vec<OsString> },
}

/// What a launcher gets as its standard descriptors. In both cases the link is a socket on 0 and
/// another socket on 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stdio {
    /// A pipe on 2, and no terminal.
    Pipe,
    /// A terminal on 2, which `/dev/tty` also opens. For launchers that may ask a question, and
    /// that gain privileges.
    Terminal,
}

/// A launcher or child context that this process has started.
#[derive(Debug)]
pub(crate) struct Launched {
    child: Started,
    pid: Option<u32>,
    /// Our end of its terminal. It must not close before the process has ended.
    terminal: Option<Output>,
    /// Set when nothing here has to end or reap the process any more.
    is_free: bool,
    /// Set if a process that cleans up behind a first stage may be in its group.
    may_clean_up: bool,
    _known: Known,
}

/// Gets the status of a process that has ended by itself.
pub(crate) type Told = Box<dyn FnOnce(Option<ExitStatus>)>;

/// Starts a process in a session of its own, with its link as stdin and stdout. The process dies
/// with this thread, which must be the I/O thread. The last returned value is its stderr, or the
/// terminal.
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
    let is_ssh = matches!(&what, Launch::Tool(argv) if argv.first().is_some_and(|program| program == SSH));
    let program = match what {
        Launch::Tool(argv) => Program::new(&argv)?,
        Launch::Image { image, argv } => Program::image(image, &argv)?,
    };
    let [stdin, stdout] = theirs;
    let mut start = Start::new(program, [stdin, stdout, their_stderr]);
    if is_ssh {
        count_ssh(&mut start.variables);
    }
    if terminal.is_some() {
        start.with_terminal();
        // ssh must ask on the terminal, where the answers come from.
        start.variables.retain(|(name, _)| name != "SSH_ASKPASS_REQUIRE");
    }
    let child = start.spawn()?;
    let [input, output] = ours;
    let stream = Stream { input: Input::new(input)?, output: Output::new(output)? };
    let pid = child.id();
    let launched = Launched { child, pid, terminal, is_free: false, may_clean_up: true, _known: Known::new(pid) };
    Ok((launched, stream, Input::new(stderr)?))
}

/// Tells an ssh within how many others it is started.
fn count_ssh(variables: &mut Variables) {
    let depth =
        variables.iter().find(|(name, _)| name == SSH_DEPTH).and_then(|(_, depth)| depth.to_str()?.parse().ok());
    let depth = depth.unwrap_or(0_u8).saturating_add(1);
    variables.retain(|(name, _)| name != SSH_DEPTH);
    variables.push((SSH_DEPTH.into(), depth.to_string().into()));
}

/// Both ends of a link. Each end is a descriptor to read from and one to write to.
fn link(what: &Launch, stdio: Stdio) -> io::Result<([OwnedFd; 2], [OwnedFd; 2])> {
    if stdio == Stdio::Terminal && selinux_enforces() {
        // A process that changes its SELinux domain may not use a socket of another domain. It may
        // use pipes.
        let (input, their_output) = io::pipe()?;
        let (their_input, output) = io::pipe()?;
        return Ok(([input.into(), output.into()], [their_input.into(), their_output.into()]));
    }
    // Closed on exec, like every descriptor that std opens.
    let (ours, theirs) = UnixStream::pair()?;
    let (input, their_output) = (OwnedFd::from(ours), OwnedFd::from(theirs));
    if let Launch::Image { .. } = what {
        // Our own image uses the same descriptor for both directions.
        return Ok(([input.try_clone()?, input], [their_output.try_clone()?, their_output]));
    }
    // One socket for each direction. If a tool makes its stdout non-blocking, as sudo does when it
    // logs the output, the stdin of the process that it starts must stay blocking.
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

    /// Lets the process live as long as it likes. Reaps it if it ends before this process does.
    pub(crate) async fn let_go(mut self) {
        self.is_free = true;
        let _ = self.child.wait().await;
    }

    /// Notes that a child is up, so that no process of a first stage is left in the group.
    pub(crate) fn settle(&mut self) {
        self.may_clean_up = false;
    }

    /// Kills the process and its group. A process that cleans up behind a first stage ends by
    /// itself, and would leave files if it was killed. If one may be in the group, the group only
    /// gets SIGTERM, which that process ignores.
    pub(crate) fn kill(&mut self) {
        if !self.is_free && self.child.id().is_some() {
            self.child.kill();
            signal_group(self.pid, if self.may_clean_up { Signal::SIGTERM } else { Signal::SIGKILL });
        }
    }

    /// Our end of its terminal, if it has one.
    pub(crate) fn terminal(&self) -> Option<&Output> {
        self.terminal.as_ref()
    }

    /// Closes its terminal. A program that asks a question there then gives up. This works also if
    /// the program belongs to another user and cannot be signalled.
    pub(crate) fn hang_up(&mut self) {
        self.terminal = None;
    }

    /// Waits for its end. Cancel safe.
    pub(crate) async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Ends the process and reaps it. The process first gets time to end by itself; `told` gets its
    /// status if it does, and `None` if not. Then it gets SIGTERM, then SIGKILL.
    pub(crate) async fn reap(mut self, told: Told) -> Option<ExitStatus> {
        let ended = tokio::time::timeout(TERM_AFTER, self.child.wait()).await;
        let status = if let Ok(Ok(status)) = &ended { Some(*status) } else { None };
        told(status);
        if ended.is_ok() {
            return status;
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
    /// A process that was not reaped was not wanted. It is killed.
    fn drop(&mut self) {
        self.kill();
        // It dies at once, but no code will look for it later.
        for _ in 0..MOMENTS {
            if self.is_free || !matches!(self.child.try_wait(), Ok(None)) {
                break;
            }
            std::thread::sleep(MOMENT);
        }
    }
}

/// Signals the group of a process that this process has started as the leader of a session.
fn signal_group(leader: Option<u32>, signal: Signal) {
    if let Some(leader) = leader.and_then(|pid| i32::try_from(pid).ok()) {
        // The group may just have ended.
        let _ = killpg(Pid::from_raw(leader), signal);
    }
}
