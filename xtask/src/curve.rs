//! Measures the size of images at different optimisation levels, and how fast they answer calls.
//! Makes the table in docs/reference/performance.md.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{compile, image, target_directory};

/// How often each variant is measured, in turns.
const ROUNDS: usize = 9;

/// A name, the opt-level, flags for rustc, and whether tokio is at opt-level 3.
type Variant = (&'static str, &'static str, &'static [&'static str], bool);

const VARIANTS: [Variant; 6] = [
    ("s", "\"s\"", &[], false),
    ("s, tokio and bytes at 3", "\"s\"", &[], true),
    ("3 with `SMALLER`, as shipped", "3", &compile::SMALLER, false),
    ("3, inlining up to 50", "3", &["-Cllvm-args=-inline-threshold=50"], false),
    ("2", "2", &[], false),
    ("3", "3", &[], false),
];

/// Builds all variants for this machine, measures them in turns on one core, and prints a table.
/// The first column has the bytes of the image by zstd -19. Rates are relative to the first
/// variant, or to `base`, which is `calls` of another build.
#[expect(clippy::print_stdout, reason = "it is what the command is for")]
pub(super) fn curve(base: Option<&str>) -> Result<()> {
    let mut contenders = Vec::new();
    if let Some(base) = base {
        contenders.push(("base".to_owned(), PathBuf::from(base), None));
    }
    for (number, variant) in VARIANTS.iter().enumerate() {
        let name = variant.0;
        let (image, calls) = build(number, variant).with_context(|| format!("variant {name}"))?;
        contenders.push((name.to_owned(), calls, Some(image)));
    }
    let mut rates = vec![Vec::new(); contenders.len()];
    for _ in 0..ROUNDS {
        for ((_, calls, _), rates) in contenders.iter().zip(&mut rates) {
            rates.push(rate(calls)?);
        }
    }
    let medians: Vec<f64> = rates.iter_mut().map(|rates| median(rates)).collect();
    println!("| opt-level | zstd -19 | calls/s |\n|---|---|---|");
    for ((name, _, size), median) in contenders.iter().zip(&medians) {
        let size = size.map_or_else(String::new, |size| format!("{:.0} KiB", size as f64 / 1024.0));
        println!("| {name} | {size} | {:.2} |", median / medians[0]);
    }
    Ok(())
}

/// Bytes of the packed image, and the program that measures.
fn build(number: usize, &(_, opt_level, flags, tokio): &Variant) -> Result<(usize, PathBuf)> {
    let (target, directory) = (compile::host(), target_directory().join("curve"));
    let mut args = vec!["--quiet".to_owned(), "--profile".into(), "image".into(), "--no-default-features".into()];
    args.extend(["--target-dir".into(), directory.display().to_string()]);
    args.extend(["--config".into(), format!("profile.image.opt-level={opt_level}")]);
    if tokio {
        for package in ["tokio", "bytes"] {
            args.extend(["--config".into(), format!("profile.image.package.{package}.opt-level=3")]);
        }
    }
    let flags: Vec<_> = flags.iter().map(|&flag| flag.to_owned()).collect();
    let build = |what: [&str; 2]| {
        compile::with_flags("build", &[target], &[&args[..], &what.map(str::to_owned)].concat(), &flags)
    };
    let place = directory.join(target).join("image");
    build(["--bin", "offshoot"])?;
    // Before the benchmark: with it cargo builds the program again, with more features of the crates that tests use too.
    let size = image::pack(&fs::read(place.join("offshoot"))?)?.len();
    build(["--bench", "calls"])?;
    let newest = fs::read_dir(place.join("deps"))?.filter_map(Result::ok).filter(|entry| {
        entry.file_name().to_string_lossy().starts_with("calls-") && entry.path().extension().is_none()
    });
    let newest = newest.max_by_key(|entry| entry.metadata().and_then(|data| data.modified()).ok());
    let kept = directory.join(format!("calls-{number}"));
    fs::copy(newest.context("cargo has built no calls")?.path(), &kept)?;
    Ok((size, kept))
}

fn rate(calls: &PathBuf) -> Result<f64> {
    let output = Command::new("taskset").args(["-c", "0"]).arg(calls).arg("pipelined").output()?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(output.status.success(), "{} failed", calls.display());
    text.split_whitespace().nth(1).and_then(|rate| rate.parse().ok()).context("no rate was printed")
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
