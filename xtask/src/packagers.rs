//! Programs of cargo that packages are made with. They are built from crates.io, below `target/packagers`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{check, top};

const VERSIONS: [(&str, &str); 2] = [("deb", "3.8.0"), ("cyclonedx", "0.5.9")];

/// A command for `cargo-NAME`, which is built if it is missing.
pub(super) fn cargo(name: &str) -> Result<Command> {
    let Some((_, version)) = VERSIONS.iter().find(|(known, _)| *known == name) else {
        bail!("cargo-{name} is unknown")
    };
    let root = top().join("target/packagers");
    let krate = format!("cargo-{name}@{version}");
    // It does nothing if this version is there.
    let mut install = Command::new(env!("CARGO"));
    install.args(["install", "--quiet", "--locked", "--debug", "--root"]).arg(&root).arg(&krate);
    check(install.current_dir("/")).with_context(|| format!("{krate} makes the packages, and cannot be built"))?;
    Ok(Command::new(root.join("bin").join(format!("cargo-{name}"))))
}

/// Packs the sources as they are published, below `directory`. Returns the package of this version.
pub(super) fn package(directory: &Path, version: &str) -> Result<PathBuf> {
    let mut package = Command::new(env!("CARGO"));
    package.args(["package", "--quiet", "--locked", "--no-verify", "--allow-dirty", "--package", "offshoot"]);
    check(package.arg("--target-dir").arg(directory))?;
    Ok(directory.join("package").join(format!("offshoot-{version}.crate")))
}

/// The version of the package.
pub(super) fn version() -> Result<String> {
    let manifest = fs::read_to_string(top().join("Cargo.toml"))?;
    let line = manifest.lines().find_map(|line| line.strip_prefix("version = "));
    Ok(line.context("Cargo.toml has no version")?.trim_matches('"').to_owned())
}
