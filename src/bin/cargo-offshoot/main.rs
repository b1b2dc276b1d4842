//! `cargo offshoot`: builds programs that use the library, so that one file has an image for every machine.
//!
//! - `args`: the command line; `project`: what the manifests say; `build_id`: what the images of one build have in common
//! - `config`: what the user has configured for cargo
//! - `plan`: from these and the facts of this machine to the commands that build, without I/O
//! - `target`, `toolchain`, `zig`, `elf`: targets, rustc, linkers and executables; `xtask` includes some of them
//! - `build`, `run`, `size`, `doctor`, `new`: the commands
//!
//! It is a program of its own, so that nothing of it is in the tool or in an image.

mod args;
mod build;
mod build_id;
mod config;
mod doctor;
mod elf;
mod new;
mod plan;
mod project;
mod run;
mod size;
mod target;
mod toolchain;
mod zig;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use offshoot::cli::own::Packing;

use self::args::{Build, Command, Line, without_offshoot};
use self::build::{Work, bundles, directory, size};
use self::plan::Strip;

fn main() -> ExitCode {
    let line = Line::parse_from(without_offshoot(std::env::args_os().collect()));
    let result = match &line.command {
        Command::New(args) => new::new(args),
        Command::Build(args) => build(args),
        Command::Run(args) => run::run(args),
        Command::Test(args) => run::test(args),
        Command::Size(args) => size::size(args),
        Command::Doctor(args) => doctor::doctor(args),
    };
    result.unwrap_or_else(|error| fail(&error))
}

#[expect(clippy::print_stderr, reason = "an error is for people")]
fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("cargo offshoot: {error:#}");
    ExitCode::FAILURE
}

/// Builds the bundles for shipping, and lists their images.
#[expect(clippy::print_stdout, reason = "the answer of a command")]
fn build(args: &Build) -> Result<ExitCode> {
    let work = Work::new(&args.selection, &args.how, &args.targets)?;
    let job = work.shipped(&args.selection, &args.how, Strip::Symbols)?;
    let own = target::own(&work.facts.toolchain.host);
    work.install(&[&work.targets[..], &[own]].concat(), &args.how)?;
    let output = args.output.clone().unwrap_or_else(|| directory(&work, &job));
    for bundle in bundles(&work, &job, &output, Packing::Smallest, args.how.quiet)? {
        println!("{}", bundle.file.display());
        for (target, plain, packed) in &bundle.images {
            println!("  {target}: {}, as it travels {}", size(*plain), size(*packed));
        }
    }
    Ok(ExitCode::SUCCESS)
}
