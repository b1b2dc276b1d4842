//! Whole programs on real ssh hosts, which `scripts/hosts up` has started on this machine.
//!
//! This binary is its own child, so it ships itself to the hosts. It also starts itself as a controller, to be
//! run by an ordinary user or to be killed, and as a line that damages what goes through it; see [`helper`].
//! Each trial finds what it has left behind by a [`Trace`](support::trace::Trace), so trials run side by side.

#[path = "../cli/mod.rs"]
mod cli;
#[path = "../first_stage/mod.rs"]
mod first_stage;
#[path = "../support/mod.rs"]
mod support;

mod controller;
mod failing;
mod fleet;
mod functions;
mod giving_up;
mod helper;
mod killing;
mod launcher;
mod random;
mod running;
mod upload;
mod via;
mod visit;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use fleet::{Fleet, Missing};

fn main() -> ExitCode {
    offshoot::child();
    if let Some(exit) = helper::main() {
        return exit;
    }
    if let Some(exit) = fleet::as_root() {
        return exit;
    }
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for (name, trial) in first_stage::trials() {
        trials.push(Trial::test(format!("first stage: {name}"), move || trial().map_err(Failed::from)));
    }
    for (name, trial) in cli::trials() {
        trials.push(Trial::test(format!("cli: {name}"), move || trial().map_err(|error| format!("{error:#}").into())));
    }
    let fleet = Fleet::find();
    let on_hosts = [
        visit::trials(),
        via::trials(),
        failing::trials(),
        giving_up::trials(),
        upload::trials(),
        running::trials(),
        killing::trials(),
    ];
    for (name, trial) in on_hosts.into_iter().flatten() {
        let fleet = fleet.clone();
        trials.push(Trial::ignorable_test(name, move || run(fleet, &trial)));
    }
    // Before anything runs at the same time.
    let _kit = match launcher::prepare() {
        Ok(kit) => kit,
        Err(error) => {
            eprintln!("hosts: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// What a trial does with the hosts.
type OnHosts = (String, Box<dyn Fn(&Fleet) -> anyhow::Result<()> + Send>);

/// Runs a trial, or says why it cannot be run, which is a failure where `CI` is set.
fn run(fleet: Result<Fleet, Missing>, trial: &dyn Fn(&Fleet) -> anyhow::Result<()>) -> Result<Completion, Failed> {
    let outcome = fleet.map_err(anyhow::Error::new).and_then(|fleet| trial(&fleet));
    match outcome {
        Ok(()) => Ok(Completion::Completed),
        Err(error) if error.is::<Missing>() && std::env::var_os("CI").is_none() => {
            Ok(Completion::ignored_with(format!("SKIPPED: {error}")))
        }
        Err(error) => Err(format!("{error:#}").into()),
    }
}
