//! Runs every target over the files of its corpus, and over mutations of them. This needs no fuzzer.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use fastrand::Rng;

use super::{TARGETS, Target};
use crate::cli::hosts::expression::tests::processor_time;
use crate::sys::counted::memory_of;

/// Largest file of a corpus, and all corpora together, in bytes.
const MAX_FILE: usize = 4096;
const MAX_ALL: usize = 200 * 1024;
/// The most memory that one input may take, in bytes.
const MAX_MEMORY: usize = 32 << 20;
/// The most processor time that one input may take in a debug build.
const MAX_TIME: Duration = Duration::from_secs(1);
/// How many mutations of each corpus are tried. Those of routers take longer.
const MUTATIONS: usize = 300;
const OF_ROUTERS: usize = 30;

/// The files of each corpus by their names.
fn corpora() -> BTreeMap<String, BTreeMap<String, Vec<u8>>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpora");
    let entries = |path: &Path| {
        let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
        entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.path())).collect::<BTreeMap<_, _>>()
    };
    let files = |path: &Path| entries(path).into_iter().map(|(name, path)| (name, fs::read(path).unwrap())).collect();
    entries(&root).into_iter().map(|(name, path)| (name, files(&path))).collect()
}

/// Runs a target. If it fails, the input is shown.
fn try_one(target: &Target, from: &str, input: &[u8]) {
    let Target { name, run } = target;
    let mut memory = 0;
    let time = processor_time();
    let outcome = catch_unwind(AssertUnwindSafe(|| memory = memory_of(|| run(input))));
    let time = processor_time() - time;
    let shown = || format!("{name}, {from}: \"{}\"", input.escape_ascii());
    assert!(outcome.is_ok(), "{}", shown());
    assert!(memory <= MAX_MEMORY, "{memory} bytes of memory for {}", shown());
    assert!(time <= MAX_TIME, "{time:?} for {}", shown());
}

/// Changes some bytes of `input`, or takes some of `other`.
fn mutated(input: &[u8], other: &[u8], random: &mut Rng) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..random.usize(1..5) {
        let at = random.usize(0..=bytes.len());
        let end = random.usize(at..=bytes.len().min(at + 16));
        match random.u8(0..7) {
            0 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << random.u8(0..8)),
            1 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = random.u8(..)),
            2 => bytes.insert(at, random.u8(..)),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            5 => bytes.truncate(at),
            _ => {
                let from = random.usize(0..=other.len());
                let piece = &other[from..other.len().min(from + 32)];
                bytes.splice(at..end, piece.iter().copied());
            }
        }
    }
    bytes.truncate(MAX_FILE);
    bytes
}

#[test]
fn every_target_has_a_small_corpus() {
    let corpora = corpora();
    let names: BTreeSet<&str> = corpora.keys().map(String::as_str).collect();
    assert_eq!(names, TARGETS.iter().map(|target| target.name).collect());
    let sizes = || corpora.values().flat_map(BTreeMap::values).map(Vec::len);
    assert!(corpora.values().all(|files| !files.is_empty()));
    assert!(sizes().all(|size| size <= MAX_FILE), "{:?}", sizes().max());
    assert!(sizes().sum::<usize>() <= MAX_ALL, "{} bytes", sizes().sum::<usize>());
}

#[test]
fn what_the_fuzzers_have_found_is_taken_as_it_must_be() {
    let corpora = corpora();
    for target in TARGETS {
        corpora[target.name].iter().for_each(|(name, input)| try_one(target, name, input));
        try_one(target, "nothing", b"");
    }
}

#[test]
fn what_chance_has_changed_is_taken_as_it_must_be() {
    let (corpora, mut random) = (corpora(), Rng::with_seed(7));
    for target in TARGETS {
        let files: Vec<(&String, &Vec<u8>)> = corpora[target.name].iter().collect();
        let count = if target.name == "routers" { OF_ROUTERS } else { MUTATIONS };
        for _ in 0..count {
            let ((name, input), (_, other)) = (files[random.usize(..files.len())], files[random.usize(..files.len())]);
            let input = mutated(input, other, &mut random);
            try_one(target, &format!("a mutation of {name}"), &input);
        }
    }
}
