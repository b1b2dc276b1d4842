//! Runs cargo with flags that make the same sources give the same bytes in every directory.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::target::{self, Linker};
use super::toolchain::{self, Toolchain};
use super::{check, top, zig};

/// LLVM inlines at opt-level 3 up to a cost of 250, and what is marked `inline` up to 325. With these limits, and with
/// loops as they are written, a program is a sixth smaller, and calls are hardly slower: docs/reference/performance.md
/// has the curve.
pub(super) const SMALLER: [&str; 4] = [
    "-Cllvm-args=-inline-threshold=5 -inlinehint-threshold=30",
    "-Cllvm-args=-unroll-threshold=0",
    "-Cno-vectorize-loops",
    "-Cno-vectorize-slp",
];
/// The target whose code is too large for its budget at opt-level 3. It has opt-level s.
const SMALL: &str = "i686-unknown-linux-musl";

/// The target that programs of this machine are built for.
pub(super) fn host() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "aarch64-unknown-linux-musl",
        _ => "x86_64-unknown-linux-musl",
    }
}

/// Runs `cargo VERB --target TARGET ARGS` for a program that is shipped.
pub(super) fn cargo(verb: &str, target: &str, args: &[impl AsRef<str>]) -> Result<()> {
    let mut args: Vec<_> = args.iter().map(|arg| arg.as_ref().to_owned()).collect();
    if target == SMALL {
        args.extend(["--config", "profile.image.opt-level=\"s\""].map(str::to_owned));
    }
    with_flags(verb, target, &args, &SMALLER.map(str::to_owned))
}

/// Does the same with additional flags for rustc.
pub(super) fn with_flags(verb: &str, target: &str, args: &[impl AsRef<str>], flags: &[String]) -> Result<()> {
    let toolchain = Toolchain::of_this_machine()?;
    toolchain::install(&toolchain, target)?;
    let by_rustc = target::linker(target, &toolchain.host) == Linker::Rustc;
    let mut cargo = if by_rustc { Command::new(env!("CARGO")) } else { zig::cargo()? };
    // The driver of zig has another verb for `build`.
    cargo.arg(if by_rustc || verb != "build" { verb } else { "zigbuild" });
    cargo.args(["--locked", "--target", target]).args(args.iter().map(AsRef::as_ref));
    let packed = target::packed_relocations(target, toolchain.minor);
    let flags: Vec<_> =
        remapped(&toolchain)?.iter().chain(flags).chain(&packed).map(|flag| format!("{flag:?}")).collect();
    // cargo adds these to the flags of `.cargo/config.toml`; RUSTFLAGS would replace them.
    cargo.arg("--config").arg(format!("target.{target}.rustflags=[{}]", flags.join(", ")));
    if by_rustc {
        cargo.arg("--config").arg(format!("target.{target}.linker=\"rust-lld\""));
    }
    check(&mut cargo)
}

/// Flags that keep the paths of this machine out of the result.
fn remapped(toolchain: &Toolchain) -> Result<Vec<String>> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo"))).context("there is no home")?;
    let library = toolchain.sysroot.join("lib/rustlib/src/rust");
    let names = [(top().to_owned(), "/offshoot"), (home, "/cargo"), (library, "/rust")];
    Ok(names.into_iter().map(|(path, name)| format!("--remap-path-prefix={}={name}", path.display())).collect())
}
