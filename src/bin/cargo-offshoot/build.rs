//! Builds programs for their targets and makes bundles of them.

use std::collections::BTreeMap;
use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use cargo_metadata::{Artifact, Message, MetadataCommand};
use offshoot::cli::own::{self, Packing};

use super::args::{How, Selection, Targets};
use super::build_id::build_id;
use super::config;
use super::elf::Headers;
use super::plan::{self, Facts, Job, Step, Strip};
use super::project::Project;
use super::target;
use super::toolchain::{self, Toolchain};
use super::zig;

/// What a command works on.
pub(crate) struct Work {
    pub(crate) project: Project,
    pub(crate) facts: Facts,
    /// The targets of the command line or of the manifest, or else the usual ones.
    pub(crate) targets: Vec<String>,
}

impl Work {
    /// Looks at the packages and at this machine.
    pub(crate) fn new(selection: &Selection, how: &How, targets: &Targets) -> Result<Self> {
        let toolchain = Toolchain::of_this_machine()?;
        let mut command = MetadataCommand::new();
        if let Some(path) = &selection.manifest_path {
            command.manifest_path(path);
        }
        let mut options = selection.features();
        options.extend(["--filter-platform".to_owned(), target::own(&toolchain.host)]);
        options.extend(how.locked.then(|| "--locked".to_owned()));
        options.extend(how.offline.then(|| "--offline".to_owned()));
        let metadata = command.other_options(options).exec().map_err(without_prefix)?;
        let project = Project::of(&metadata, &selection.package)?;
        let targets = wanted(targets, project.targets.as_deref())?;
        Ok(Self { facts: facts(toolchain, &project, &targets)?, project, targets })
    }

    /// What cargo is to do for a program that is shipped: all images of it have one build id.
    pub(crate) fn shipped(&self, selection: &Selection, how: &How, strip: Strip) -> Result<Job> {
        let mut job = Job { strip, ..Self::tried(selection, how) };
        job.profile = how.profile("release");
        // The variable reaches cargo anyway.
        if std::env::var_os("OFFSHOOT_BUILD").is_some_and(|id| !id.is_empty()) {
            return Ok(job);
        }
        let mut inputs = vec![self.facts.toolchain.version.clone(), job.profile.clone()];
        inputs.extend(selection.features());
        inputs.extend(self.facts.flags_of_user(&target::own(&self.facts.toolchain.host)).iter().cloned());
        let lock = fs::read_to_string(self.project.root.join("Cargo.lock"));
        inputs.push(lock.context("Cargo.lock cannot be read")?);
        job.build_id = Some(build_id(&self.project.names, &inputs, &self.project.sources)?);
        Ok(job)
    }

    /// What cargo is to do for a program that is run at once. It has no build id: with another one the library would be
    /// built again after each change of the program. The images are told by their checksums and function tables.
    pub(crate) fn tried(selection: &Selection, how: &How) -> Job {
        Job {
            selection: selection.for_cargo(),
            cargo: how.for_cargo(),
            profile: how.profile("dev"),
            strip: Strip::DebugInfo,
            build_id: None,
        }
    }

    /// Installs the standard libraries that are missing.
    pub(crate) fn install(&self, targets: &[String], how: &How) -> Result<()> {
        for target in targets {
            if how.offline {
                ensure!(
                    self.facts.toolchain.has(target),
                    "the standard library for {target} is missing; `rustup target add {target}` installs it"
                );
            }
            toolchain::install(&self.facts.toolchain, target)?;
        }
        Ok(())
    }
}

/// An error of `cargo metadata`, which begins with what went wrong in cargo.
fn without_prefix(error: cargo_metadata::Error) -> anyhow::Error {
    match error {
        cargo_metadata::Error::CargoMetadata { stderr } => {
            anyhow::anyhow!("{}", stderr.trim().trim_start_matches("error: "))
        }
        other => other.into(),
    }
}

/// The targets of the command line, or else of the manifest, or else the usual ones, and the further ones.
fn wanted(targets: &Targets, of_manifest: Option<&[String]>) -> Result<Vec<String>> {
    let mut wanted: Vec<String> = Vec::new();
    if targets.targets.is_empty() {
        let usual = || target::USUAL.map(str::to_owned).to_vec();
        wanted = of_manifest.map_or_else(usual, <[String]>::to_vec);
    }
    for word in targets.targets.iter().chain(&targets.also) {
        let target = target::named(word)?;
        if !wanted.contains(&target) {
            wanted.push(target);
        }
    }
    Ok(wanted)
}

fn facts(toolchain: Toolchain, project: &Project, targets: &[String]) -> Result<Facts> {
    let own = target::own(&toolchain.host);
    let all: Vec<&String> = targets.iter().chain([&own]).collect();
    let is_set = |name: String| std::env::var_os(name).is_some();
    let has_compiler = |target: &str| {
        let name = target::in_variables(target);
        let compiler = target.replace("-unknown", "") + "-gcc";
        is_set(format!("CC_{name}")) || is_set(format!("CC_{target}")) || toolchain::on_path(&compiler).is_some()
    };
    let compiled_by_user = all.iter().filter(|target| has_compiler(target)).map(|target| (*target).clone()).collect();
    let needs_zig = !project.in_c.is_empty()
        || all.iter().any(|target| target::linker(target, &toolchain.host) == target::Linker::Zig);
    let (configured, names_macos) = config::of(&all, target::OLDEST_MACOS)?;
    Ok(Facts {
        cargo: std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from),
        configured,
        zig: if needs_zig { zig::find() } else { None },
        in_c: project.in_c.clone(),
        compiled_by_user,
        remapped: remapped(&toolchain, project)?,
        names_macos,
        toolchain,
    })
}

/// The directories of this machine that rustc would name in a program.
fn remapped(toolchain: &Toolchain, project: &Project) -> Result<Vec<(PathBuf, String)>> {
    let fixed = [(project.root.clone(), "/src".into()), (project.target_directory.clone(), "/target".into())];
    let named = |path: &PathBuf| Some((path.clone(), format!("/{}", path.file_name()?.to_string_lossy())));
    // Of these, the last one that fits counts.
    Ok(fixed.into_iter().chain(toolchain.remapped()?).chain(project.sources.iter().filter_map(named)).collect())
}

/// A step as a process that can be started.
pub(crate) fn process(step: &Step) -> Command {
    let mut command = Command::new(&step.program);
    command.args(&step.args).envs(step.env.iter().map(|(name, value)| (name, value)));
    command
}

/// The executables of one target, by the kind and name of what they were built from.
pub(crate) type Programs = BTreeMap<(String, String), PathBuf>;

/// Builds for one target.
pub(crate) fn compile(target: &str, job: &Job, facts: &Facts) -> Result<Programs> {
    let mut step = plan::step("build", target, job, facts)?;
    step.args.push("--message-format=json-render-diagnostics".into());
    let mut process = process(&step);
    process.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = process.spawn().with_context(|| format!("{} cannot be run", step.program.display()))?;
    let stdout = child.stdout.take().context("cargo has no output")?;
    let read = || -> Result<Programs> {
        let mut programs = Programs::new();
        for message in Message::parse_stream(BufReader::new(stdout)) {
            if let Message::CompilerArtifact(artifact) = message?
                && let Some((key, path)) = program(&artifact)
            {
                programs.insert(key, path);
            }
        }
        Ok(programs)
    };
    let programs = read();
    let status = child.wait()?;
    ensure!(status.success(), "cargo could not build the program for {target} ({status}); its errors are above");
    let programs = programs.context("the messages of cargo cannot be read")?;
    ensure!(!programs.is_empty(), "nothing that was built is a program: it takes a src/main.rs, --bin or --example");
    Ok(programs)
}

/// What an artifact of cargo was built from, and the executable, if it is a program.
fn program(artifact: &Artifact) -> Option<((String, String), PathBuf)> {
    let kind = artifact.target.kind.iter().map(ToString::to_string).find(|kind| kind == "bin" || kind == "example")?;
    let path = artifact.executable.as_ref()?;
    Some(((kind, artifact.target.name.clone()), path.clone().into()))
}

/// A program that carries its images.
pub(crate) struct Bundled {
    pub(crate) file: PathBuf,
    /// The name of each target, and the bytes of its image plain and packed.
    pub(crate) images: Vec<(String, u64, u64)>,
}

/// Builds the programs of a job for all targets and puts the images of each into one file.
pub(crate) fn bundles(work: &Work, job: &Job, output: &Path, packing: Packing, quiet: bool) -> Result<Vec<Bundled>> {
    let own = target::own(&work.facts.toolchain.host);
    // First that of this machine, so that a fault in the program is seen soon.
    let mut targets = vec![own.clone()];
    targets.extend(work.targets.iter().filter(|target| **target != own).cloned());
    let mut built = BTreeMap::new();
    // Before anything is built, because a build takes minutes.
    for target in &targets {
        plan::step("build", target, job, &work.facts)?;
    }
    for target in &targets {
        built.insert(target.clone(), compile(target, job, &work.facts)?);
    }
    fs::create_dir_all(output).with_context(|| output.display().to_string())?;
    let mut bundles = Vec::new();
    let programs = &built[&own];
    for (key, program) in programs {
        let read = |path: &Path| fs::read(path).with_context(|| path.display().to_string());
        let plain = read(program)?;
        if !own::has_library(&plain) {
            ensure!(programs.len() > 1, "{} does not use the library offshoot", key.1);
            say(quiet, &format!("{} does not use the library offshoot, and is left out", key.1));
            continue;
        }
        let mut images = Vec::new();
        for target in &work.targets {
            let path = built[target].get(key).with_context(|| format!("{} was not built for {target}", key.1))?;
            let image = read(path)?;
            own::check_image(target, &image, &plain).map_err(|why| anyhow::anyhow!("{}: {why}", path.display()))?;
            for remark in remarks(target, &image, &work.facts) {
                say(quiet, &format!("note: {} for {target}: {remark}", key.1));
            }
            images.push((target.clone(), image));
        }
        let file = output.join(&key.1);
        let tell = |target: &str, image: &[u8]| {
            if packing == Packing::Smallest {
                say(quiet, &format!("packing {} for {target}, {}", key.1, size(image.len() as u64)));
            }
        };
        let entries = own::write(program, &images, &file, packing, tell).map_err(anyhow::Error::msg)?;
        let images = entries.iter().map(|entry| (entry.triple.clone(), entry.size, entry.packed)).collect();
        bundles.push(Bundled { file, images });
    }
    if bundles.is_empty() {
        bail!("no program that was built uses the library offshoot");
    }
    Ok(bundles)
}

/// What is not wrong with an image and still makes it a bad one.
fn remarks(target: &str, image: &[u8], facts: &Facts) -> Vec<String> {
    let mut remarks = own::remarks(image);
    let is_ours = target::is_made_position_independent(target) && facts.linker_of_user(target).is_none();
    if is_ours
        && remarks.is_empty()
        && let Err(why) = Headers::check(image)
    {
        remarks.push(format!(
            "{why}: do flags for rustc in a configuration or in the environment change how it is linked?"
        ));
    }
    remarks
}

/// Where bundles are by default.
pub(crate) fn directory(work: &Work, job: &Job) -> PathBuf {
    let profile = if job.profile == "dev" { "debug" } else { &job.profile };
    work.project.target_directory.join("offshoot").join(profile)
}

/// Tells about the progress on stderr.
#[expect(clippy::print_stderr, reason = "it is what this is for")]
pub(crate) fn say(quiet: bool, text: &str) {
    if !quiet {
        eprintln!("cargo offshoot: {text}");
    }
}

/// A size for readers.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1_048_576 => format!("{:.0} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_come_from_the_command_line_or_the_manifest_and_more_can_be_added() {
        let of = |targets: &[&str], also: &[&str]| Targets {
            targets: targets.iter().map(|word| (*word).to_owned()).collect(),
            also: also.iter().map(|word| (*word).to_owned()).collect(),
        };
        let manifest = ["i686-unknown-linux-musl".to_owned()];
        assert_eq!(wanted(&of(&[], &[]), None).unwrap(), target::USUAL);
        assert_eq!(wanted(&of(&[], &[]), Some(&manifest)).unwrap(), manifest);
        assert_eq!(wanted(&of(&["aarch64"], &[]), Some(&manifest)).unwrap(), ["aarch64-unknown-linux-musl"]);
        let both = wanted(&of(&[], &["Linux-armv7l", "i686"]), Some(&manifest)).unwrap();
        assert_eq!(both, ["i686-unknown-linux-musl", "armv7-unknown-linux-musleabihf"]);
        assert!(wanted(&of(&["vax"], &[]), None).is_err());
    }

    #[test]
    fn a_host_without_an_image_is_told_a_target_exactly_if_there_is_one() {
        for (system, processors, has_target) in [
            ("Linux", "x86_64 aarch64 i686 i586 armv7l armv8l armv6l riscv64 ppc64le ppc64 s390x loongarch64", true),
            ("FreeBSD", "amd64", true),
            ("Darwin", "x86_64 arm64", true),
            ("Linux", "i486 armv5tel mips mips64 ppc sparc64 riscv32 alpha vax", false),
            ("FreeBSD", "arm64 i386", false),
            ("Darwin", "i386", false),
            ("Plan9", "x86_64", false),
        ] {
            for processor in processors.split(' ') {
                let word = format!("{system}-{processor}");
                assert_eq!(own::has_target(system, processor), has_target, "{word}");
                assert_eq!(target::named(&word).is_ok(), has_target, "{word}");
            }
        }
    }

    #[test]
    fn sizes_are_rounded() {
        assert_eq!((size(900 * 1024), size(3 << 19)), ("900 KiB".to_owned(), "1.5 MiB".to_owned()));
    }
}
