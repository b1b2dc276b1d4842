//! `doctor`: what this machine has for building, what it lacks, and what to do.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Result;

use super::args::{Doctor, How};
use super::build::Work;
use super::plan::{self, Facts, GET_ZIG};
use super::project::Project;
use super::target::{self, Linker};
use super::toolchain::on_path;

/// The oldest version of rustc that the library takes: 1.88.
const OLDEST: u32 = 88;

/// One line of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Finding {
    Good(String),
    /// It works, and could be better.
    Note(String),
    /// Something is missing: what, and what to do.
    Bad(String, String),
}

/// What is asked of this machine, beside [`Facts`].
#[derive(Debug, Clone, PartialEq, Eq)]
struct Tools {
    rustup: bool,
    /// What links build scripts.
    cc: bool,
    rust_lld: bool,
    /// The targets that have a standard library.
    installed: Vec<String>,
}

pub(crate) fn doctor(args: &Doctor) -> Result<ExitCode> {
    let how = How { offline: false, ..How::default() };
    let work = Work::new(&args.selection, &how, &args.targets)?;
    let toolchain = &work.facts.toolchain;
    let own = target::own(&toolchain.host);
    let mut targets = vec![own.clone()];
    targets.extend(work.targets.iter().filter(|target| **target != own).cloned());
    let tools = Tools {
        rustup: on_path("rustup").is_some(),
        cc: on_path("cc").is_some(),
        rust_lld: toolchain.rust_lld().exists(),
        installed: targets.iter().filter(|target| toolchain.has(target)).cloned().collect(),
    };
    let findings = findings(&work.facts, &tools, &work.project, &targets);
    print(&text(&findings));
    Ok(ExitCode::from(u8::from(findings.iter().any(|finding| matches!(finding, Finding::Bad(..))))))
}

#[expect(clippy::print_stdout, reason = "the answer of a command")]
fn print(text: &str) {
    print!("{text}");
}

fn findings(facts: &Facts, tools: &Tools, project: &Project, targets: &[String]) -> Vec<Finding> {
    let mut findings = vec![of_rustc(facts), of_rustup(tools)];
    findings.push(match tools.cc {
        true => Finding::Good("cc links build scripts and macros for this machine".into()),
        false => Finding::Bad(
            "there is no `cc`, which rustc needs to link build scripts for this machine".into(),
            "install gcc or clang, such as by `apt install gcc`".into(),
        ),
    });
    findings.push(of_library(project));
    for target in targets {
        findings.push(of_target(facts, tools, target));
    }
    match (&project.in_c[..], &facts.zig) {
        ([], _) => {}
        (names, zig) => {
            let names = names.join(", ");
            let by = if zig.is_some() { "zig compiles it" } else { "no zig is here" };
            findings.push(Finding::Note(format!("C is compiled for {names}; {by}")));
        }
    }
    findings
}

fn of_rustc(facts: &Facts) -> Finding {
    let first = facts.toolchain.version.lines().next().unwrap_or_default();
    if facts.toolchain.minor < OLDEST {
        return Finding::Bad(
            format!("{first} is too old: the library takes 1.{OLDEST} or later"),
            "run `rustup update`".into(),
        );
    }
    Finding::Good(first.to_owned())
}

fn of_rustup(tools: &Tools) -> Finding {
    match tools.rustup {
        true => Finding::Good("rustup adds targets".into()),
        false => Finding::Note(
            "there is no rustup: targets have to be installed in another way; https://rustup.rs installs it".into(),
        ),
    }
}

fn of_library(project: &Project) -> Finding {
    match &project.library {
        None => Finding::Bad(
            format!("{} does not use the library", project.names.join(", ")),
            "run `cargo add offshoot --no-default-features`".into(),
        ),
        Some((version, features)) if features.iter().any(|feature| feature == "cli") => Finding::Note(format!(
            "offshoot {version} is built with its feature `cli`, which makes each image larger; `default-features = false` \
             leaves it out"
        )),
        Some((version, _)) => Finding::Good(format!("offshoot {version}")),
    }
}

fn of_target(facts: &Facts, tools: &Tools, target: &str) -> Finding {
    if !tools.installed.iter().any(|installed| installed == target) {
        let advice = match tools.rustup {
            true => format!("`cargo offshoot build` installs it, or `rustup target add {target}`"),
            false => "install it beside rustc".to_owned(),
        };
        return Finding::Bad(format!("{target}: there is no standard library for it"), advice);
    }
    let linker = target::linker(target, &facts.toolchain.host);
    let of_user = facts.linker_of_user(target);
    if linker == Linker::Rustc && of_user.is_none() && !tools.rust_lld {
        let variable = format!("CARGO_TARGET_{}_LINKER", target::in_variables(target).to_uppercase());
        let why = format!("{target}: this toolchain has no rust-lld, which links for it");
        return Finding::Bad(why, format!("use a toolchain of rustup, or name a linker by {variable}"));
    }
    let job = plan::Job {
        selection: Vec::new(),
        cargo: Vec::new(),
        profile: "release".into(),
        strip: plan::Strip::Symbols,
        build_id: None,
    };
    match plan::step("build", target, &job, facts) {
        Err(why) => {
            let why = why.to_string();
            let (what, advice) = why.split_once(": ").unwrap_or((&why, GET_ZIG));
            Finding::Bad(format!("{target}: {what}"), advice.to_owned())
        }
        Ok(_) => Finding::Good(format!(
            "{target}: standard library, linked by {}",
            match (of_user, linker) {
                (Some(name), _) => format!("{name}, which is configured"),
                (None, Linker::Rustc) => "rust-lld".into(),
                (None, Linker::Zig) => "zig".into(),
                (None, Linker::Native) => "cc".into(),
            }
        )),
    }
}

fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        // Writing to a string does not fail.
        let _ = match finding {
            Finding::Good(what) => writeln!(text, "ok       {what}"),
            Finding::Note(what) => writeln!(text, "note     {what}"),
            Finding::Bad(what, advice) => writeln!(text, "MISSING  {what}\n         {advice}"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::plan::Zig;
    use super::super::toolchain::Toolchain;
    use super::*;

    fn tools() -> Tools {
        Tools { rustup: true, cc: true, rust_lld: true, installed: vec!["x86_64-unknown-linux-musl".into()] }
    }

    fn project() -> Project {
        Project {
            root: "/w".into(),
            target_directory: "/w/target".into(),
            names: vec!["disk-0.1.0".into()],
            default_run: None,
            targets: None,
            budget: None,
            in_c: Vec::new(),
            sources: Vec::new(),
            library: Some(("0.1.0".into(), Vec::new())),
        }
    }

    fn answer(facts: &Facts, tools: &Tools, project: &Project, target: &str) -> String {
        text(&findings(facts, tools, project, &[target.to_owned()]))
    }

    #[test]
    fn a_machine_that_has_everything_is_told_so() {
        let text = answer(&Facts::sample(), &tools(), &project(), "x86_64-unknown-linux-musl");
        let lines: Vec<_> = text.lines().collect();
        assert!(lines.iter().all(|line| line.starts_with("ok  ")) && lines.len() == 5, "{text}");
        assert_eq!(lines[4], "ok       x86_64-unknown-linux-musl: standard library, linked by rust-lld");
    }

    #[test]
    fn what_is_missing_comes_with_what_to_do() {
        let musl = "x86_64-unknown-linux-musl";
        let old = Facts { toolchain: Toolchain { minor: 87, ..Facts::sample().toolchain }, ..Facts::sample() };
        let in_c = Facts { in_c: vec!["openssl-sys".into()], ..Facts::sample() };
        let without = Project { library: None, ..project() };
        let gnu = "aarch64-unknown-linux-gnu";
        let installed = Tools { installed: vec![gnu.into()], ..tools() };
        for (text, says) in [
            (
                answer(&old, &tools(), &project(), musl),
                "too old: the library takes 1.88 or later\n         run `rustup update`",
            ),
            (answer(&Facts::sample(), &Tools { cc: false, ..tools() }, &project(), musl), "install gcc or clang"),
            (answer(&Facts::sample(), &tools(), &without, musl), "run `cargo add offshoot --no-default-features`"),
            (answer(&Facts::sample(), &tools(), &project(), gnu), "`rustup target add aarch64-unknown-linux-gnu`"),
            (answer(&Facts::sample(), &installed, &project(), gnu), "pip install ziglang cargo-zigbuild"),
            (
                answer(&Facts::sample(), &Tools { rust_lld: false, ..tools() }, &project(), musl),
                "use a toolchain of rustup",
            ),
            (answer(&in_c, &tools(), &project(), musl), "openssl-sys compiles C, and there is no C compiler"),
        ] {
            assert!(text.contains("MISSING  ") && text.contains(says), "{says}: {text}");
        }
    }

    #[test]
    fn what_could_be_better_is_no_fault() {
        let large = Project { library: Some(("0.1.0".into(), vec!["cli".into()])), ..project() };
        let text = answer(&Facts::sample(), &Tools { rustup: false, ..tools() }, &large, "x86_64-unknown-linux-musl");
        assert!(text.contains("note     offshoot 0.1.0 is built with its feature `cli`"), "{text}");
        assert!(text.contains("note     there is no rustup") && !text.contains("MISSING"), "{text}");
        let zig = Some(Zig { driver: "/z".into(), env: Vec::new() });
        let in_c = Project { in_c: vec!["openssl-sys".into()], ..project() };
        let facts = Facts { zig, in_c: in_c.in_c.clone(), ..Facts::sample() };
        let text = answer(&facts, &tools(), &in_c, "x86_64-unknown-linux-musl");
        assert!(text.contains("note     C is compiled for openssl-sys; zig compiles it"), "{text}");
    }
}
