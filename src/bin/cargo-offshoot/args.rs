//! The command line of `cargo offshoot`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Build a program that uses the library `offshoot`, for every machine that it is to reach
///
/// `build` makes one file that carries the program for all targets.
///
/// Targets and budget are in the manifest:
///
/// [package.metadata.offshoot]
/// targets = ["x86_64", "aarch64", "armv7"]
/// budget = "4 MiB"
///
/// A target is a processor as `uname -m` names it, which stands for the static target of Linux,
/// or a target as rustc names it. The budget is for an image as it travels, which is packed.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(name = "cargo offshoot", bin_name = "cargo offshoot", version, verbatim_doc_comment, max_term_width = 100)]
pub(crate) struct Line {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub(crate) enum Command {
    /// Make a package: a program that works, a test, and a file for CI
    New(New),
    /// Build the program for all targets, as one file that carries all of them
    Build(Build),
    /// Build for development, and run the result
    Run(Run),
    /// Run the tests, whose children need a static program
    Test(Test),
    /// Say what the program weighs for each target, and which crates weigh most
    Size(Size),
    /// Say what this machine has for building, what it lacks, and what to do
    Doctor(Doctor),
}

#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct New {
    /// The directory of the package, which must not exist; its last part is the name
    #[arg(value_name = "NAME")]
    pub(crate) path: PathBuf,
    /// The sources of the library, instead of the registry
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) library: Option<PathBuf>,
}

/// What is built.
#[derive(Debug, Clone, PartialEq, Eq, Default, Args)]
pub(crate) struct Selection {
    /// A package of the workspace; may be repeated
    #[arg(short, long, value_name = "NAME", help_heading = "What is built")]
    pub(crate) package: Vec<String>,
    /// A program of a package; may be repeated [default: all programs]
    #[arg(long, value_name = "NAME", help_heading = "What is built")]
    pub(crate) bin: Vec<String>,
    /// An example of a package; may be repeated
    #[arg(long, value_name = "NAME", help_heading = "What is built")]
    pub(crate) example: Vec<String>,
    /// Features of the packages, separated by commas
    #[arg(short = 'F', long, value_name = "NAMES", help_heading = "What is built")]
    pub(crate) features: Vec<String>,
    /// All features
    #[arg(long, help_heading = "What is built")]
    pub(crate) all_features: bool,
    /// No default features
    #[arg(long, help_heading = "What is built")]
    pub(crate) no_default_features: bool,
    /// The manifest of the package or workspace
    #[arg(long, value_name = "FILE", help_heading = "What is built")]
    pub(crate) manifest_path: Option<PathBuf>,
}

/// How it is built.
#[derive(Debug, Clone, PartialEq, Eq, Default, Args)]
pub(crate) struct How {
    /// The profile of the manifest
    #[arg(long, value_name = "NAME", conflicts_with = "release", help_heading = "How it is built")]
    pub(crate) profile: Option<String>,
    /// As --profile release
    #[arg(short, long, help_heading = "How it is built")]
    pub(crate) release: bool,
    /// Require that Cargo.lock needs no change
    #[arg(long, help_heading = "How it is built")]
    pub(crate) locked: bool,
    /// Use no network; targets that are missing are not installed
    #[arg(long, help_heading = "How it is built")]
    pub(crate) offline: bool,
    /// How many processes of rustc run at once
    #[arg(short, long, value_name = "NUMBER", help_heading = "How it is built")]
    pub(crate) jobs: Option<u32>,
    /// Print no progress
    #[arg(short, long, help_heading = "How it is built")]
    pub(crate) quiet: bool,
}

/// For which machines.
#[derive(Debug, Clone, PartialEq, Eq, Default, Args)]
pub(crate) struct Targets {
    /// The targets, separated by commas, instead of those of the manifest
    #[arg(short, long, value_name = "TARGETS", value_delimiter = ',', help_heading = "For which machines")]
    pub(crate) targets: Vec<String>,
    /// Further targets, separated by commas
    #[arg(long, value_name = "TARGETS", value_delimiter = ',', help_heading = "For which machines")]
    pub(crate) also: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Build {
    #[command(flatten)]
    pub(crate) targets: Targets,
    #[command(flatten)]
    pub(crate) selection: Selection,
    #[command(flatten)]
    pub(crate) how: How,
    /// The directory for what is built [default: target/offshoot/PROFILE]
    #[arg(short, long, value_name = "DIRECTORY")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) targets: Targets,
    #[command(flatten)]
    pub(crate) selection: Selection,
    #[command(flatten)]
    pub(crate) how: How,
    /// Arguments for the program
    #[arg(last = true)]
    pub(crate) args: Vec<std::ffi::OsString>,
}

#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Test {
    #[command(flatten)]
    pub(crate) selection: Selection,
    #[command(flatten)]
    pub(crate) how: How,
    /// Run the tests of the whole workspace
    #[arg(long, help_heading = "What is built")]
    pub(crate) workspace: bool,
    /// Arguments for the tests
    #[arg(last = true)]
    pub(crate) args: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Size {
    #[command(flatten)]
    pub(crate) targets: Targets,
    #[command(flatten)]
    pub(crate) selection: Selection,
    #[command(flatten)]
    pub(crate) how: How,
    /// How many crates are listed
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = 12)]
    pub(crate) crates: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    pub(crate) targets: Targets,
    #[command(flatten)]
    pub(crate) selection: Selection,
}

impl Selection {
    /// The features, as `cargo metadata` and `cargo build` take them.
    pub(crate) fn features(&self) -> Vec<String> {
        let mut args = Vec::new();
        for features in &self.features {
            args.extend(["--features".to_owned(), features.clone()]);
        }
        args.extend(self.all_features.then(|| "--all-features".to_owned()));
        args.extend(self.no_default_features.then(|| "--no-default-features".to_owned()));
        args
    }

    /// All of it, as `cargo build` takes it.
    pub(crate) fn for_cargo(&self) -> Vec<String> {
        let mut args = Vec::new();
        if let Some(path) = &self.manifest_path {
            args.extend(["--manifest-path".to_owned(), path.display().to_string()]);
        }
        for (option, names) in [("--package", &self.package), ("--bin", &self.bin), ("--example", &self.example)] {
            args.extend(names.iter().flat_map(|name| [option.to_owned(), name.clone()]));
        }
        args.extend(self.features());
        args
    }
}

impl How {
    /// The profile of the user. `default` is that of the command.
    pub(crate) fn profile(&self, default: &str) -> String {
        match (&self.profile, self.release) {
            (Some(profile), _) => profile.clone(),
            (None, true) => "release".to_owned(),
            (None, false) => default.to_owned(),
        }
    }

    /// The rest of it, as `cargo build` takes it.
    pub(crate) fn for_cargo(&self) -> Vec<String> {
        let mut args = Vec::new();
        for (is_given, option) in [(self.locked, "--locked"), (self.offline, "--offline"), (self.quiet, "--quiet")] {
            args.extend(is_given.then(|| option.to_owned()));
        }
        args.extend(self.jobs.map(|jobs| format!("--jobs={jobs}")));
        args
    }
}

/// The command line without the word that cargo puts before what follows it.
pub(crate) fn without_offshoot(mut argv: Vec<std::ffi::OsString>) -> Vec<std::ffi::OsString> {
    if argv.get(1).is_some_and(|word| word == "offshoot") {
        argv.remove(1);
    }
    argv
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Command {
        let argv = line.split(' ').map(Into::into).collect();
        Line::try_parse_from(without_offshoot(argv)).unwrap().command
    }

    #[test]
    fn what_cargo_passes_is_what_the_program_takes_itself() {
        let build = parse("cargo-offshoot offshoot build --targets x86_64,armv7 -p disk --bin disk -F a,b --locked");
        assert_eq!(build, parse("cargo-offshoot build --targets x86_64,armv7 -p disk --bin disk -F a,b --locked"));
        let Command::Build(build) = build else { panic!("{build:?}") };
        assert_eq!(build.targets.targets, ["x86_64", "armv7"]);
        assert_eq!(build.selection.for_cargo().join(" "), "--package disk --bin disk --features a,b");
        assert_eq!(build.how.for_cargo(), ["--locked"]);
        assert_eq!((build.how.profile("release"), build.how.profile("dev")), ("release".into(), "dev".into()));
    }

    #[test]
    fn what_follows_two_dashes_is_for_the_program() {
        let Command::Run(run) = parse("cargo-offshoot offshoot run --release -- -x --targets y") else {
            panic!("no run")
        };
        assert_eq!(run.args, ["-x", "--targets", "y"]);
        assert!(run.targets.targets.is_empty() && run.how.profile("dev") == "release");
    }

    #[test]
    fn the_options_do_not_contradict_each_other() {
        use clap::CommandFactory as _;
        Line::command().debug_assert();
    }
}
