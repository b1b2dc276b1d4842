//! zig and its driver for cargo: where they are.

use std::process::{Command, Stdio};

use super::plan::Zig;
use super::toolchain::on_path;

/// Finds the driver and zig: by `CARGO_ZIGBUILD_ZIG_PATH`, as `zig`, or as the module `ziglang` of Python.
pub(crate) fn find() -> Option<Zig> {
    let driver = on_path("cargo-zigbuild")?;
    let is_named = std::env::var_os("CARGO_ZIGBUILD_ZIG_PATH").is_some();
    let is_there = is_named || on_path("zig").is_some() || ["python3", "python"].iter().any(|python| is_module(python));
    is_there.then(|| Zig { driver, env: Vec::new() })
}

/// The driver starts it by Python, too.
fn is_module(python: &str) -> bool {
    let mut command = Command::new(python);
    command.args(["-m", "ziglang", "version"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
