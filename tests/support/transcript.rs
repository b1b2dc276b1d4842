//! Runs the transcripts in the documentation, which are commands and their output, and compares the output.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Transcripts that need more than this machine: the page, and the beginning of the first command. A trial on
/// hosts runs them.
pub(crate) const ON_HOSTS: [(&str, &str); 1] =
    [("docs/guide/troubleshooting.md", "offshoot doctor nosuchhost.invalid")];

/// A fenced block of a page.
pub(crate) struct Block {
    pub(crate) page: String,
    /// The index of its first line, counted from 0.
    pub(crate) at: usize,
    pub(crate) lines: Vec<String>,
}

impl Block {
    pub(crate) fn begins_with(&self, page: &str, text: &str) -> bool {
        self.page == page && self.lines.first().is_some_and(|line| line.trim_start_matches("$ ").starts_with(text))
    }

    pub(crate) fn is_on_hosts(&self) -> bool {
        ON_HOSTS.iter().any(|(page, text)| self.begins_with(page, text))
    }

    /// Runs its commands. If the output differs, returns the lines that the block must have.
    fn run(&self, directory: &Path) -> Result<Option<Vec<String>>> {
        let (mut lines, mut is_right) = (Vec::new(), true);
        for step in self.lines.chunk_by(|_, next| !next.starts_with("$ ")) {
            let (command, expected) = step.split_first().context("a command")?;
            let printed = printed(command.trim_start_matches("$ "), directory)?;
            lines.push(command.clone());
            if same(command, expected, &printed) {
                lines.extend_from_slice(expected);
            } else {
                is_right = false;
                lines.extend(printed);
            }
        }
        Ok((!is_right).then_some(lines))
    }
}

/// The blocks of the README, of the guide and of the reference.
pub(crate) fn blocks() -> Result<Vec<Block>> {
    let root = root();
    let mut pages = vec![PathBuf::from("README.md")];
    for directory in ["docs/guide", "docs/reference"] {
        for entry in std::fs::read_dir(root.join(directory))? {
            pages.push(Path::new(directory).join(entry?.file_name()));
        }
    }
    // It shows Python beside Rust: the Rust is a test of the documentation.
    pages.retain(|page| !page.ends_with("from-mitogen.md"));
    pages.sort();
    let mut blocks = Vec::new();
    for page in pages {
        let text = std::fs::read_to_string(root.join(&page))?;
        let lines: Vec<&str> = text.lines().collect();
        let mut open = None;
        for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.starts_with("```")) {
            open = match open {
                None => Some(at + 1),
                Some(begin) => {
                    ensure!(*line == "```", "{}:{}: a block inside a block", page.display(), at + 1);
                    let lines = lines[begin..at].iter().map(|line| (*line).to_owned()).collect();
                    blocks.push(Block { page: page.display().to_string(), at: begin, lines });
                    None
                }
            };
        }
    }
    Ok(blocks)
}

/// Runs transcripts and compares. With `OFFSHOOT_UPDATE_TRANSCRIPTS` set, writes the real output into the
/// pages.
pub(crate) fn check(blocks: &[Block]) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let dist = directory.path().join("dist");
    std::fs::create_dir(&dist)?;
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_offshoot"), dist.join("offshoot"))?;
    let other = option_env!("CARGO_BIN_EXE_cargo-offshoot").context("needs the feature cargo")?;
    std::os::unix::fs::symlink(other, dist.join("cargo-offshoot"))?;
    let update = std::env::var_os("OFFSHOOT_UPDATE_TRANSCRIPTS").is_some();
    let mut wrong = String::new();
    // The last block comes first, so that line numbers stay valid while pages change.
    for block in blocks.iter().rev() {
        // On a busy machine a host can be so late that the summary names it as slow.
        let (mut tries, mut differs) = (0, block.run(directory.path())?);
        while differs.is_some() && !update && tries < 2 {
            (tries, differs) = (tries + 1, block.run(directory.path())?);
        }
        let Some(lines) = differs else { continue };
        if update {
            let page = root().join(&block.page);
            let text = std::fs::read_to_string(&page)?;
            let mut all: Vec<&str> = text.lines().collect();
            all.splice(block.at..block.at + block.lines.len(), lines.iter().map(String::as_str));
            std::fs::write(page, all.join("\n") + "\n")?;
        } else {
            let (shown, printed) = (block.lines.join("\n"), lines.join("\n"));
            write!(wrong, "\n{}:{}: shown is\n{shown}\nand this is printed:\n{printed}\n", block.page, block.at + 1)?;
        }
    }
    ensure!(wrong.is_empty(), "{wrong}\nOFFSHOOT_UPDATE_TRANSCRIPTS=1 writes what is printed into the pages");
    Ok(())
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a command and returns the lines of both streams.
fn printed(command: &str, directory: &Path) -> Result<Vec<String>> {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("{{ {command}\n}} 2>&1")).current_dir(directory).stdin(Stdio::null());
    shell
        .env("PATH", format!("{}:{path}", directory.join("dist").display()))
        // What a run keeps for the next one is not the user's, and neither is its configuration.
        .env("XDG_STATE_HOME", directory)
        .env("XDG_CONFIG_HOME", directory.join("config"))
        .env_remove("COLUMNS")
        .env_remove("NO_COLOR");
    let output = shell.output().with_context(|| command.to_owned())?;
    Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
}

/// Whether the output matches the page. Times may differ, and so may the order of hosts.
fn same(command: &str, shown: &[String], printed: &[String]) -> bool {
    let sorted = |lines: &[String]| {
        let mut lines: Vec<String> = lines.iter().map(|line| without_times(line)).collect();
        if command.contains("offshoot run") {
            lines.sort_unstable();
        }
        lines
    };
    sorted(shown) == sorted(printed)
}

/// Replaces each number that has a point by `#`. These numbers are times.
fn without_times(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let number = &rest[at..];
        let end = number.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(number.len());
        text.push_str(&rest[..at]);
        let number = &number[..end];
        text.push_str(if number.trim_end_matches('.').matches('.').count() == 1 { "#" } else { number });
        rest = &rest[at + end..];
    }
    text + rest
}

#[test]
fn times_are_no_matter_and_other_numbers_are() {
    assert_eq!(without_times("3 hosts: 3 ok in 0.0 s, \"time\":1795897012.712,"), "3 hosts: 3 ok in # s, \"time\":#,");
    assert_eq!(without_times("10.0.0.1 web1"), "10.0.0.1 web1");
}
