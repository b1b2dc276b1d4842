//! Runs whole programs on real ssh hosts. It runs among the hosts that `scripts/hosts up` has started;
//! `scripts/test` starts it there.
//!
//! This binary is its own child, so it sends itself to the hosts. It also starts itself as a controller, to
//! be run by an ordinary user or to be killed, and as a launcher that damages the bytes that pass through it;
//! see [`helper`]. Each trial finds what it has left behind with a [`Trace`](support::trace::Trace), so
//! trials run side by side. Trials that assert the promised three seconds run after the others, one at a
//! time: their names end with `(alone)`, or `alone`.
//!
//! The variable `OFS_LEVEL` chooses trials. With `check`, those that take long are left out or repeated a few
//! times only. With `long`, only those run. If it is not set, all run.

#[path = "../cli/mod.rs"]
mod cli;
#[path = "../first_stage/mod.rs"]
mod first_stage;
#[path = "../support/mod.rs"]
mod support;

mod boxes;
mod containers;
mod controller;
mod doctor;
mod failing;
mod fleet;
mod foreign;
mod functions;
mod giving_up;
mod helper;
mod kept;
mod killing;
mod launcher;
mod namespaces;
mod own_image;
mod privilege;
mod random;
mod running;
mod secrets;
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
    let mut arguments = Arguments::from_args();
    let level = Level::chosen();
    let (mut beside, mut alone) = (Vec::new(), Vec::new());
    let mut add = |name: String, trial: Box<dyn Fn() -> Result<()> + Send>| {
        if level.includes(&name) {
            let lane = if name.trim_end_matches(')').ends_with("alone") { &mut alone } else { &mut beside };
            lane.push(Trial::ignorable_test(name.clone(), move || completion(&name, trial())));
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
        doctor::trials(),
        running::trials(),
        foreign::trials(),
        killing::trials(level),
        writing::trials(),
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
    // Once more, as the last lines are those that are read: each of the two sets prints its own only behind itself.
    for failure in failures().iter() {
        eprintln!("hosts: FAILED: {failure}");
    }
    if first.has_failed() { first.exit_code() } else { second.exit_code() }
}

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
        let is_foreign = name.contains("foreign");
        match self {
            Self::Check => !is_foreign,
            Self::Long => is_foreign || name.contains(killing::MANY),
            Self::All => true,
        }
    }
}

/// A trial that needs the hosts.
type OnHosts = (String, Box<dyn Fn(&Fleet) -> Result<()> + Send>);

/// The trials that have failed, and why.
fn failures() -> MutexGuard<'static, Vec<String>> {
    static FAILURES: Mutex<Vec<String>> = Mutex::new(Vec::new());
    FAILURES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A trial that cannot run here is skipped. If `CI` is set, that is a failure.
fn completion(name: &str, outcome: Result<()>) -> Result<Completion, Failed> {
    match outcome {
        Ok(()) => Ok(Completion::Completed),
        Err(error) if error.is::<Missing>() && std::env::var_os("CI").is_none() => {
            Ok(Completion::ignored_with(format!("SKIPPED: {error}")))
        }
        Err(error) => {
            failures().push(format!("{name}: {error:#}"));
            Err(format!("{error:#}").into())
        }
    }
}
