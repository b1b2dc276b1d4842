//! Runs libFuzzer over the functions of `src/fuzzing.rs`.
//!
//! It takes no nightly rustc: stable rustc can build what libFuzzer needs to see which code an input reaches. It takes a
//! C++ compiler, because libFuzzer comes as sources.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::toolchain::{Toolchain, check, on_path};
use super::{target_directory, top};

/// What makes LLVM count which code an input has reached, and what it was compared with.
const COVERAGE: [&str; 5] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];
/// The longest input, in bytes, which is also the largest file of a corpus.
const LONGEST: u64 = 4096;
/// The most that the corpus of one target has in the repository, in bytes.
const CORPUS: u64 = 12 * 1024;
/// The most files of it that the fuzzer has found.
const FILES: usize = 40;
/// The most memory that the fuzzer may take, in MiB, and the most seconds for one input.
const MEMORY: u32 = 2048;
const SLOWEST: u32 = 60;

/// Runs each target, or those that are named, for some seconds.
///
/// # Errors
///
/// If an input was found that breaks something.
#[expect(clippy::print_stdout, reason = "it is what the command is for")]
pub(super) fn fuzz(args: &[String]) -> Result<()> {
    let (seconds, targets) = match args.split_first() {
        Some((first, targets)) if first.bytes().all(|byte| byte.is_ascii_digit()) => (first.as_str(), targets),
        _ => ("60", args),
    };
    let Some(fuzzer) = Fuzzer::build()? else { return Ok(()) };
    let mut found = Vec::new();
    for target in fuzzer.chosen(targets)? {
        let executions = fuzzer.run(&target, seconds, &mut found)?;
        println!("fuzz: {target}: {executions} inputs in {seconds} s");
    }
    ensure!(
        found.is_empty(),
        "{} inputs break what must hold; mend the code and put each into fuzz/corpora:\n{}",
        found.len(),
        found.join("\n")
    );
    Ok(())
}

/// Takes what the fuzzers have found into the corpora of the repository: of all inputs the smallest that reach the same code,
/// up to a limit.
#[expect(clippy::print_stdout, reason = "it is what the command is for")]
pub(super) fn corpora(targets: &[String]) -> Result<()> {
    let Some(fuzzer) = Fuzzer::build()? else { return Ok(()) };
    for target in fuzzer.chosen(targets)? {
        let kept = fuzzer.minimise(&target)?;
        println!("fuzz: {target}: {} files, {} bytes", kept.len(), kept.values().map(Vec::len).sum::<usize>());
    }
    Ok(())
}

/// The program with all targets.
struct Fuzzer {
    program: PathBuf,
    targets: Vec<String>,
    /// What the fuzzers find on the way, and what they say.
    place: PathBuf,
}

impl Fuzzer {
    /// Builds the fuzzer. `None` if this machine cannot.
    #[expect(clippy::print_stderr, reason = "nobody should take a skipped run for a clean one")]
    fn build() -> Result<Option<Self>> {
        let (toolchain, place) = (Toolchain::of_this_machine()?, target_directory().join("fuzz"));
        let lacks = if !toolchain.host.contains("linux-gnu") {
            Some("libFuzzer is built for Linux with glibc here")
        } else if ["c++", "g++", "clang++"].iter().all(|name| on_path(name).is_none()) {
            Some("libFuzzer needs a C++ compiler; install g++")
        } else {
            None
        };
        if let Some(why) = lacks {
            eprintln!("fuzz: SKIPPED, nothing is fuzzed: {why}");
            return Ok(None);
        }
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--locked", "--release", "--manifest-path", "fuzz/Cargo.toml"]);
        cargo.args(["--target", &toolchain.host, "--target-dir"]).arg(&place);
        check(cargo.env("RUSTFLAGS", COVERAGE.join(" ")))?;
        let program = place.join(&toolchain.host).join("release/fuzz");
        let said = Command::new(&program).output().context("the fuzzer cannot be run")?.stdout;
        let targets = String::from_utf8(said)?.lines().map(str::to_owned).collect();
        let fuzzer = Self { program, targets, place };
        fs::create_dir_all(fuzzer.finds())?;
        Ok(Some(fuzzer))
    }

    /// The targets that are named, or all.
    fn chosen(&self, named: &[String]) -> Result<Vec<String>> {
        if let Some(unknown) = named.iter().find(|name| !self.targets.contains(name)) {
            bail!("there is no target {unknown}; there are {}", self.targets.join(", "));
        }
        Ok(if named.is_empty() { self.targets.clone() } else { named.to_vec() })
    }

    /// The corpus of a target in the repository, and the one that grows on this machine.
    fn corpora(&self, target: &str) -> Result<[PathBuf; 2]> {
        let corpora = [top().join("fuzz/corpora").join(target), self.place.join("corpora").join(target)];
        corpora.iter().try_for_each(fs::create_dir_all)?;
        Ok(corpora)
    }

    /// Where inputs are put that break something.
    fn finds(&self) -> PathBuf {
        self.place.join("found")
    }

    fn command(&self, target: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.env("OFS_TARGET", target).arg(format!("-max_len={LONGEST}"));
        command.arg(format!("-rss_limit_mb={MEMORY}")).arg(format!("-timeout={SLOWEST}"));
        command.arg(format!("-artifact_prefix={}/{target}-", self.finds().display()));
        command
    }

    /// Runs a target and returns the number of inputs. Adds to `found` what has ended it.
    fn run(&self, target: &str, seconds: &str, found: &mut Vec<String>) -> Result<u64> {
        let [kept, growing] = self.corpora(target)?;
        let log = self.place.join(format!("{target}.log"));
        let mut command = self.command(target);
        command.arg(format!("-max_total_time={seconds}")).arg("-print_final_stats=1");
        command.arg(&growing).arg(&kept);
        let status = command.stdout(File::create(&log)?).stderr(File::options().append(true).open(&log)?).status()?;
        let said = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
        let number = |mark: &str| said.lines().rev().find_map(|line| line.strip_prefix(mark)?.trim().parse().ok());
        if !status.success() {
            let path =
                said.lines().rev().find_map(|line| line.split_once("Test unit written to ").map(|(_, path)| path));
            found.push(format!("{target}: {} (see {})", path.unwrap_or("no file"), log.display()));
        }
        Ok(number("stat::number_of_executed_units:").unwrap_or_default())
    }

    /// Replaces the corpus of a target in the repository. Files whose names say what they are stay.
    fn minimise(&self, target: &str) -> Result<BTreeMap<String, Vec<u8>>> {
        let [kept, growing] = self.corpora(target)?;
        let merged = self.place.join("merged").join(target);
        let _ = fs::remove_dir_all(&merged);
        fs::create_dir_all(&merged)?;
        let mut command = self.command(target);
        command.args(["-merge=1", "-verbosity=0"]).args([&merged, &kept, &growing]);
        let log = self.place.join(format!("{target}.merge.log"));
        command.stdout(File::create(&log)?).stderr(File::options().append(true).open(&log)?);
        check(&mut command)?;
        let (named, found): (Vec<_>, Vec<_>) = files(&kept)?.into_iter().partition(|(name, _)| !is_found(name));
        found.iter().try_for_each(|(name, _)| fs::remove_file(kept.join(name)))?;
        let mut room = CORPUS.saturating_sub(named.iter().map(|(_, content)| content.len() as u64).sum());
        let mut all: BTreeMap<_, _> = named.into_iter().collect();
        let mut merged: Vec<_> = files(&merged)?.into_iter().filter(|(name, _)| is_found(name)).collect();
        merged.sort_by_key(|(name, content)| (content.len(), name.clone()));
        // Those that are left out are like their neighbours.
        let step = merged.len().div_ceil(FILES).max(1);
        for (name, content) in merged.into_iter().step_by(step) {
            let size = content.len() as u64;
            if size <= room && !all.values().any(|other| *other == content) {
                fs::write(kept.join(&name), &content)?;
                room -= size;
                all.insert(name, content);
            }
        }
        Ok(all)
    }
}

/// Whether libFuzzer has named a file, by the SHA-1 of its content.
fn is_found(name: &str) -> bool {
    name.len() == 40 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn files(directory: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        files.push((entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?));
    }
    Ok(files)
}
