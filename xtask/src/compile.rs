//! Runs cargo with flags that make the same sources give the same bytes in every directory.

use std::process::Command;

use anyhow::Result;

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
/// The target that programs of this machine are built for.
pub(super) fn host() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "aarch64-unknown-linux-musl",
        _ => "x86_64-unknown-linux-musl",
    }
}

/// Runs `cargo VERB ARGS` for programs that are shipped, for these targets.
pub(super) fn cargo(verb: &str, targets: &[&str], args: &[impl AsRef<str>]) -> Result<()> {
    with_flags(verb, targets, args, &SMALLER.map(str::to_owned))
}

/// Does the same with other flags for rustc than [`SMALLER`].
pub(super) fn with_flags(verb: &str, targets: &[&str], args: &[impl AsRef<str>], flags: &[String]) -> Result<()> {
    let toolchain = Toolchain::of_this_machine()?;
    targets.iter().try_for_each(|target| toolchain::install(&toolchain, target))?;
    let is_by_rustc = |target: &&str| target::linker(target, &toolchain.host) == Linker::Rustc;
    let (by_rustc, by_zig): (Vec<&str>, Vec<&str>) = targets.iter().copied().partition(is_by_rustc);
    // One run of cargo for each that zig links, as its variables are for one target.
    let runs = by_zig.chunks(1).map(|target| (target, false));
    for (targets, is_by_rustc) in runs.chain((!by_rustc.is_empty()).then_some((&by_rustc[..], true))) {
        let mut cargo = if is_by_rustc { Command::new(env!("CARGO")) } else { zig::cargo()? };
        // The driver of zig has another verb for `build`.
        cargo.arg(if is_by_rustc || verb != "build" { verb } else { "zigbuild" });
        cargo.arg("--locked").args(args.iter().map(AsRef::as_ref));
        for target in targets {
            let packed = target::packed_relocations(target, toolchain.minor);
            let of_macos = if target.ends_with("-darwin") { for_macos() } else { Vec::new() };
            let remapped = remapped(&toolchain)?;
            let untabled = if is_by_rustc { without_unwind_tables() } else { Vec::new() };
            let static_by_zig = target::static_by_zig(target).map(str::to_owned);
            let flags = remapped.iter().chain(flags).chain(&untabled).chain(&packed).chain(&of_macos);
            let flags = flags.chain(&static_by_zig);
            let flags = flags.map(|flag| format!("{flag:?}"));
            let flags = flags.collect::<Vec<_>>().join(", ");
            // cargo adds these to the flags of `.cargo/config.toml`; RUSTFLAGS would replace them.
            cargo.args(["--target", target, "--config"]).arg(format!("target.{target}.rustflags=[{flags}]"));
            if is_by_rustc {
                cargo.arg("--config").arg(format!("target.{target}.linker=\"rust-lld\""));
            }
        }
        if !is_by_rustc
            && std::env::var_os(target::OLDEST_MACOS).is_none()
            && let Some(version) = target::oldest_macos(targets[0])
        {
            cargo.env(target::OLDEST_MACOS, version);
        }
        check(&mut cargo)?;
    }
    Ok(())
}

/// Leaves out the unwind tables, which are a twelfth of a packed image. The profiles of what is shipped have `panic = "abort"`;
/// cargo does not apply that to benchmarks.
fn without_unwind_tables() -> Vec<String> {
    let script = format!("-Clink-arg=-T{}", top().join("xtask/no_unwind_tables.ld").display());
    vec!["-Cpanic=abort".into(), "-Clink-arg=--no-eh-frame-hdr".into(), script]
}

/// Names the frameworks of macOS that the tool uses: zig comes with its C library, and without these. And leaves out what
/// is for debuggers, since the linker makes the UUID of the file from it, and it has the paths of this machine.
fn for_macos() -> Vec<String> {
    vec![format!("-Clink-arg=-F{}", top().join("xtask/frameworks").display()), "-Clink-arg=-Wl,-S".into()]
}

/// Flags that keep the paths of this machine out of the result.
fn remapped(toolchain: &Toolchain) -> Result<Vec<String>> {
    let own = (top().to_owned(), "/offshoot".to_owned());
    let all = std::iter::once(own).chain(toolchain.remapped()?);
    Ok(all.map(|(path, name)| toolchain::remap(&path, &name)).collect())
}
