//! The descendants of a context: ended together with it, and reaped when they have ended.
//!
//! Processes that lose their parent become children of the context, so the context can see every
//! process below it. On systems that cannot do that, only the groups that the context has started
//! itself end with it.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid, getsid};

use crate::sys::process::platform;

/// The time between SIGTERM and SIGKILL.
const TERM_GRACE: Duration = Duration::from_millis(500);
/// The longest time to wait for processes after the first SIGKILL.
const KILL_GRACE: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(10);
/// The most zombies that stay for a function that may still wait for them.
const MAX_ZOMBIES: usize = 64;

/// A function that recognises, by their arguments, processes that clean up and end by themselves.
#[cfg(target_os = "linux")]
static SPARED: std::sync::OnceLock<fn(&[u8]) -> bool> = std::sync::OnceLock::new();

/// Makes [`end_descendants`] leave out the processes whose arguments `marks` recognises: they clean
/// up and end by themselves.
#[cfg(target_os = "linux")]
pub(crate) fn spare(marks: fn(&[u8]) -> bool) {
    // Every caller sets the same function, so a second call changes nothing.
    let _ = SPARED.set(marks);
}

#[cfg(target_os = "linux")]
pub(super) fn is_spared(argv: &[u8]) -> bool {
    SPARED.get().is_some_and(|marks| marks(argv))
}

/// The process name of a context that has detached. By this name its former ancestors know that
/// they must not end it.
const DETACHED: &str = "offshoot-free";
/// The name of a supervisor.
const SUPERVISOR: &str = "offshoot-watch";

/// A process, as found on the walk over the descendants of its parent.
#[derive(Debug)]
pub(super) struct Relative {
    pub(super) pid: i32,
    pub(super) session: i32,
    pub(super) name: String,
    pub(super) is_zombie: bool,
}

/// A child process that code of this crate will reap.
#[derive(Debug)]
pub(crate) struct Known(Option<u32>);

/// Global, because children belong to the process as a whole.
static KNOWN: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

impl Known {
    pub(crate) fn new(pid: Option<u32>) -> Self {
        known().extend(pid);
        Self(pid)
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            known().remove(&pid);
        }
    }
}

fn known() -> MutexGuard<'static, BTreeSet<u32>> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes this process the parent of all orphans below it. Returns false if the system cannot do
/// that.
pub(crate) fn adopt_orphans() -> bool {
    platform::adopt_orphans()
}

/// Makes this process independent of others: the end of another process no longer ends this one.
pub(crate) fn outlive_parent() {
    // It may be the leader of its session already.
    let _ = nix::unistd::setsid();
    platform::outlive_parent();
}

/// Sets the process name by which the contexts above know that this one is to live.
pub(crate) fn mark_detached() {
    platform::rename(DETACHED);
}

/// Ends all descendants of this process, except for contexts that have detached and processes that
/// clean up by themselves. Takes at most a second and a half.
pub(crate) async fn end_descendants() {
    let mut end = End::begin();
    while end.goes_on() {
        tokio::time::sleep(POLL).await;
    }
}

/// The state of ending all descendants.
struct End {
    since: Instant,
    seen: BTreeSet<i32>,
}

impl End {
    fn begin() -> Self {
        Self { since: Instant::now(), seen: BTreeSet::new() }
    }

    /// Signals the descendants that are left. Returns false when there is nothing more to do.
    fn goes_on(&mut self) -> bool {
        let living = living();
        let elapsed = self.since.elapsed();
        if living.is_empty() || elapsed > TERM_GRACE + KILL_GRACE {
            return false;
        }
        for pid in living {
            // A descendant that appears later, because its parent has not ended yet, gets its own
            // SIGTERM.
            let is_new = self.seen.insert(pid);
            if elapsed > TERM_GRACE {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            } else if is_new {
                let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            }
        }
        true
    }
}

/// Lists all descendants of this process, parents first. Leaves out contexts that have detached,
/// processes on the way to one, such as sudo, and processes that clean up behind a first stage.
/// Killing the latter would leave files.
fn living() -> Vec<i32> {
    /// A process, with its parent as an index into the list.
    struct Found {
        pid: i32,
        parent: Option<usize>,
        is_way: bool,
    }
    let mut found: Vec<Found> = Vec::new();
    let (mut parent, mut next) = (getpid().as_raw(), None);
    loop {
        for child in platform::children_of(parent) {
            if child.is_zombie || platform::is_cleaner(child.pid) {
                continue;
            }
            if child.name != DETACHED {
                found.push(Found { pid: child.pid, parent: next, is_way: false });
                continue;
            }
            let mut above = next.and_then(|at| found.get_mut(at));
            while let Some(way) = above.filter(|way| !way.is_way) {
                way.is_way = true;
                above = way.parent.and_then(|at| found.get_mut(at));
            }
        }
        let at = next.map_or(0, |at| at + 1);
        let Some(further) = found.get(at) else { break };
        (parent, next) = (further.pid, Some(at));
    }
    found.iter().filter(|process| !process.is_way).map(|process| process.pid).collect()
}

/// Reaps orphans that have become children of this process and have ended.
///
/// The system does not say which zombies are orphans. Those in another session are: a process that
/// a function starts is in the session of the context, unless this module knows it. A zombie in the
/// session of the context may be one that a function will still wait for. It is reaped only if
/// there are more than [`MAX_ZOMBIES`].
pub(crate) fn reap_orphans() {
    let own = getsid(None).map_or(0, Pid::as_raw);
    let mut zombies = platform::children_of(getpid().as_raw());
    let known = known();
    zombies.retain(|child| child.is_zombie && !u32::try_from(child.pid).is_ok_and(|pid| known.contains(&pid)));
    let may_be_awaited = |zombie: &Relative| zombie.session == own;
    let is_crowd = zombies.iter().filter(|zombie| may_be_awaited(zombie)).count() > MAX_ZOMBIES;
    for zombie in zombies.iter().filter(|zombie| is_crowd || !may_be_awaited(zombie)) {
        let _ = waitpid(Pid::from_raw(zombie.pid), Some(WaitPidFlag::WNOHANG));
    }
}

/// Splits this process in two. One becomes the context. The other one, the supervisor, waits for
/// the end of the context, whatever causes it, and then ends everything that is left below. Does
/// nothing on systems without [`adopt_orphans`].
///
/// The process must not have an event queue yet, and no thread that matters.
pub(crate) fn supervise() -> std::io::Result<()> {
    if !platform::adopt_orphans() {
        return Ok(());
    }
    if let Some(context) = crate::sys::process::sys::fork()? {
        watch(context);
    }
    platform::die_softly_with_parent();
    Ok(())
}

/// Runs the supervisor until the process ends.
fn watch(context: Pid) -> ! {
    // When the parent dies, the context ends by its link. The supervisor must still be there then.
    platform::outlive_parent();
    platform::rename(SUPERVISOR);
    crate::sys::process::sys::ignore_requests_to_end();
    crate::sys::process::sys::close_all();
    let status = loop {
        match waitpid(None, None) {
            Ok(status) if status.pid() == Some(context) => break status,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => crate::sys::process::exit_now(1),
        }
    };
    let mut end = End::begin();
    while end.goes_on() {
        std::thread::sleep(POLL);
        while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(status) if status != WaitStatus::StillAlive) {}
    }
    crate::sys::process::ending::end_as(status)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::BufRead;

    use super::*;

    #[test]
    fn an_orphan_that_is_adopted_is_not_waited_for_by_anyone_else() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let known = Known::new(Some(child.id()));
        let found = platform::children_of(getpid().as_raw());
        let found = found.iter().find(|found| u32::try_from(found.pid) == Ok(child.id())).unwrap();
        assert!(!found.is_zombie);
        assert_eq!(found.session, getsid(None).unwrap().as_raw());
        child.kill().unwrap();
        let is_zombie = |pid| {
            platform::children_of(getpid().as_raw())
                .iter()
                .any(|found| u32::try_from(found.pid) == Ok(pid) && found.is_zombie)
        };
        while !is_zombie(child.id()) {}
        reap_orphans();
        assert!(is_zombie(child.id()), "it is known, and in this session");
        drop(known);
        assert!(child.wait().is_ok());
    }

    #[test]
    fn a_first_stage_is_ended_and_what_cleans_up_behind_it_is_not() {
        spare(|argv| argv.windows(6).any(|word| word == b"MARKED"));
        let line = r#": MARKED;{ trap "" TERM;echo up;sleep 1000;:;} & echo $!;wait"#;
        let mut command = std::process::Command::new("sh");
        let mut stage = command.args(["-c", line]).stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut said = std::io::BufReader::new(stage.stdout.take().unwrap()).lines().map(Result::unwrap);
        let (first, second) = (said.next().unwrap(), said.next().unwrap());
        let cleaner: i32 = [first, second].iter().find_map(|line| line.parse().ok()).unwrap();
        let sleep = || platform::children_of(cleaner).first().map(|child| child.pid);
        while sleep().is_none() {}
        let living = living();
        assert!(living.contains(&stage.id().cast_signed()));
        assert!(!living.contains(&cleaner) && !living.contains(&sleep().unwrap()));
        // From the outside inwards: what waits for the end of another one is still there.
        for pid in [stage.id().cast_signed(), cleaner, sleep().unwrap()] {
            kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        }
        stage.wait().unwrap();
    }
}
