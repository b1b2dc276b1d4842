//! Installs and runs zig, which links for the systems whose libc does not come with rustc. zig
//! comes from PyPI into `target/tools`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{check, top};

const PACKAGES: [&str; 2] = ["ziglang==0.17.1", "cargo-zigbuild==0.24.0"];

/// The directory of zig and its driver, which are installed if they are missing.
pub(super) fn tools() -> Result<PathBuf> {
    let tools = top().join("target/tools");
    install(&tools)?;
    Ok(tools)
}

/// A command for `cargo-zigbuild`.
pub(super) fn cargo() -> Result<Command> {
    let tools = tools()?;
    let mut path = tools.join("bin").into_os_string();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let mut command = Command::new(tools.join("bin/cargo-zigbuild"));
    // Two checkouts that share a cache of zig remove each other's libc from it.
    let cache = top().join("target/tools-cache");
    command
        .env("PATH", path)
        .env("PYTHONPATH", &tools)
        .env("CARGO_ZIGBUILD_ZIG_PATH", tools.join("ziglang/zig"))
        .env("CARGO_ZIGBUILD_CACHE_DIR", &cache)
        .env("ZIG_GLOBAL_CACHE_DIR", cache.join("zig"));
    Ok(command)
}

fn install(tools: &Path) -> Result<()> {
    let stamp = tools.join(".installed");
    let wanted = PACKAGES.join(" ");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed.trim() == wanted) {
        return Ok(());
    }
    eprintln!("installing {wanted} in {}", tools.display());
    // Installed beside its place and renamed, so that an interrupted install leaves nothing that
    // looks complete.
    let aside = tools.with_extension(format!("{}", std::process::id()));
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--root-user-action", "ignore", "--disable-pip-version-check"]);
    pip.args(["--no-input", "--target"]).arg(&aside).args(PACKAGES);
    check(&mut pip).context("zig is needed for this target, and pip cannot install it")?;
    fs::write(aside.join(".installed"), wanted)?;
    if tools.exists() {
        fs::remove_dir_all(tools)?;
    }
    fs::rename(&aside, tools)?;
    Ok(())
}
