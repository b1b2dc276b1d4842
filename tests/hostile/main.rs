//! Attacks by a hostile child or hop, beside three honest hosts in the same run.
//!
//! This binary is its own fake ssh: the tool finds it under that name, and it plays the far side, up to the frames. The table in
//! [`attack`] has one row per attack, with the bounds that hold whatever is sent: all lines of the honest hosts arrive, the
//! controller takes little memory and time, and the error of the hostile host says what has happened.
//!
//! `OFS_ROUNDS` repeats what is sent that many times, and prints what each attack has taken. `OFS_SEED` chooses the random
//! numbers; a trial that fails prints it.

#![expect(clippy::print_stdout, reason = "a program prints")]
#![expect(clippy::unwrap_used, reason = "a test that fails panics")]
#![expect(clippy::cast_possible_truncation, reason = "numbers on the wire are cut to their fields")]

mod attack;
mod attacks;
mod copies;
mod coverage;
mod deputy;
mod far_side;
#[path = "../support/frame.rs"]
mod frame;
mod kinds;
mod measure;
#[path = "../hosts/random.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod random;
#[path = "../support/sources.rs"]
mod sources;
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod support;
mod terminal;
mod trial;
mod wire;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use attack::Attack;
use libtest_mimic::{Arguments, Trial};

/// A trial that is no row of the table.
type Check = fn() -> Result<()>;

/// How many trials run side by side, unless an argument says otherwise.
const THREADS: usize = 4;

fn main() -> ExitCode {
    let name = std::env::args_os().next().unwrap_or_default();
    if Path::new(&name).file_name().is_some_and(|name| name == "ssh")
        && let Some(place) = std::env::var_os(far_side::PLACE)
    {
        let args: Vec<String> = std::env::args().skip(1).collect();
        // What an attacker fails at, it was refused.
        let attacks: Vec<Attack> =
            attack::all().into_iter().chain([terminal::ATTACK, deputy::ATTACK, copies::ATTACK]).collect();
        let _ = far_side::main(Path::new(&place), &args, &attacks);
        return ExitCode::FAILURE;
    }
    offshoot::child();
    support::catch_again();
    if std::env::args().nth(1).as_deref() == Some(deputy::ARGUMENT) {
        return deputy::main();
    }
    let is_long = std::env::var_os("OFS_ROUNDS").is_some();
    let trials = attack::all().into_iter().map(|attack| {
        Trial::test(attack.name, move || {
            let (_, seed) = random::Random::new("");
            let figures = trial::run(&attack).map_err(|error| format!("{seed}: {error:#}"))?;
            if is_long {
                let trial::Figures { memory, cpu, elapsed } = figures;
                println!("{}: {memory} MiB, {cpu:.1?} of processor time, {elapsed:.1?}", attack.name);
            }
            Ok(())
        })
    });
    let others: [(&str, Check); 5] = [
        ("files that a hostile host has led nowhere, and it is bounded what they take", copies::lead_nowhere),
        ("a Sender from a hostile context lends it nobody's authority", deputy::lends_no_authority),
        ("what a hostile context says cannot drive a terminal, in any form of output", terminal::shows_nothing_raw),
        ("every kind of message has an attack", coverage::is_complete),
        ("the page about trust has every attack and its bounds", coverage::is_on_page),
    ];
    let others =
        others.map(|(name, trial)| Trial::test(name, move || Ok(trial().map_err(|error| format!("{error:#}"))?)));
    let mut arguments = Arguments::from_args();
    // They wait more than they compute.
    arguments.test_threads = arguments.test_threads.or(Some(THREADS));
    libtest_mimic::run(&arguments, trials.chain(others).collect()).exit_code()
}
