//! Faults by machine: the main jobs run while links are cut, stalled, slowed and changed at any byte, and while processes are
//! killed and stopped. After each fault the promises of the README and of the page about limits hold:
//!
//! - the tool has ended within three seconds, or within the times that were asked for;
//! - the host beside the fault has done its work whole;
//! - a host counts as done only if it has done all, and all of its output has arrived;
//! - each received file is the old one or the new one;
//! - no process and no file is left after three seconds.
//!
//! An [interposer] is in the place of ssh, so nothing here needs a host or root. Two thirds of the faults are cuts, at places
//! that are evenly spread over every byte of the dialogue and of the frames; if there are enough of them, at each of these
//! bytes. The others are of any kind, at random places.
//!
//! `OFS_ROUNDS` is the number of faults, `OFS_SEED` chooses the random numbers, `OFS_THREADS` says how many runs there are at
//! once, and `OFS_FAULT` repeats one fault.

mod fault;
pub(crate) mod interposer;
mod job;
mod stream;
mod trial;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use anyhow::{Result, anyhow, ensure};

use crate::Level;
use crate::random::{Random, rounds};

use fault::{Direction, Fault, Image, Injection, Scene};
use job::Job;
use stream::Streams;
use trial::Outcome;

/// A part of the name of the trial.
pub(crate) const MANY: &str = " faults of links";
/// The number of faults, if time is short and otherwise.
const FEW: u32 = 16;
const USUAL: u32 = 32;
/// How many runs there are at once. They mostly wait.
const THREADS: usize = 4;
/// The trial ends with this many failures.
const ENOUGH: usize = 10;

/// So many failures may be those of a busy machine.
const FEW_FAILURES: usize = 3;

/// Faults that have broken a promise once.
const FOUND: [&str; 1] = ["run,link,there,web1,up,321,stall-both"];

/// By how many bytes streams of one scene differ, apart from a part of their length.
const SPREAD: u64 = 64;

/// The scenes that are cut at each byte.
const CUT: [Scene; 4] = [
    Scene { job: Job::Run, has_hop: false, image: Image::Sent },
    Scene { job: Job::Run, has_hop: true, image: Image::There },
    Scene { job: Job::Push, has_hop: false, image: Image::There },
    Scene { job: Job::Pull, has_hop: false, image: Image::There },
];

pub(crate) fn name(level: Level) -> String {
    format!("cli: {}{MANY} and processes break no promise (alone)", count(level))
}

fn count(level: Level) -> u32 {
    rounds(if level == Level::Check { FEW } else { USUAL })
}

/// As the name of the trial says.
pub(crate) fn no_promise_is_broken(level: Level) -> Result<()> {
    if let Ok(injection) = std::env::var("OFS_FAULT") {
        let injection: Injection = injection.parse()?;
        let start = Instant::now();
        let outcome = trial::inject(&injection)?;
        eprintln!("fault {injection}: {outcome:?} after {:?}", start.elapsed());
        return Ok(());
    }
    let (mut random, seed) = Random::new("faults");
    let count = count(level) as usize;
    let start = Instant::now();
    let all = All::default();
    let mut tasks = all.cuts(count * 2 / 3, &mut random)?;
    for found in FOUND {
        tasks.push(Task { injection: found.parse()?, place: None });
    }
    while tasks.len() < count {
        let injection = Injection::random(&mut random);
        tasks.push(Task { injection, place: Some(random.clone()) });
    }
    // Neighbours need the same, and the longest wait should not come last.
    for last in (1..tasks.len()).rev() {
        tasks.swap(last, random.below(last as u64 + 1) as usize);
    }
    let threads = std::env::var("OFS_THREADS").ok().and_then(|threads| threads.parse().ok()).unwrap_or(THREADS);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !all.has_enough()
                    && let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    all.run(task);
                }
            });
        }
    });
    all.report(&seed, start)
}

/// A fault that is to be tried.
struct Task {
    injection: Injection,
    /// Chooses its place.
    place: Option<Random>,
}

/// What the links of a scene carry if nothing disturbs them, once it is known.
type Measured = Arc<OnceLock<Result<Streams, String>>>;

/// What is known of the scenes, and what has come of the faults.
#[derive(Default)]
struct All {
    measured: Mutex<BTreeMap<Scene, Measured>>,
    outcomes: Mutex<BTreeMap<(&'static str, Outcome), u32>>,
    failures: Mutex<Vec<(Injection, String)>>,
}

impl All {
    /// What the links of a scene carry. It is measured once.
    fn streams(&self, scene: Scene) -> Result<Streams> {
        let cell = Arc::clone(lock(&self.measured).entry(scene).or_default());
        let streams = cell.get_or_init(|| trial::measure(scene).map_err(|error| format!("{error:#}")));
        streams.clone().map_err(|error| anyhow!("{scene} without a fault: {error}"))
    }

    /// Cuts at so many places.
    fn cuts(&self, count: usize, random: &mut Random) -> Result<Vec<Task>> {
        let mut places = Vec::new();
        for scene in CUT {
            let streams = self.streams(scene)?;
            for (link, direction, stream) in streams.all() {
                eprintln!(
                    "faults: {scene}, {link} {}: {} bytes, {} of them before the frames, {} places",
                    direction.name(),
                    stream.length,
                    stream.dialogue,
                    stream.places.len()
                );
                let cut = |at: &u64| Injection { scene, link, direction, at: *at, fault: Fault::Cut };
                places.extend(stream.places.iter().map(cut));
            }
        }
        let count = count.min(places.len());
        let first = random.below(places.len() as u64) as usize;
        let spread = (0..count).map(|nth| (first + nth * places.len() / count) % places.len());
        Ok(spread.map(|place| Task { injection: places[place], place: None }).collect())
    }

    /// Tries a fault. With `random`, that chooses its place.
    fn try_one(&self, injection: &mut Injection, random: Option<&Random>) -> Result<Outcome> {
        let streams = self.streams(injection.scene)?;
        let stream = streams.of(injection.link, injection.direction)?;
        if let Some(random) = random {
            injection.at = stream.random(&mut random.clone());
        }
        let outcome = trial::inject(injection)?;
        let is_ok = outcome == Outcome::Struck(Some("ok".into()));
        let is_short =
            injection.direction == Direction::Up && injection.at + SPREAD + stream.length / 20 < stream.needed;
        ensure!(
            !(is_ok && is_short && injection.fault == Fault::Cut),
            "the host is ok, and its link was cut before its last word, which ends at about byte {}",
            stream.needed
        );
        Ok(outcome)
    }

    fn run(&self, task: &Task) {
        let mut injection = task.injection;
        match self.try_one(&mut injection, task.place.as_ref()) {
            Ok(outcome) => *lock(&self.outcomes).entry((injection.fault.kind(), outcome)).or_default() += 1,
            Err(error) => {
                eprintln!("faults: OFS_FAULT={injection} {AGAIN}\n  {error:#}");
                // The rest is what the tool has said.
                let error = format!("{error:#}");
                let error = error.lines().next().unwrap_or_default();
                lock(&self.failures).push((injection, error.to_owned()));
            }
        }
    }

    fn has_enough(&self) -> bool {
        lock(&self.failures).len() >= ENOUGH
    }

    /// The failures. If there are few, each of them is tried once more with nothing beside it, as trials are.
    fn broken(&self) -> Vec<String> {
        let failures = std::mem::take(&mut *lock(&self.failures));
        let are_few = failures.len() <= FEW_FAILURES;
        let mut broken = Vec::new();
        for (mut injection, error) in failures {
            let name = format!("OFS_FAULT={injection}: {error}");
            match are_few.then(|| self.try_one(&mut injection, None)) {
                Some(Ok(_)) => eprintln!("faults: FAILED BESIDE OTHERS: {name}"),
                Some(Err(again)) => broken.push(format!("{name}; and alone: {again:#}")),
                None => broken.push(name),
            }
        }
        broken
    }

    fn report(&self, seed: &str, start: Instant) -> Result<()> {
        let failures = self.broken();
        let outcomes = lock(&self.outcomes);
        for ((kind, outcome), count) in outcomes.iter() {
            eprintln!("faults: {count} x {kind}: {outcome}");
        }
        let all = outcomes.values().sum::<u32>();
        let missed: u32 = outcomes
            .iter()
            .filter(|((_, outcome), _)| !matches!(outcome, Outcome::Struck(_)))
            .map(|(_, count)| count)
            .sum();
        eprintln!(
            "faults ({seed}): {} broke a promise, {} broke none, {missed} did not strike, in {:?}",
            failures.len(),
            all - missed,
            start.elapsed()
        );
        ensure!(
            failures.is_empty(),
            "{seed}: {} faults have broken a promise; repeat one by OFS_FAULT=.. {AGAIN}\n{}",
            failures.len(),
            failures.join("\n")
        );
        Ok(())
    }
}

/// How a fault is repeated.
const AGAIN: &str = "cargo test --features files --test hosts -- ' faults of links'";

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
