//! `run` and `test`: what is built is run on this machine.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use offshoot::cli::own::Packing;

use super::args::{Run, Targets, Test};
use super::build::{Work, bundles, compile, directory, process};
use super::plan;
use super::target;

/// Builds for development, with the images that hosts need, and becomes the program.
pub(crate) fn run(args: &Run) -> Result<ExitCode> {
    let work = Work::new(&args.selection, &args.how, &args.targets)?;
    let job = Work::tried(&args.selection, &args.how);
    let own = target::own(&work.facts.toolchain.host);
    work.install(&[&work.targets[..], std::slice::from_ref(&own)].concat(), &args.how)?;
    let programs: Vec<PathBuf> = if work.targets == [own.clone()] {
        // It sends itself.
        compile(&own, &job, &work.facts)?.into_values().collect()
    } else {
        let bundles = bundles(&work, &job, &directory(&work, &job), Packing::Fast, true)?;
        bundles.into_iter().map(|bundle| bundle.file).collect()
    };
    let program = only(&programs, work.project.default_run.as_deref())?;
    Err(execute(program, &args.args))
}

/// The program to run.
fn only<'a>(programs: &'a [PathBuf], default: Option<&str>) -> Result<&'a PathBuf> {
    let name = |program: &PathBuf| program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    match programs {
        [program] => Ok(program),
        _ => match default.and_then(|default| programs.iter().find(|program| name(program) == default)) {
            Some(program) => Ok(program),
            None => {
                let names: Vec<_> = programs.iter().map(name).collect();
                bail!(
                    "there are several programs, {}: choose one by --bin or --example, or by default-run in the manifest",
                    names.join(", ")
                )
            }
        },
    }
}

/// Becomes a program. Returns only if that fails.
fn execute(program: &PathBuf, args: &[OsString]) -> anyhow::Error {
    let error = Command::new(program).args(args).exec();
    anyhow::Error::new(error).context(format!("{} cannot be run", program.display()))
}

/// Runs the tests of the packages. They are static programs that start children of themselves.
pub(crate) fn test(args: &Test) -> Result<ExitCode> {
    let work = Work::new(&args.selection, &args.how, &Targets::default())?;
    let mut job = Work::tried(&args.selection, &args.how);
    job.selection.extend(args.workspace.then(|| "--workspace".to_owned()));
    let own = target::own(&work.facts.toolchain.host);
    work.install(std::slice::from_ref(&own), &args.how)?;
    let mut step = plan::step("test", &own, &job, &work.facts)?;
    step.args.push("--".into());
    step.args.extend(args.args.iter().cloned());
    let status = process(&step).status().with_context(|| format!("{} cannot be run", step.program.display()))?;
    // cargo has said what failed.
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_program_is_run_and_of_several_the_one_that_is_named() {
        let programs = ["/t/a", "/t/b"].map(PathBuf::from);
        assert_eq!(only(&programs[..1], None).unwrap(), &programs[0]);
        assert_eq!(only(&programs, Some("b")).unwrap(), &programs[1]);
        let why = only(&programs, None).unwrap_err().to_string();
        assert!(why.starts_with("there are several programs, a, b: choose one by --bin"), "{why}");
    }
}
