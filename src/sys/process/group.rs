//! The process group of a command, and its end.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::process::ExitStatus;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::sys::process::{Known, Start, Started};

/// The time between SIGTERM and SIGKILL for a group that is to end. The children of a context that
/// has lost its parent have no more time than this.
pub(super) const KILL_AFTER: Duration = Duration::from_millis(500);
/// How often to check whether a group has ended.
pub(super) const POLL: Duration = Duration::from_millis(10);
/// The interval for checking a guard that was dismissed. It ends quickly, and its context waits for
/// it.
const DISMISSAL: Duration = Duration::from_millis(1);
/// How long to wait after SIGKILL. A process that has not ended by then waits for a device, which
/// may take for ever.
const DEAD_AFTER: Duration = Duration::from_secs(1);

/// Global, because children belong to the process as a whole.
static GROUPS: LazyLock<TaskTracker> = LazyLock::new(TaskTracker::new);

/// Waits for the end of every group that is being ended. Takes a bounded time.
pub(crate) async fn groups_ended() {
    GROUPS.close();
    let _ = tokio::time::timeout(KILL_AFTER + DEAD_AFTER, GROUPS.wait()).await;
}

/// A command that leads a session and a process group of its own. Dropping this ends the whole
/// group.
#[derive(Debug)]
pub(crate) struct Group(Option<Members>);

#[derive(Debug)]
struct Members {
    leader: Started,
    /// The number of the leader and of the group.
    id: Option<Pid>,
    guard: Option<Guard>,
    /// Set when the group must not be signalled any more.
    is_over: bool,
    _known: Known,
    _counted: TaskTrackerToken,
}

impl Group {
    /// Starts a command.
    pub(crate) fn start(mut command: Start) -> io::Result<Self> {
        // Closed on exec, like every descriptor that std opens.
        let (link, theirs) = UnixStream::pair()?;
        command.with_guard(theirs.into());
        let leader = match command.spawn() {
            Ok(leader) => leader,
            Err(error) => {
                // The guard begins before the program.
                Guard::of(link).into_iter().for_each(|guard| spawn(guard.dismiss()));
                return Err(error);
            }
        };
        let pid = leader.id();
        let id = pid.and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
        let guard = Guard::of(link);
        let (known, counted) = (Known::new(pid), GROUPS.token());
        Ok(Self(Some(Members { leader, id, guard, is_over: false, _known: known, _counted: counted })))
    }

    /// The number of the process that leads the group, until it has been reaped.
    pub(crate) fn leader(&self) -> Option<u32> {
        self.0.as_ref().and_then(|members| members.leader.id())
    }

    /// Waits for the end of the leader. Cancel safe.
    pub(crate) async fn wait(&mut self) -> io::Result<ExitStatus> {
        match &mut self.0 {
            Some(members) => members.leader.wait().await,
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Lets the remaining processes of the group live on.
    pub(crate) fn let_go(mut self) {
        if let Some(mut members) = self.0.take() {
            members.is_over = true;
            spawn(members.dismiss());
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(members) = self.0.take() {
            // Without a guard the group can be signalled only until its leader
            // has been reaped.
            let is_guarded = members.guard.as_ref().is_some_and(Guard::is_there);
            members.signal(if is_guarded { Signal::SIGTERM } else { Signal::SIGKILL });
            spawn(members.end());
        }
    }
}

/// Continues ending a group in a task, as long as there is a runtime. Without a runtime, dropping
/// the group kills it.
fn spawn(end: impl Future<Output = ()> + Send + 'static) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        // Boxed, because each type of task adds code of its own.
        let end: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(end);
        runtime.spawn(end);
    }
}

impl Members {
    /// Waits for the end of the group after SIGTERM, and kills the processes that are left.
    async fn end(mut self) {
        let deadline = Instant::now() + KILL_AFTER;
        while self.is_any_left() && Instant::now() < deadline {
            tokio::time::sleep(POLL).await;
        }
        self.signal(Signal::SIGKILL);
        self.is_over = true;
        let _ = tokio::time::timeout(DEAD_AFTER, self.leader.wait()).await;
        self.dismiss().await;
    }

    /// Ends the guard, and reaps it.
    async fn dismiss(mut self) {
        if let Some(guard) = self.guard.take() {
            guard.dismiss().await;
        }
    }

    fn is_any_left(&mut self) -> bool {
        matches!(self.leader.try_wait(), Ok(None))
            || self.signalled().is_some_and(|group| killpg(group, None) != Err(Errno::ESRCH))
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.signalled() {
            // The group may just have ended.
            let _ = killpg(group, signal);
        }
    }

    /// The number of the group, unless it may belong to another group by now.
    fn signalled(&self) -> Option<Pid> {
        let is_own = self.leader.id().is_some() || self.guard.as_ref().is_some_and(Guard::is_there);
        self.id.filter(|_| is_own)
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        if !self.is_over {
            self.signal(Signal::SIGKILL);
        }
    }
}

/// The guard, which ends the group if this process cannot. See [`crate::sys::process::guard`].
#[derive(Debug)]
struct Guard {
    id: Pid,
    /// If this closes without a message, the guard ends the group.
    link: UnixStream,
    _known: Known,
}

impl Guard {
    /// The guard at the other end, if there is one.
    fn of(mut link: UnixStream) -> Option<Self> {
        let mut id = [0; 4];
        // The guard writes its number before the command begins. Without a guard, the read finds
        // the end of the file.
        link.read_exact(&mut id).ok()?;
        link.set_nonblocking(true).ok()?;
        let id = i32::from_ne_bytes(id);
        Some(Self { id: Pid::from_raw(id), link, _known: Known::new(u32::try_from(id).ok()) })
    }

    fn is_there(&self) -> bool {
        !matches!((&self.link).read(&mut [0]), Ok(0))
    }

    async fn dismiss(mut self) {
        let _ = self.link.write(b".");
        // If the guard is not a child of this process, waitpid says so at once.
        while waitpid(self.id, Some(WaitPidFlag::WNOHANG)) == Ok(WaitStatus::StillAlive) {
            tokio::time::sleep(DISMISSAL).await;
        }
    }
}
