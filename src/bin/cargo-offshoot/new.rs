//! `new`: a package that works, with a test and a file for CI.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use cargo_metadata::MetadataCommand;

use super::args::New;
use super::toolchain::check;

/// The version of the library that a package asks for.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Whether the registry has the library. Until then, its name there may be somebody else's.
const IS_PUBLISHED: bool = false;

/// Has cargo make a package, and writes the files of a program into it.
#[expect(clippy::print_stdout, reason = "the answer of a command")]
pub(crate) fn new(args: &New) -> Result<ExitCode> {
    let path = &args.path;
    ensure!(!path.exists(), "{} exists; choose another name", path.display());
    ensure!(
        IS_PUBLISHED || args.library.is_some(),
        "offshoot is not on crates.io yet: name a checkout of it, as `cargo offshoot new {} --library ../offshoot`",
        path.display()
    );
    let name = path.file_name().and_then(|name| name.to_str()).context("the name of a package is not empty")?;
    check_name(name)?;
    let library = args.library.as_ref().map(|path| library(path)).transpose()?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // cargo checks the name, adds the package to a workspace around it, and makes a repository where none is.
    check(Command::new(cargo).args(["new", "--quiet", "--lib", "--edition", "2024"]).arg(path))?;
    let metadata = MetadataCommand::new().current_dir(path).no_deps().exec()?;
    let is_alone = fs::canonicalize(path)? == fs::canonicalize(&metadata.workspace_root)?;
    let manifest = fs::read_to_string(path.join("Cargo.toml"))?;
    for (file, text) in files(name, &manifest, library.as_deref(), is_alone)? {
        let file = path.join(file);
        fs::create_dir_all(file.parent().unwrap_or(path))?;
        fs::write(&file, text).with_context(|| file.display().to_string())?;
    }
    println!("{} is ready; in it:", path.display());
    println!("  cargo offshoot run              run it on this machine");
    println!("  cargo offshoot run -- web1      run it on web1, which ssh reaches");
    println!("  cargo offshoot test             run its tests");
    println!("  cargo offshoot build            make one file for all machines");
    Ok(ExitCode::SUCCESS)
}

/// Checks what cargo says less well, or finds only when it builds.
fn check_name(name: &str) -> Result<()> {
    ensure!(name != "offshoot", "a package cannot have the name of the library that it uses; choose another one");
    let is_fine = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    ensure!(
        name.starts_with(|c: char| c.is_alphabetic() || c == '_') && name.chars().all(is_fine),
        "{name:?} is no name of a package: it begins with a letter, and has letters, digits, - and _"
    );
    Ok(())
}

/// The absolute path of the sources of the library.
fn library(path: &Path) -> Result<String> {
    let file = path.join("Cargo.toml");
    let manifest = fs::read_to_string(&file).with_context(|| {
        format!("there are no sources of offshoot in {}: cannot read {}", path.display(), file.display())
    })?;
    ensure!(manifest.contains("name = \"offshoot\""), "{} does not have the sources of offshoot", path.display());
    let path = fs::canonicalize(path)?;
    path.to_str().map(str::to_owned).context("the path of the library is not UTF-8")
}

/// The files of a package. `manifest` is what cargo has written, `library` the path of the library, if it does not come from
/// the registry, and `is_alone` whether the package is in no workspace.
fn files(name: &str, manifest: &str, library: Option<&str>, is_alone: bool) -> Result<Vec<(&'static str, String)>> {
    let Some(begin) = manifest.split_once("[dependencies]").map(|(begin, _)| begin) else {
        bail!("the manifest that cargo has written has no [dependencies]");
    };
    let source = match library {
        Some(path) => format!("path = {}", toml_string(path)),
        None => format!("version = \"{VERSION}\""),
    };
    let profile = if is_alone { PROFILE } else { "" };
    let crate_name = name.replace('-', "_");
    let filled = |text: &str| text.replace("CRATE", &crate_name).replace("NAME", name).replace("SOURCE", &source);
    let mut files = vec![
        ("Cargo.toml", format!("{begin}{}{profile}", filled(MANIFEST))),
        ("src/lib.rs", filled(LIB)),
        ("src/main.rs", filled(MAIN)),
        ("tests/children.rs", filled(TEST)),
    ];
    if is_alone {
        files.push((".cargo/config.toml", CONFIG.to_owned()));
        files.push((".github/workflows/ci.yml", filled(CI)));
    }
    Ok(files)
}

fn toml_string(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

const MANIFEST: &str = r#"[dependencies]
offshoot = { SOURCE, default-features = false }

# What `cargo offshoot` reads. A target is a processor as `uname -m` names it, or a target as rustc names it.
[package.metadata.offshoot]
targets = ["x86_64", "aarch64"]
budget = "2 MiB" # of one image as it travels; `cargo offshoot size` fails above it
"#;

const PROFILE: &str = r#"
# What travels is small.
[profile.release]
opt-level = "s"
lto = true
codegen-units = 1
strip = true

# Each host gets a copy, and debug information would be most of it.
[profile.dev]
strip = "debuginfo"
"#;

const LIB: &str = r#"//! The functions that run on other machines.

/// How long the machine has been up, in seconds.
pub fn uptime() -> std::io::Result<u64> {
    let text = std::fs::read_to_string("/proc/uptime")?;
    let seconds = text.split('.').next().unwrap_or_default();
    seconds.parse().map_err(std::io::Error::other)
}
offshoot::export!(uptime);
"#;

const MAIN: &str = r#"//! Says how long machines have been up.
//!
//!     NAME               this machine
//!     NAME web1 web2     machines that ssh reaches

use offshoot::{Error, Router};

async fn app(router: Router) -> Result<(), Error> {
    let hosts: Vec<String> = std::env::args().skip(1).collect();
    if hosts.is_empty() {
        let child = router.local().connect().await?;
        println!("this machine: up for {} s", child.call(CRATE::uptime, ()).await?);
    }
    for host in hosts {
        let child = router.ssh(host.clone()).connect().await?;
        println!("{host}: up for {} s", child.call(CRATE::uptime, ()).await?);
    }
    Ok(())
}

fn main() -> std::process::ExitCode {
    offshoot::run(app) // a child never gets past this line
}
"#;

const TEST: &str = r#"//! Calls the functions in children on this machine.

offshoot::testing!();

#[test]
fn a_child_says_how_long_the_machine_has_been_up() {
    let router = offshoot::Router::new().unwrap();
    let child = router.local().blocking_connect().unwrap();
    assert!(child.blocking_call(CRATE::uptime, ()).unwrap() > 0);
    router.blocking_shutdown();
}
"#;

const CONFIG: &str = r#"# rustc brings a linker and a libc for these targets, so that plain `cargo build --target ..` needs nothing else.
[target.x86_64-unknown-linux-musl]
linker = "rust-lld"

[target.aarch64-unknown-linux-musl]
linker = "rust-lld"

[target.i686-unknown-linux-musl]
linker = "rust-lld"

[target.armv7-unknown-linux-musleabihf]
linker = "rust-lld"
"#;

const CI: &str = r#"name: ci
on: [push, pull_request]
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - run: cargo install --locked offshoot
      - run: cargo offshoot doctor || true
      - run: cargo offshoot test
      - run: cargo offshoot build
      - run: cargo offshoot size
      - uses: actions/upload-artifact@v4
        with:
          name: NAME
          path: target/offshoot/release/NAME
"#;

#[cfg(test)]
mod tests {
    use super::*;

    const BY_CARGO: &str = "[package]\nname = \"up-time\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[dependencies]\n";

    fn file<'a>(files: &'a [(&str, String)], name: &str) -> Option<&'a str> {
        files.iter().find(|(file, _)| *file == name).map(|(_, text)| &**text)
    }

    #[test]
    fn a_name_is_checked_before_anything_is_made() {
        for name in ["disk", "_a", "disk-2", "straße"] {
            check_name(name).unwrap();
        }
        for name in ["offshoot", "9bad", "-a", "a b", "a.b", ""] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_package_has_a_program_a_test_and_a_file_for_ci() {
        let files = files("up-time", BY_CARGO, None, true).unwrap();
        let manifest = file(&files, "Cargo.toml").unwrap();
        assert!(manifest.starts_with("[package]\nname = \"up-time\"\n"), "{manifest}");
        let line = format!("offshoot = {{ version = \"{VERSION}\", default-features = false }}\n");
        assert!(manifest.contains(&line) && manifest.contains("[profile.release]"), "{manifest}");
        assert!(file(&files, "src/main.rs").unwrap().contains("up_time::uptime, ()"));
        assert!(file(&files, "tests/children.rs").unwrap().contains("up_time::uptime, ()"));
        assert!(file(&files, ".github/workflows/ci.yml").unwrap().contains("release/up-time"));
        for (name, text) in &files {
            assert!(!["CRATE", "NAME", "SOURCE"].iter().any(|word| text.contains(word)), "{name}: {text}");
        }
    }

    #[test]
    fn in_a_workspace_its_root_keeps_profiles_and_configuration() {
        let files = files("disk", BY_CARGO, Some("/a \"b\""), false).unwrap();
        let manifest = file(&files, "Cargo.toml").unwrap();
        assert!(manifest.contains(r#"offshoot = { path = "/a \"b\"", default"#) && !manifest.contains("[profile"));
        assert_eq!((file(&files, ".cargo/config.toml"), file(&files, ".github/workflows/ci.yml")), (None, None));
    }
}
