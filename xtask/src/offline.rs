//! What a packager does who builds from the published package without a network.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{check, compile, packagers};

/// Packs the package as it is published, takes the sources of its dependencies with it, and builds it in a network
/// namespace that has no network, with a home of cargo that is empty. What is built reaches a child.
#[expect(clippy::print_stdout, reason = "it is what the command is for")]
pub(super) fn offline() -> Result<()> {
    // Not in the checkout, whose workspace it would be part of.
    let place = std::env::temp_dir().join(format!("offshoot-offline-{}", std::process::id()));
    let result = build(&place);
    // The result counts, whether the place can be removed or not.
    let _ = fs::remove_dir_all(&place);
    result?;
    println!("built from the published package without a network");
    Ok(())
}

fn build(place: &Path) -> Result<()> {
    let home = place.join("home");
    fs::create_dir_all(&home)?;
    let version = packagers::version()?;
    let package = packagers::package(place, &version)?;
    check(Command::new("tar").arg("-xf").arg(package).arg("-C").arg(place))?;
    let sources = place.join(format!("offshoot-{version}"));
    let mut vendor = Command::new(env!("CARGO"));
    let vendor = vendor.args(["vendor", "--locked", "vendor"]).current_dir(&sources).output()?;
    ensure!(vendor.status.success(), "cargo vendor: {}", String::from_utf8_lossy(&vendor.stderr));
    // It prints what the configuration of cargo needs.
    OpenOptions::new().append(true).open(sources.join(".cargo/config.toml"))?.write_all(&vendor.stdout)?;
    let alone = |program: &str| {
        let mut unshare = Command::new("unshare");
        // Who is not root becomes root in a namespace of users.
        unshare.args(if is_root() { &["--net"][..] } else { &["--net", "--map-root-user"] }).arg(program);
        unshare.current_dir(&sources).env("CARGO_HOME", &home).env_remove("CARGO_TARGET_DIR");
        unshare
    };
    let mut cargo = alone(env!("CARGO"));
    cargo.args(["build", "--quiet", "--locked", "--offline", "--bin", "offshoot"]);
    check(cargo.args(["--no-default-features", "--features", "cli", "--config", "profile.dev.opt-level=0"]))?;
    let tool = sources.join("target").join(compile::host()).join("debug/offshoot");
    check(alone(tool.to_str().context("a path")?).args(["run", "-w", "local1", "--", "true"]))?;
    Ok(())
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}
