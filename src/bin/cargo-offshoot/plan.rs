//! From what is to be built, and what this machine has, to the commands that build it. Nothing is run here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Result, bail};

use super::config::Configured;
use super::target::{self, Linker};
use super::toolchain::{Toolchain, remap};

/// What cargo is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    /// What of the packages is built, as cargo takes it.
    pub(crate) selection: Vec<String>,
    /// Further arguments for cargo.
    pub(crate) cargo: Vec<String>,
    /// The profile of the user: `dev`, `release` or one of the manifest.
    pub(crate) profile: String,
    /// What is removed from the executables.
    pub(crate) strip: Strip,
    /// What all programs that are built know as their build.
    pub(crate) build_id: Option<String>,
}

/// What is removed from an executable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strip {
    /// Everything that is not needed to run.
    Symbols,
    /// The debug information of the standard library, so that a backtrace still names functions.
    DebugInfo,
    /// Nothing, so that the sizes of functions can be read.
    Nothing,
}

/// What is known of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) toolchain: Toolchain,
    /// The program that is cargo.
    pub(crate) cargo: PathBuf,
    /// What the user has configured for each target.
    pub(crate) configured: BTreeMap<String, Configured>,
    /// The driver of zig, and the variables that it needs.
    pub(crate) zig: Option<Zig>,
    /// The packages that compile C.
    pub(crate) in_c: Vec<String>,
    /// The targets for which there is a C compiler without zig.
    pub(crate) compiled_by_user: BTreeSet<String>,
    /// Directories of this machine, and what stands for each in a program. Otherwise the places of panics would name them.
    pub(crate) remapped: Vec<(PathBuf, String)>,
    /// Whether the user says which version of macOS is the oldest that a program runs on.
    pub(crate) names_macos: bool,
}

impl Facts {
    /// The linker that the user names for a target.
    pub(crate) fn linker_of_user(&self, target: &str) -> Option<&str> {
        self.configured.get(target)?.linker.as_deref()
    }

    /// The flags for rustc that the user has configured for a target.
    pub(crate) fn flags_of_user(&self, target: &str) -> &[String] {
        self.configured.get(target).map_or(&[], |configured| &configured.flags)
    }
}

/// zig and its driver for cargo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Zig {
    pub(crate) driver: PathBuf,
    pub(crate) env: Vec<(String, String)>,
}

/// A command to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
}

/// How zig is installed.
pub(crate) const GET_ZIG: &str = "pip install ziglang cargo-zigbuild";

/// The command that builds or tests the programs of a job for one target.
pub(crate) fn step(verb: &str, target: &str, job: &Job, facts: &Facts) -> Result<Step> {
    let toolchain = &facts.toolchain;
    let linker = target::linker(target, &toolchain.host);
    let is_by_user = facts.linker_of_user(target).is_some();
    let needs_c = !facts.in_c.is_empty() && !facts.compiled_by_user.contains(target);
    let by_zig = !is_by_user && linker == Linker::Zig || linker != Linker::Native && needs_c;
    let (mut step, verb) = match (&facts.zig, by_zig) {
        (_, false) => (command(&facts.cargo), verb),
        (Some(zig), true) => {
            let mut step = command(&zig.driver);
            step.env.clone_from(&zig.env);
            // The driver has another verb for `build`.
            (step, if verb == "build" { "zigbuild" } else { verb })
        }
        (None, true) => bail!("{}", lacks_zig(target, linker, &facts.in_c)),
    };
    step.args.extend([verb.to_owned(), "--target".into(), target.into()]);
    let profile = format!("offshoot-{}", job.profile);
    let config = |key: &str, value: &str| ["--config".to_owned(), format!("{key}={value}")];
    step.args.extend(["--profile".to_owned(), profile.clone()]);
    step.args.extend(config(&format!("profile.{profile}.inherits"), &quoted(&job.profile)));
    let strip = match job.strip {
        Strip::Symbols => "\"symbols\"",
        Strip::DebugInfo => "\"debuginfo\"",
        Strip::Nothing => "\"none\"",
    };
    step.args.extend(config(&format!("profile.{profile}.strip"), strip));
    // It is not made, as it would not be kept: that of a program has tens of megabytes.
    step.args.extend(config(&format!("profile.{profile}.debug"), "0"));
    if linker == Linker::Rustc && !is_by_user {
        step.args.extend(config(&format!("target.{target}.linker"), "\"rust-lld\""));
        // The driver of zig leaves a linker alone that the environment names.
        let name = format!("CARGO_TARGET_{}_LINKER", target::in_variables(target).to_uppercase());
        step.env.push((name, "rust-lld".into()));
    }
    // cargo takes these flags instead of those of any configuration. The flags of the user are among them.
    step.env.push(("CARGO_ENCODED_RUSTFLAGS".into(), flags(target, linker, facts).join("\x1f")));
    if linker == Linker::Zig
        && !facts.names_macos
        && let Some(version) = target::oldest_macos(target)
    {
        step.env.push((target::OLDEST_MACOS.into(), version.into()));
    }
    if let Some(id) = &job.build_id {
        step.env.push(("OFFSHOOT_BUILD".into(), id.clone()));
    }
    step.args.extend(job.selection.iter().chain(&job.cargo).cloned());
    Ok(step)
}

/// The flags for rustc: those of the user first.
fn flags(target: &str, linker: Linker, facts: &Facts) -> Vec<String> {
    let toolchain = &facts.toolchain;
    let of_linker = match linker {
        _ if facts.linker_of_user(target).is_some() => Vec::new(),
        Linker::Rustc => target::flags(target, &toolchain.sysroot, toolchain.minor),
        Linker::Zig => target::static_by_zig(target).map(str::to_owned).into_iter().collect(),
        Linker::Native => Vec::new(),
    };
    let remapped = facts.remapped.iter().map(|(path, name)| remap(path, name));
    facts.flags_of_user(target).iter().cloned().chain(of_linker).chain(remapped).collect()
}

fn command(program: &std::path::Path) -> Step {
    Step { program: program.to_owned(), args: Vec::new(), env: Vec::new() }
}

/// A string of TOML. Paths and names of targets have no control characters.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Why a target needs zig, and how to get it.
fn lacks_zig(target: &str, linker: Linker, in_c: &[String]) -> String {
    if linker == Linker::Zig {
        return format!(
            "nothing here links for {target}: zig does (`{GET_ZIG}`), or name a linker by CARGO_TARGET_{}_LINKER",
            target::in_variables(target).to_uppercase()
        );
    }
    let of = in_c.join(", ");
    let variable = target::in_variables(target);
    format!(
        "{of} compiles C, and there is no C compiler for {target} here: zig is one (`{GET_ZIG}`), or name another by CC_{variable}"
    )
}

#[cfg(test)]
impl Facts {
    /// A machine with Rust 1.95 and nothing else.
    pub(crate) fn sample() -> Self {
        Self {
            toolchain: Toolchain {
                sysroot: "/sysroot".into(),
                version: "rustc 1.95.0 (x)\nhost: x86_64-unknown-linux-gnu".into(),
                host: "x86_64-unknown-linux-gnu".into(),
                minor: 95,
            },
            cargo: "cargo".into(),
            configured: BTreeMap::new(),
            zig: None,
            in_c: Vec::new(),
            compiled_by_user: BTreeSet::new(),
            remapped: vec![("/home/amy/.cargo".into(), "/cargo".into())],
            names_macos: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Job {
        Job {
            selection: vec!["--bin".into(), "disk".into()],
            cargo: vec!["--locked".into()],
            profile: "release".into(),
            strip: Strip::Symbols,
            build_id: Some("disk-0.1.0:12".into()),
        }
    }

    fn zig() -> Option<Zig> {
        Some(Zig { driver: "/tools/cargo-zigbuild".into(), env: vec![("ZIG".into(), "1".into())] })
    }

    const AARCH64: &str = "aarch64-unknown-linux-musl";

    #[test]
    fn a_static_target_takes_cargo_and_the_linker_of_rustc() {
        let step = step("build", AARCH64, &job(), &Facts::sample()).unwrap();
        assert_eq!(step.program, PathBuf::from("cargo"));
        let line = step.args.join(" ");
        assert!(line.starts_with(&format!("build --target {AARCH64} --profile offshoot-release ")), "{line}");
        for part in [
            "profile.offshoot-release.inherits=\"release\"",
            "profile.offshoot-release.strip=\"symbols\"",
            "target.aarch64-unknown-linux-musl.linker=\"rust-lld\"",
        ] {
            assert!(line.contains(&format!("--config {part}")), "{part}: {line}");
        }
        assert!(line.ends_with("--bin disk --locked"), "{line}");
        assert!(step.env.contains(&("OFFSHOOT_BUILD".into(), "disk-0.1.0:12".into())));
    }

    #[test]
    fn all_targets_of_a_job_have_one_build_id() {
        let facts = Facts::sample();
        let id = |target| {
            let step = step("build", target, &job(), &facts).unwrap();
            step.env.into_iter().find(|(name, _)| name == "OFFSHOOT_BUILD").unwrap().1
        };
        assert_eq!(id(AARCH64), id("x86_64-unknown-linux-musl"));
    }

    /// The environment of a step, with what the user has configured.
    fn configured(linker: Option<&str>, flags: &[&str]) -> Facts {
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let configured = Configured { linker: linker.map(str::to_owned), flags };
        Facts { configured: [(AARCH64.to_owned(), configured)].into(), ..Facts::sample() }
    }

    #[test]
    fn flags_of_the_user_are_kept() {
        let flags = |facts: &Facts| {
            let step = step("build", AARCH64, &job(), facts).unwrap();
            step.env.into_iter().find(|(name, _)| name == "CARGO_ENCODED_RUSTFLAGS").unwrap().1
        };
        assert!(flags(&Facts::sample()).starts_with("-Crelocation-model=pie\x1f"));
        let both = flags(&configured(None, &["--cfg", "tokio_unstable"]));
        assert!(both.starts_with("--cfg\x1ftokio_unstable\x1f-Crelocation-model=pie\x1f"), "{both:?}");
    }

    #[test]
    fn a_linker_of_the_user_is_left_alone() {
        let step = step("build", AARCH64, &job(), &configured(Some("my-ld"), &["-Clink-arg=-v"])).unwrap();
        assert!(!step.args.join(" ").contains("rust-lld"), "{step:?}");
        let flags =
            step.env.iter().find(|(name, _)| name == "CARGO_ENCODED_RUSTFLAGS").map(|(_, flags)| flags.as_str());
        assert_eq!(flags, Some("-Clink-arg=-v\x1f--remap-path-prefix=/home/amy/.cargo=/cargo"));
    }

    #[test]
    fn what_is_not_static_is_linked_by_zig_or_says_how_to_get_it() {
        let target = "aarch64-unknown-linux-gnu";
        let why = step("build", target, &job(), &Facts::sample()).unwrap_err().to_string();
        assert!(why.contains("pip install ziglang cargo-zigbuild"), "{why}");
        assert!(why.contains("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER"), "{why}");
        let facts = Facts { zig: zig(), ..Facts::sample() };
        let by_zig = step("build", target, &job(), &facts).unwrap();
        assert_eq!((by_zig.program.to_str(), &*by_zig.args[0]), (Some("/tools/cargo-zigbuild"), "zigbuild"));
        assert!(by_zig.env.contains(&("ZIG".into(), "1".into())));
        assert_eq!(step("test", target, &job(), &facts).unwrap().args[0], "test");
        // zig is not asked for what it is not needed for.
        assert_eq!(step("build", AARCH64, &job(), &facts).unwrap().program, PathBuf::from("cargo"));
    }

    #[test]
    fn a_program_for_macos_runs_on_the_oldest_that_rust_supports_or_that_the_user_names() {
        let version = |target: &str, names_macos| {
            let facts = Facts { zig: zig(), names_macos, ..Facts::sample() };
            let step = step("build", target, &job(), &facts).unwrap();
            step.env.into_iter().find(|(name, _)| name == "MACOSX_DEPLOYMENT_TARGET").map(|(_, value)| value)
        };
        assert_eq!(version("x86_64-apple-darwin", false).as_deref(), Some("10.12"));
        assert_eq!(version("aarch64-apple-darwin", false).as_deref(), Some("11.0"));
        assert_eq!(version("aarch64-apple-darwin", true), None);
        assert_eq!(version("x86_64-unknown-freebsd", false), None);
    }

    #[test]
    fn a_program_with_c_takes_zig_as_its_compiler_and_the_linker_of_rustc() {
        let facts = Facts { in_c: vec!["libsqlite3-sys".into()], ..Facts::sample() };
        let why = step("build", AARCH64, &job(), &facts).unwrap_err().to_string();
        assert!(why.starts_with("libsqlite3-sys compiles C, and there is no C compiler for aarch64"), "{why}");
        assert!(why.contains("CC_aarch64_unknown_linux_musl"), "{why}");
        let with = Facts { zig: zig(), ..facts.clone() };
        let with = step("build", AARCH64, &job(), &with).unwrap();
        assert_eq!(with.args[0], "zigbuild");
        assert!(with.env.contains(&("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER".into(), "rust-lld".into())));
        let by_user = Facts { compiled_by_user: [AARCH64.to_owned()].into(), ..facts.clone() };
        assert_eq!(step("build", AARCH64, &job(), &by_user).unwrap().program, PathBuf::from("cargo"));
        // The machine itself has its compiler.
        let own = step("build", &facts.toolchain.host, &job(), &facts).unwrap();
        assert_eq!(own.program, PathBuf::from("cargo"));
    }
}
