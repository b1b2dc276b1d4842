//! Measures the size of images at different optimisation levels, and how fast they answer calls.
//! Makes the table in docs/reference/performance.md.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{compile, image, target_directory};

/// How often each variant is measured, in turns.
const ROUNDS: usize = 9;

/// Name, opt-level, LLVM's limit for inlining if it is not the default, and whether tokio is at
/// opt-level 3.
const VARIANTS: [(&str, &str, Option<u32>, bool); 6] = [
    ("s", "\"s\"", None, false),
    ("s, tokio and bytes at 3", "\"s\"", None, true),
    ("2", "2", None, false),
    ("3, inlining to 25", "3", Some(25), false),
    ("3, inlining to 50", "3", Some(50), false),
    ("3", "3", None, false),
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
    for (name, opt_level, inline, tokio) in VARIANTS {
        let (image, calls) = build(opt_level, inline, tokio).with_context(|| format!("variant {name}"))?;
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

/// Returns the size of the packed image in bytes, and the program that measures.
fn build(opt_level: &str, inline: Option<u32>, tokio: bool) -> Result<(usize, PathBuf)> {
    let (target, directory) = (compile::host(), target_directory().join("curve"));
    let mut args = vec!["--quiet".to_owned(), "--profile".into(), "image".into(), "--no-default-features".into()];
    args.extend(["--target-dir".into(), directory.display().to_string()]);
    args.extend(["--config".into(), format!("profile.image.opt-level={opt_level}")]);
    if tokio {
        for package in ["tokio", "bytes"] {
            args.extend(["--config".into(), format!("profile.image.package.{package}.opt-level=3")]);
        }
    }
    let flags: Vec<_> = inline.map(|inline| format!("-Cllvm-args=-inline-threshold={inline}")).into_iter().collect();
    for what in [["--bin", "offshoot"], ["--bench", "calls"]] {
        compile::with_flags("build", target, &[&args[..], &what.map(str::to_owned)].concat(), &flags)?;
    }
    let place = directory.join(target).join("image");
    let newest = fs::read_dir(place.join("deps"))?.filter_map(Result::ok).filter(|entry| {
        entry.file_name().to_string_lossy().starts_with("calls-") && entry.path().extension().is_none()
    });
    let newest = newest.max_by_key(|entry| entry.metadata().and_then(|data| data.modified()).ok());
    let kept = directory.join(format!("calls-{}-{inline:?}-{tokio}", opt_level.trim_matches('"')));
    fs::copy(newest.context("cargo has built no calls")?.path(), &kept)?;
    Ok((image::pack(&fs::read(place.join("offshoot"))?)?.len(), kept))
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
