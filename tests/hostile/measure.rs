//! What a process takes, read from outside.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, SysconfVar, sysconf};

/// The most memory of some processes, as far as it was seen.
#[derive(Debug, Default)]
pub(crate) struct Peaks(BTreeMap<u32, u64>);

impl Peaks {
    /// Looks at a process. The kernel keeps its peak as long as it lives, so looking now and then is enough.
    pub(crate) fn look(&mut self, pid: u32) {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap_or(0);
        let peak = self.0.entry(pid).or_default();
        *peak = kib.max(*peak);
    }

    /// The largest one, in MiB.
    pub(crate) fn largest(&self) -> u64 {
        self.0.values().max().copied().unwrap_or(0).div_ceil(1024)
    }
}

/// The processor time of a child of this process once it has ended, without that of its own children. It is not
/// reaped by this.
pub(crate) fn time_of_ended(pid: u32) -> Option<Duration> {
    let id = Id::Pid(Pid::from_raw(i32::try_from(pid).ok()?));
    match waitid(id, WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT) {
        Ok(WaitStatus::StillAlive) => return None,
        Ok(_) => {}
        Err(_) => return Some(Duration::ZERO),
    }
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ').collect()).unwrap_or_default();
    let ticks: u64 = [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<u64>().ok()).sum();
    let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100).unsigned_abs();
    Some(Duration::from_millis(ticks * 1000 / per_second))
}
