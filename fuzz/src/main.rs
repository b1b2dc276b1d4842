//! One fuzzer for all targets. `OFS_TARGET` names the target; without it, the names are printed.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use offshoot::fuzzing::TARGETS;

static RUN: OnceLock<fn(&[u8])> = OnceLock::new();

/// Finds the target before the first input.
fn choose() {
    let name = std::env::var("OFS_TARGET").unwrap_or_default();
    match TARGETS.iter().find(|target| target.name == name) {
        Some(target) => drop(RUN.set(target.run)),
        None => {
            TARGETS.iter().for_each(|target| println!("{}", target.name));
            std::process::exit(i32::from(!name.is_empty()));
        }
    }
}

fuzz_target!(init: choose(), |input: &[u8]| {
    if let Some(run) = RUN.get() {
        run(input);
    }
});
