//! What a large copy takes of each process on its way, and what a slow host takes of the others.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use super::tree::noise;
use super::{Site, is_context};
use crate::OnHosts;
use crate::fleet::Fleet;
use crate::support::process::Process;
use crate::support::tool::{Running, tool};
use crate::support::trace::Trace;
use crate::support::{A_WHILE, PATIENCE, long_time, unique, wait_for};

/// The bytes of a large copy.
const LARGE: usize = 1 << 30;
/// What a process may take more than one that only holds the connection, in KiB.
const MORE: u64 = 16 << 10;
/// The bytes of a copy to a host that stops: far more than what is under way.
const SOME: usize = 96 << 20;
const LOOK: Duration = Duration::from_millis(50);

pub(super) fn trials() -> Vec<OnHosts> {
    let mut trials: Vec<OnHosts> = Vec::new();
    for (name, way) in
        [("local", &["-w", "local1"][..]), ("ssh", &["-w", "here"]), ("three hops", &["-w", "web1/web2/nopass/sudo"])]
    {
        let name = format!("copies: no process takes 16 MiB for 1 GiB through {name} (long)");
        trials.push((name, Box::new(move |fleet| takes_little(fleet, way))));
    }
    let name = "copies: a host that does not read holds up only its own copy".to_owned();
    trials.push((name, Box::new(slow)));
    trials
}

/// The most memory, in KiB, that each of our processes has taken: the tool first, and the contexts in the order of
/// their starts.
#[derive(Debug, Default)]
struct Peaks(BTreeMap<(u64, i32), u64>);

impl Peaks {
    fn look(&mut self, tool: u32, trace: &mut Trace) {
        let tool = i32::try_from(tool).ok().and_then(Process::of);
        for process in trace.look().into_iter().filter(is_context).chain(tool) {
            let status = fs::read_to_string(format!("/proc/{}/status", process.pid)).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
            let kib = line.trim().trim_end_matches(" kB").parse().unwrap_or(0);
            let peak = self.0.entry((process.started, process.pid)).or_insert(0);
            *peak = kib.max(*peak);
        }
    }

    fn list(&self) -> Vec<u64> {
        self.0.values().copied().collect()
    }

    fn largest(&self) -> u64 {
        self.0.values().copied().max().unwrap_or(0)
    }
}

fn start(words: &[String]) -> Result<(Running, Trace)> {
    let (mut command, trace) = tool(&words.iter().map(String::as_str).collect::<Vec<_>>());
    Ok((Running::start(&mut command)?, trace))
}

/// The peaks of a run of the tool, which is `done` when it says so.
fn peaks(words: &[String], mut done: impl FnMut(&mut Running, &mut Trace) -> bool) -> Result<Peaks> {
    let (mut running, mut trace) = start(words)?;
    let mut peaks = Peaks::default();
    loop {
        peaks.look(running.pid, &mut trace);
        if done(&mut running, &mut trace) {
            break;
        }
        std::thread::sleep(LOOK);
    }
    if !running.has_ended() {
        peaks.look(running.pid, &mut trace);
        running.signal(Signal::SIGTERM)?;
    }
    let ended = running.finish()?;
    trace.expect_nothing_left(A_WHILE)?;
    ensure!(matches!(ended.code, Some(0 | 143)), "{ended:?}");
    Ok(peaks)
}

fn takes_little(fleet: &Fleet, way: &[&str]) -> Result<()> {
    let mut site = Site::new(fleet, way)?;
    // On this disk and not in memory: all these hosts are this machine.
    let there = site.here("there");
    site.path = there.display().to_string();
    let from = site.here("from");
    fs::write(&from, noise(1 << 20).repeat(LARGE >> 20))?;
    let idle = idle(&site)?;
    let from = from.display().to_string();
    let back = site.here("back").display().to_string();
    for (what, words) in
        [("push", site.words("push", &[&from, &site.path])), ("pull", site.words("pull", &[&site.path, &back]))]
    {
        let copying = peaks(&words, |running, _| running.has_ended())?;
        eprintln!("{what} {way:?}: idle {:?}, copying {:?} KiB", idle.list(), copying.list());
        ensure!(copying.list().len() <= idle.list().len(), "{what}: idle {idle:?}, copying {copying:?} KiB");
        for (idle, copying) in idle.list().into_iter().zip(copying.list()) {
            ensure!(copying < idle + MORE, "{what}: a process has taken {copying} KiB, and idle {idle} KiB");
        }
    }
    ensure!(fs::metadata(&there)?.len() == LARGE as u64, "all has arrived");
    Ok(())
}

/// The peaks of what only holds the connection.
fn idle(site: &Site<'_>) -> Result<Peaks> {
    let time = long_time();
    let is_sleep = |process: &Process| process.argv == ["sleep", &time];
    peaks(&site.words("run", &["--", "sleep", &time]), |_, trace| trace.look().iter().any(is_sleep))
}

fn slow(fleet: &Fleet) -> Result<()> {
    let mut site = Site::new(fleet, &["-w", "here-user,web1"])?;
    // In the home directory of each.
    site.path = format!("copies-{}", unique());
    let from = site.here("from");
    fs::write(&from, noise(SOME))?;
    let limit = idle(&site)?.largest() + MORE;
    let (mut running, mut trace) = start(&site.words("push", &[&from.display().to_string(), &site.path]))?;
    let mut peaks = Peaks::default();
    let home = fleet.homes.join(&fleet.user);
    let stopped = wait_for(PATIENCE, || {
        let draft = fs::metadata(home.join(format!(".{}.offshoot-part", site.path))).ok()?;
        let is_theirs = |process: &Process| owner(process) == Some(draft.uid());
        let sink = trace.look().into_iter().find(|process| is_context(process) && is_theirs(process))?;
        sink.signal(Signal::SIGSTOP).ok().map(|()| sink)
    });
    let stopped = stopped.context("the copy does not begin")?;
    let done = running.line();
    peaks.look(running.pid, &mut trace);
    let has_ended = running.has_ended();
    stopped.signal(Signal::SIGCONT)?;
    let done = done?;
    ensure!(done.starts_with("web1: 1 file written") && !has_ended, "{done}");
    ensure!(peaks.largest() < limit, "{peaks:?} and not {limit} KiB");
    let ended = running.finish()?;
    trace.expect_nothing_left(A_WHILE)?;
    ensure!(ended.code == Some(0) && ended.stdout.concat().starts_with("here-user: 1 file written"), "{ended:?}");
    ensure!(fs::metadata(home.join(&site.path))?.len() == SOME as u64, "all has arrived");
    Ok(())
}

/// The user that a process runs as.
fn owner(process: &Process) -> Option<u32> {
    Some(fs::metadata(format!("/proc/{}", process.pid)).ok()?.uid())
}
