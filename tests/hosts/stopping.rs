//! Random commands that resist their end, stopped in every way. After three seconds nothing of them is left.
//!
//! `OFS_ROUNDS` is the number of rounds. `OFS_SEED` repeats the same random numbers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use crate::OnHosts;
use crate::fleet::Fleet;
use crate::random::{Random, rounds};
use crate::support::process::Process;
use crate::support::tool::{Running, tool};
use crate::support::trace::Trace;
use crate::support::{PATIENCE, THREE_SECONDS, long_time, wait_for};

/// The command. `TIME` marks its processes.
const COMMANDS: [&str; 9] = [
    "echo begun; sleep TIME",
    "trap '' TERM; echo begun; sleep TIME; true",
    "trap '' INT TERM HUP QUIT; echo begun; sleep TIME & sleep TIME; wait",
    "(trap '' TERM INT HUP; echo begun; sleep TIME; true) & wait",
    // Its leader has ended before it is stopped.
    "(trap '' TERM; echo begun; while :; do echo still; sleep 0.1; : TIME; done) & exit 0",
    "sh -c 'sh -c \"trap \\\"\\\" TERM; echo begun; sleep TIME; :\" & wait; :' & wait",
    // It starts new processes all the time.
    "trap '' TERM; echo begun; while :; do sh -c ': TIME'; done",
    // It writes more than is read.
    "trap '' TERM; echo begun; : TIME; while :; do echo TIME; done",
    "trap '' TERM; echo begun; (trap '' TERM; sleep TIME; :) & kill -STOP $$",
];

/// The way in which it is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Timeout,
    Signal(Signal),
    /// SIGKILL of a context on the way.
    Context,
}

const WAYS: [Way; 6] = [
    Way::Timeout,
    Way::Signal(Signal::SIGINT),
    Way::Signal(Signal::SIGTERM),
    Way::Signal(Signal::SIGHUP),
    Way::Signal(Signal::SIGKILL),
    Way::Context,
];

pub(crate) fn trials() -> Vec<OnHosts> {
    vec![("whatever runs on hosts, and however it is stopped, nothing is left (alone)".into(), Box::new(on_hosts))]
}

/// As the name of the trial says.
pub(crate) fn whatever_runs_and_however_it_is_stopped_nothing_is_left() -> Result<()> {
    try_often("stopping here", rounds(12), &["local1", "local1/local2"], None)
}

fn on_hosts(fleet: &Fleet) -> Result<()> {
    try_often("stopping there", rounds(6), &["here-user", "nopass/sudo", "web1/here-user", "here/local1"], Some(fleet))
}

fn try_often(what: &str, rounds: u32, hosts: &[&str], fleet: Option<&Fleet>) -> Result<()> {
    let (mut random, seed) = Random::new(what);
    let mut tally: BTreeMap<(&str, Way), u32> = BTreeMap::new();
    let start = Instant::now();
    for round in 1..=rounds {
        let (host, way, command) = (random.pick(hosts), random.pick(&WAYS), random.pick(&COMMANDS));
        let what = format!("round {round} ({seed}): {way:?} stops on {host} {command}");
        stop(host, way, command, fleet, &mut random).context(what)?;
        *tally.entry((host, way)).or_default() += 1;
    }
    eprintln!("{what} ({seed}): {rounds} rounds in {:?}: {tally:?}", start.elapsed());
    Ok(())
}

fn stop(host: &str, way: Way, command: &str, fleet: Option<&Fleet>, random: &mut Random) -> Result<()> {
    let time = long_time();
    let line = command.replace("TIME", &time);
    let config = fleet.map_or_else(|| "none".into(), |fleet| fleet.config.display().to_string());
    let mut args = vec!["run", "-F", &config, "-w", host, "-s", &line];
    if way == Way::Timeout {
        args.extend(["-t", "1s"]);
    }
    let (mut command, trace) = tool(&args);
    let places: &[PathBuf] = fleet.map_or(&[], |fleet| &fleet.places);
    let mut trace = trace.with_needle(&time).with_places(places);
    let running = Running::start(&mut command)?;
    let begun = running.line()?;
    ensure!(begun.ends_with(": begun"), "{begun}");
    ensure!(!trace.look().is_empty(), "it runs");
    std::thread::sleep(random.time(std::time::Duration::from_millis(300)));
    let mut start = Instant::now();
    match way {
        Way::Timeout => {}
        Way::Signal(signal) => running.signal(signal)?,
        Way::Context => kill_context(&mut trace, random)?,
    }
    drain(&running);
    let ended = running.finish()?;
    if way == Way::Timeout {
        start = Instant::now();
    }
    let codes: &[Option<i32>] = match way {
        // A command that has ended in time keeps its exit code, whatever of its group is stopped.
        Way::Timeout if line.ends_with("& exit 0") => &[Some(0), Some(2)],
        Way::Timeout => &[Some(2)],
        Way::Signal(Signal::SIGKILL) => &[None],
        Way::Signal(signal) => &[Some(128 + signal as i32)],
        Way::Context => &[Some(4)],
    };
    ensure!(codes.contains(&ended.code), "{ended:?}");
    trace.expect_nothing_left(THREE_SECONDS.saturating_sub(start.elapsed()))
}

/// Reads and drops the output, which may be long.
fn drain(running: &Running) {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        match running.stdout.recv_timeout(PATIENCE) {
            Ok(_) => {}
            Err(_) => break,
        }
    }
}

fn kill_context(trace: &mut Trace, random: &mut Random) -> Result<()> {
    let is_context = |process: &Process| {
        let name = std::fs::read_to_string(format!("/proc/{}/comm", process.pid)).unwrap_or_default();
        process.argv.first().is_some_and(|argv0| argv0.starts_with("offshoot:")) && name != "offshoot-guard\n"
    };
    let contexts = wait_for(PATIENCE, || {
        let mut found = trace.look();
        found.retain(|process| is_context(process) && !process.is_zombie());
        (!found.is_empty()).then_some(found)
    });
    let contexts = contexts.context("there is no context")?;
    let chosen = &contexts[random.below(contexts.len() as u64) as usize];
    Ok(chosen.signal(Signal::SIGKILL)?)
}
