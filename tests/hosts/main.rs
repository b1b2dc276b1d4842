//! Runs whole programs on real ssh hosts. It runs among the hosts that `scripts/hosts up` has started;
//! `scripts/test` starts it there.
//!
//! This binary is its own child, so it sends itself to the hosts. It also starts itself as a controller, to
//! be run by an ordinary user or to be killed, and as a launcher that damages the bytes that pass through it;
//! see [`helper`]. Each trial finds what it has left behind with a [`Trace`](support::trace::Trace), so
//! trials run side by side. Trials that assert the promised three seconds run after the others, one at a
//! time: their names end with `(alone)`, or `alone`. Up to three trials that fail beside others run once more
//! with nothing beside them, and the output says so. Random trials do not.
//!
//! The variable `OFS_LEVEL` chooses trials. With `check`, those that take long are left out or repeated a few
//! times only. With `long`, only those run. If it is not set, all run.

#[path = "../cli/mod.rs"]
mod cli;
#[path = "../faults/mod.rs"]
mod faults;
#[path = "../first_stage/mod.rs"]
mod first_stage;
#[path = "../support/mod.rs"]
mod support;

mod boxes;
mod containers;
mod controller;
mod copies;
mod doctor;
mod failing;
mod fleet;
mod foreign;
mod forward;
mod functions;
mod giving_up;
mod helper;
mod keeping;
mod kept;
mod killing;
mod launcher;
mod namespaces;
mod own_image;
mod pacing;
mod privilege;
mod programs;
mod random;
mod rsh;
mod running;
mod secrets;
mod shells;
mod slow_line;
mod stage;
mod stopping;
mod sudo_rs;
mod sudoers;
mod upload;
mod via;
mod visit;
mod writing;

use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use libtest_mimic::{Arguments, Completion, Failed, Trial};

use fleet::Fleet;
use support::Missing;

fn main() -> ExitCode {
    offshoot::child();
    if let Some(exit) = helper::main() {
        return exit;
    }
    support::catch_again();
    let mut arguments = Arguments::from_args();
    let level = Level::chosen();
    let (mut beside, mut alone) = (Vec::new(), Vec::new());
    let mut add = |name: String, trial: Body| {
        if level.includes(&name) {
            let is_alone = name.trim_end_matches(')').ends_with("alone");
            let lane = if is_alone { &mut alone } else { &mut beside };
            lane.push(Trial::ignorable_test(name.clone(), move || attempt(name, trial, !is_alone)));
        }
    };
    for (name, trial) in first_stage::trials() {
        add(format!("first stage: {name}"), trial);
    }
    for (name, trial) in cli::trials() {
        add(format!("cli: {name}"), Box::new(trial));
    }
    let any = "whatever writes, and however it is read, all of it arrives";
    add(any.into(), Box::new(writing::whatever_writes_and_however_it_is_read_all_of_it_arrives));
    let any = "whatever runs, and however it is stopped, nothing is left (alone)";
    add(any.into(), Box::new(stopping::whatever_runs_and_however_it_is_stopped_nothing_is_left));
    add(faults::name(level), Box::new(move || faults::no_promise_is_broken(level)));
    let fleet = Fleet::find();
    let on_hosts = [
        visit::trials(),
        via::trials(),
        failing::trials(),
        giving_up::trials(),
        upload::trials(),
        privilege::trials(),
        own_image::trials(),
        containers::trials(),
        boxes::trials(),
        namespaces::trials(),
        secrets::trials(),
        slow_line::trials(),
        sudo_rs::trials(),
        sudoers::trials(),
        kept::trials(),
        keeping::trials(),
        doctor::trials(),
        rsh::trials(),
        programs::trials(),
        forward::trials(),
        running::trials(),
        pacing::trials(),
        copies::trials(),
        foreign::trials(),
        killing::trials(level),
        writing::trials(),
        shells::trials(),
        stopping::trials(),
    ];
    for (name, trial) in on_hosts.into_iter().flatten() {
        let fleet = fleet.clone();
        add(name, Box::new(move || trial(fleet.as_ref().map_err(Clone::clone)?)));
    }
    // Before any trials run at the same time.
    let _kit = match launcher::prepare() {
        Ok(kit) => kit,
        Err(error) => {
            eprintln!("hosts: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let first = libtest_mimic::run(&arguments, beside);
    support::ALONE.store(true, Ordering::Relaxed);
    arguments.test_threads = Some(1);
    let second = libtest_mimic::run(&arguments, alone);
    failures().try_again();
    // Once more, as the last lines are those that are read: each of the sets prints its own only behind itself.
    for failure in &failures().last {
        eprintln!("hosts: FAILED: {failure}");
    }
    let ended = if first.has_failed() { first } else { second };
    if ended.has_failed() || failures().last.is_empty() { ended.exit_code() } else { ExitCode::FAILURE }
}

/// In the names of trials that only the level `long` runs.
const LONG: &str = " (long)";

/// How many of the trials run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Check,
    Long,
    All,
}

impl Level {
    fn chosen() -> Self {
        match std::env::var("OFS_LEVEL").as_deref() {
            Ok("check") => Self::Check,
            Ok("long") => Self::Long,
            _ => Self::All,
        }
    }

    /// Trials on other processors need images for them, and hundreds of kills take minutes.
    fn includes(self, name: &str) -> bool {
        let takes_long = name.contains("foreign") || name.contains(LONG);
        match self {
            Self::Check => !takes_long,
            Self::Long => takes_long || name.contains(killing::MANY) || name.contains(faults::MANY),
            Self::All => true,
        }
    }
}

/// A trial that needs the hosts.
type OnHosts = (String, Box<dyn Fn(&Fleet) -> Result<()> + Send>);

type Body = Box<dyn Fn() -> Result<()> + Send>;

/// Trials that have failed.
#[derive(Default)]
struct Failures {
    /// To be tried once more, and why each has failed. So many trials run at the same time that one of them may
    /// wait in vain on a machine that has much else to do.
    again: Vec<(String, Body, String)>,
    /// What has failed for good, and why.
    last: Vec<String>,
}

/// More failures than these do not come from a busy machine.
const TRIED_AGAIN: usize = 3;

fn failures() -> MutexGuard<'static, Failures> {
    static FAILURES: Mutex<Failures> = Mutex::new(Failures { again: Vec::new(), last: Vec::new() });
    FAILURES.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Failures {
    /// Runs what has failed beside other trials once more, with nothing beside it.
    fn try_again(&mut self) {
        for (name, body, why) in self.again.drain(..) {
            eprintln!("hosts: FAILED BESIDE OTHERS: {name}: {why}");
            if let Err(error) = body() {
                self.last.push(format!("{name}: {error:#}"));
            } else {
                eprintln!("hosts: passed with nothing beside it: {name}");
            }
        }
    }
}

/// Runs a trial. One that cannot run here is skipped. If `CI` is set, that is a failure.
fn attempt(name: String, body: Body, is_beside: bool) -> Result<Completion, Failed> {
    let Err(error) = body() else {
        return Ok(Completion::Completed);
    };
    if error.is::<Missing>() && std::env::var_os("CI").is_none() {
        return Ok(Completion::ignored_with(format!("SKIPPED: {error}")));
    }
    let why = format!("{error:#}");
    let mut failures = failures();
    // What a random trial has found it may not find again.
    if is_beside && !name.starts_with("whatever") && failures.again.len() < TRIED_AGAIN {
        failures.again.push((name, body, why));
        return Ok(Completion::ignored_with("FAILED, and is tried again behind the others"));
    }
    failures.last.push(format!("{name}: {why}"));
    Err(why.into())
}
