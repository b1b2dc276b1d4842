//! The Rust toolchain of this machine: its version, its targets, and the commands that it runs.
//!
//! `xtask` includes this file.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::target;

/// The flag by which rustc writes a name in place of a directory of this machine.
pub(crate) fn remap(path: &Path, name: &str) -> String {
    format!("--remap-path-prefix={}={name}", path.display())
}

/// The toolchain that `cargo` and `rustc` are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Toolchain {
    /// The directory that it is installed in.
    pub(crate) sysroot: PathBuf,
    /// What `rustc -vV` prints.
    pub(crate) version: String,
    /// The target of this machine, as rustc names it.
    pub(crate) host: String,
    /// The second number of its version.
    pub(crate) minor: u32,
}

impl Toolchain {
    /// Asks rustc.
    pub(crate) fn of_this_machine() -> Result<Self> {
        let version = rustc(&["-vV"])?;
        let host = version.lines().find_map(|line| line.strip_prefix("host: "));
        let host = host.context("`rustc -vV` does not say what this machine is")?.to_owned();
        let minor = target::minor_version(&version).context("`rustc -vV` does not say its version")?;
        Ok(Self { sysroot: PathBuf::from(rustc(&["--print", "sysroot"])?), version, host, minor })
    }

    /// The directories of every program's sources on this machine, and what stands for each in a program.
    pub(crate) fn remapped(&self) -> Result<[(PathBuf, String); 2]> {
        let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo"))).context("there is no home")?;
        Ok([(home, "/cargo".into()), (self.sysroot.join("lib/rustlib/src/rust"), "/rust".into())])
    }

    /// Whether there is a standard library for a target.
    pub(crate) fn has(&self, target: &str) -> bool {
        let place = self.sysroot.join("lib/rustlib").join(target).join("lib");
        // A directory stays behind where rustup has removed a target.
        std::fs::read_dir(place).is_ok_and(|mut entries| {
            entries.any(|entry| entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("libstd-")))
        })
    }

    /// Where the linker is that comes with rustc.
    pub(crate) fn rust_lld(&self) -> PathBuf {
        self.sysroot.join("lib/rustlib").join(&self.host).join("bin/rust-lld")
    }
}

fn rustc(args: &[&str]) -> Result<String> {
    let output =
        Command::new("rustc").args(args).output().context("rustc cannot be run; https://rustup.rs installs it")?;
    if !output.status.success() {
        bail!("`rustc {}` failed: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Makes rustup install the standard library of a target, unless it is there.
pub(crate) fn install(toolchain: &Toolchain, target: &str) -> Result<()> {
    if toolchain.has(target) {
        return Ok(());
    }
    check(Command::new("rustup").args(["target", "add", target])).with_context(|| {
        let other = match target::dynamic(target) {
            Some(other) => format!("; with {other} instead, the program needs the libc of its machine"),
            None => String::new(),
        };
        format!(
            "the standard library for {target} is missing, and rustup (https://rustup.rs) cannot add it: `rustup target list` \
             shows the targets that it has for this toolchain{other}"
        )
    })
}

/// Runs a command to its end. Fails if the command fails.
pub(crate) fn check(command: &mut Command) -> Result<()> {
    let what = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("{what} cannot be run"))?;
    if !status.success() {
        let args: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy()).collect();
        bail!("this failed ({status}): {what} {}", args.join(" "));
    }
    Ok(())
}

/// A program on the search path.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}
