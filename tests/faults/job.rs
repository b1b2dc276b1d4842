//! The main jobs: what the tool is told to do, what lies there before, and what has to be there after it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::fault::{HONEST, LINKS};

/// What the tool does on each host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Job {
    /// A command prints on both streams and ends with 0.
    Run,
    /// The same, and it ends with 7.
    Fail,
    /// The same with more output than windows have room for.
    Bulk,
    /// Stdin goes to all hosts, and each sends it back.
    Feed,
    Call,
    Push,
    Pull,
}

/// What `Feed` writes.
const INPUT: usize = 150_000;
/// A file of the tree that is copied: its name, and the sizes of its old and its new content.
const FILES: [(&str, usize, usize); 4] =
    [("small", 300, 400), ("empty", 10, 0), ("sub/middle", 7_000, 6_000), ("sub/large", 90_000, 150_000)];
/// What an old tree lacks.
const NEW: (&str, usize) = ("new", 5_000);

/// What a file of the tree may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Age {
    Old,
    New,
}

impl Job {
    pub(crate) const ALL: [Self; 7] =
        [Self::Run, Self::Fail, Self::Bulk, Self::Feed, Self::Call, Self::Push, Self::Pull];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Fail => "fail",
            Self::Bulk => "bulk",
            Self::Feed => "feed",
            Self::Call => "call",
            Self::Push => "push",
            Self::Pull => "pull",
        }
    }

    /// The command of the tool, and its last arguments.
    pub(crate) fn words(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Run => ("run", &["-n", "-s", "seq 1 30; seq 31 40 >&2"]),
            Self::Fail => ("run", &["-n", "-s", "seq 1 30; seq 31 40 >&2; exit 7"]),
            Self::Bulk => ("run", &["-n", "-s", "seq 1 60000; seq 1 20000 >&2"]),
            Self::Feed => ("run", &["--", "cat"]),
            Self::Call => ("call", &["host_facts"]),
            Self::Push => ("push", &["from", "to"]),
            Self::Pull => ("pull", &["from", "to"]),
        }
    }

    fn is_copy(self) -> bool {
        matches!(self, Self::Push | Self::Pull)
    }

    /// Makes what a run finds: a home for the tool and for each target of a link, with trees in them.
    pub(crate) fn prepare(self, place: &Path) -> Result<()> {
        for home in [HONEST].iter().chain(&LINKS) {
            fs::create_dir(place.join(home))?;
            if self == Self::Push {
                write_tree(&place.join(home).join("to"), Age::Old)?;
            } else if self == Self::Pull {
                write_tree(&place.join(home).join("from"), Age::New)?;
            }
        }
        match self {
            Self::Push => write_tree(&place.join(HONEST).join("from"), Age::New)?,
            Self::Pull => {
                for host in [HONEST, "web1", "web1+web2"] {
                    write_tree(&place.join(HONEST).join("to").join(host).join("from"), Age::Old)?;
                }
            }
            Self::Feed => fs::write(place.join("input"), input())?,
            _ => {}
        }
        Ok(())
    }

    pub(crate) fn stdin(self, place: &Path) -> Result<Stdio> {
        Ok(if self == Self::Feed { fs::File::open(place.join("input"))?.into() } else { Stdio::null() })
    }

    /// Whether a host has done all of it, by what the tool says of it and by what is there.
    pub(crate) fn check_whole(self, host: &str, said: &Value, place: &Path) -> Result<()> {
        let is_text = |key: &str, text: &str| {
            let arrived = said[key].as_str().unwrap_or_default();
            ensure!(arrived == text, "{} of {} bytes of its {key} have arrived whole", arrived.len(), text.len());
            Ok(())
        };
        let outcome = match self {
            Self::Fail => ("failed", Some(7)),
            Self::Call | Self::Push | Self::Pull => ("ok", None),
            _ => ("ok", Some(0)),
        };
        ensure!((&said["status"], said["code"].as_i64()) == (&outcome.0.into(), outcome.1), "it is not {outcome:?}");
        match self {
            Self::Run | Self::Fail => {
                is_text("stdout", &numbers(1, 30))?;
                is_text("stderr", &numbers(31, 40))
            }
            Self::Bulk => {
                is_text("stdout", &numbers(1, 60_000))?;
                is_text("stderr", &numbers(1, 20_000))
            }
            Self::Feed => is_text("stdout", &input()),
            Self::Call => {
                let facts = &said["result"];
                let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
                ensure!(
                    facts["kernel"] == release.trim() && facts["pid"].is_u64() && facts["os"] == "linux",
                    "{facts}"
                );
                Ok(())
            }
            Self::Push | Self::Pull => {
                let old = old_files(&self.received(host, place))?;
                ensure!(old.is_empty(), "these files are old: {old:?}");
                Ok(())
            }
        }
    }

    /// Whether a received tree has each file whole, the old one or the new one, and no others. `may_have_drafts`: also
    /// files that have not been complete.
    pub(crate) fn check_tree(self, host: &str, place: &Path, may_have_drafts: bool) -> Result<()> {
        if !self.is_copy() {
            return Ok(());
        }
        let tree = self.received(host, place);
        old_files(&tree)?;
        for name in names(&tree, &tree)? {
            let is_known = FILES.iter().any(|(known, ..)| *known == name) || name == NEW.0;
            let is_draft =
                name.rsplit('/').next().is_some_and(|name| name.starts_with('.') && name.ends_with(".offshoot-part"));
            ensure!(is_known || (is_draft && may_have_drafts), "{host} has a file {name}");
        }
        Ok(())
    }

    /// Where a copy of a host arrives.
    fn received(self, host: &str, place: &Path) -> PathBuf {
        let last = host.rsplit('/').next().unwrap_or(host);
        match self {
            Self::Push => place.join(last).join("to"),
            _ => place.join(HONEST).join("to").join(host.replace('/', "+")).join("from"),
        }
    }
}

/// The lines of `seq`.
fn numbers(first: u32, last: u32) -> String {
    (first..=last).map(|number| format!("{number}\n")).collect()
}

fn input() -> String {
    let mut input = numbers(1_000_000, 1_000_000 + INPUT as u32 / 8 - 1);
    input.push_str("end\n");
    input
}

/// The bytes of a file.
fn content(name: &str, age: Age, size: usize) -> Vec<u8> {
    let line = format!("{name} is {age:?}\n");
    line.bytes().cycle().take(size).collect()
}

fn write_tree(tree: &Path, age: Age) -> Result<()> {
    fs::create_dir_all(tree.join("sub"))?;
    for (name, old, new) in FILES {
        fs::write(tree.join(name), content(name, age, if age == Age::Old { old } else { new }))?;
    }
    if age == Age::New {
        fs::write(tree.join(NEW.0), content(NEW.0, age, NEW.1))?;
    }
    Ok(())
}

/// The files of a tree that are not new.
///
/// # Errors
///
/// If a file is neither the old one nor the new one.
fn old_files(tree: &Path) -> Result<Vec<&'static str>> {
    let mut old_files = Vec::new();
    for (name, old, new) in FILES.into_iter().chain([(NEW.0, 0, NEW.1)]) {
        let path = tree.join(name);
        let bytes = match fs::read(&path) {
            Err(_) if name == NEW.0 => {
                old_files.push(name);
                continue;
            }
            bytes => bytes.with_context(|| path.display().to_string())?,
        };
        if bytes == content(name, Age::New, new) {
            continue;
        }
        let is_old = bytes == content(name, Age::Old, old) && name != NEW.0;
        ensure!(is_old, "{name} is neither old nor new: it has {} bytes", bytes.len());
        old_files.push(name);
    }
    Ok(old_files)
}

/// The paths of all files of a tree.
fn names(tree: &Path, directory: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(names(tree, &path)?);
        } else {
            found.push(path.strip_prefix(tree)?.to_string_lossy().into_owned());
        }
    }
    Ok(found)
}
