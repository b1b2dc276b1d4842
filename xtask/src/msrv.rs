//! Whether the oldest toolchain that Cargo.toml allows takes all of it.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use super::{check, target_directory, top};

/// Checks everything with that toolchain, for the target that comes with each. rustup has to have it: nothing is
/// downloaded here.
#[expect(clippy::print_stdout, reason = "it is what the command is for")]
pub(super) fn msrv() -> Result<()> {
    let manifest = fs::read_to_string(top().join("Cargo.toml")).context("Cargo.toml")?;
    let version = manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).context("no rust-version")?;
    let version = version.trim_matches('"');
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut cargo = Command::new("rustup");
    cargo.args(["run", version, "cargo", "check", "--quiet", "--locked", "--workspace", "--all-targets"]);
    cargo.args(["--target", &target]).env("CARGO_TARGET_DIR", target_directory().join("msrv"));
    // What cargo has set for the toolchain that runs this.
    for name in ["RUSTC", "RUSTDOC", "CARGO", "RUSTUP_TOOLCHAIN"] {
        cargo.env_remove(name);
    }
    check(&mut cargo)
        .with_context(|| format!("run `rustup toolchain install {version} --profile minimal`, if it is missing"))?;
    println!("Rust {version} takes all of it");
    Ok(())
}
