//! The builds that need more than `cargo build`. Run it by `cargo xtask COMMAND`.

mod advisories;
mod compile;
mod curve;
// What `cargo offshoot` needs as well.
#[path = "../../src/bin/cargo-offshoot/elf.rs"]
mod elf;
mod fuzz;
mod image;
mod installed;
mod macho;
mod msrv;
mod offline;
mod packagers;
#[cfg(feature = "plot")]
mod plot;
mod release;
#[path = "../../src/bin/cargo-offshoot/target.rs"]
#[expect(dead_code, reason = "some of it is for `cargo offshoot` alone")]
mod target;
#[path = "../../src/bin/cargo-offshoot/toolchain.rs"]
#[expect(dead_code, reason = "some of it is for `cargo offshoot` alone")]
mod toolchain;
mod zig;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};

use toolchain::check;

const HELP: &str = "\
usage: cargo xtask COMMAND

  build ARG...                   cargo build, with no path of this machine in what it makes
  tool [FILE]                    build the tool for release (default: dist/offshoot)
  image TARGET                   build the image of a target and print where it is
  bundle [FILE] [TARGET...]      build the tool with the images of targets in it
                                 (default: dist/offshoot; x86_64, aarch64 and i686 Linux)
  size [TARGET...]               what images and the bundle weigh, against their budgets
  curve [CALLS]                  image size against call rate at several opt-levels;
                                 CALLS is benches/calls of another build, to compare with
  plot FROM TO                   draw what scripts/bench --save has written, as SVG; needs the feature `plot`
  release                        make all that is published of this version, in dist/release
  reproducible                   build in two places and compare the bytes
  installed                      install the tool as anybody does, and see that it can send itself
  offline                        build from the published package without a network
  msrv                           check with the oldest toolchain that Cargo.toml allows
  elsewhere                      build for the systems that nothing here can run
  fuzz [SECONDS] [TARGET...]     run the fuzzers, each for so long (default: 60)
  corpora [TARGET...]            take what they have found into fuzz/corpora
  advisories                     whether a dependency has a known fault, or a licence that is not allowed
  advisories DIRECTORY           write xtask/advisories.toml again, from a checkout of RustSec's database
  foreign                        build what the tests send to hosts of other processors
  zig                            put zig into target/tools, and print where it is
";

/// The targets whose images a bundle has by default.
const DEFAULT_TARGETS: [&str; 3] =
    ["x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl", "i686-unknown-linux-musl"];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "the answer of a command")]
fn run(args: &[String]) -> Result<()> {
    std::env::set_current_dir(top())?;
    let Some((command, args)) = args.split_first() else { bail!("no command is given\n{HELP}") };
    match (command.as_str(), args) {
        ("build", _) => compile::cargo("build", &[compile::host()], args),
        ("tool", []) => image::tool(Path::new("dist/offshoot")),
        ("tool", [file]) => image::tool(Path::new(file)),
        ("image", [target]) => {
            image::images(&[target])?.iter().for_each(|image| println!("{}", image.display()));
            Ok(())
        }
        ("bundle", _) => {
            // A target has no slash.
            let (file, targets) = match args.split_first() {
                Some((file, targets)) if file.contains('/') => (file.as_str(), targets),
                _ => ("dist/offshoot", args),
            };
            image::bundle(Path::new(file), &or_default(targets))
        }
        ("size", _) => image::size(&or_default(args)),
        ("curve", []) => curve::curve(None),
        ("curve", [base]) => curve::curve(Some(base)),
        ("offline", []) => offline::offline(),
        #[cfg(feature = "plot")]
        ("plot", [from, to]) => plot::plot(Path::new(from), Path::new(to)),
        #[cfg(not(feature = "plot"))]
        ("plot", _) => bail!("this needs a feature: cargo run --package xtask --features plot -- plot FROM TO"),
        ("release", []) => release::release(),
        ("reproducible", []) => image::reproducible(),
        ("installed", []) => installed::installed(),
        ("msrv", []) => msrv::msrv(),
        ("elsewhere", []) => image::elsewhere(),
        ("foreign", []) => image::foreign(),
        ("zig", []) => {
            println!("{}", zig::tools()?.display());
            Ok(())
        }
        ("advisories", []) => advisories::advisories(),
        ("advisories", [database]) => advisories::renew(database),
        ("fuzz", _) => fuzz::fuzz(args),
        ("corpora", _) => fuzz::corpora(args),
        ("help" | "--help" | "-h", _) => {
            print!("{HELP}");
            Ok(())
        }
        _ => bail!("`{command}` is not a command with such arguments\n{HELP}"),
    }
}

fn or_default(targets: &[String]) -> Vec<&str> {
    if targets.is_empty() { DEFAULT_TARGETS.to_vec() } else { targets.iter().map(String::as_str).collect() }
}

/// The root of the checkout.
fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or_else(|| Path::new("."))
}

/// The directory of cargo's results.
fn target_directory() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| top().join("target"), PathBuf::from)
}
