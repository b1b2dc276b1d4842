//! Reads the processes of this machine from /proc.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The state of a process at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    pub(crate) state: char,
    /// In ticks since the machine started. Together with the pid it identifies a process for ever.
    pub(crate) started: u64,
    /// Processor time that it and its reaped children have used, in ticks.
    pub(crate) used: u64,
    /// Empty for a zombie. If an emulator runs the process, the emulator is left out.
    pub(crate) argv: Vec<String>,
    /// The environment that the process began with, if it may be read.
    environment: String,
}

impl Process {
    pub(crate) fn all() -> Vec<Self> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        entries.filter_map(|entry| Self::of(entry.file_name().to_str()?.parse().ok()?)).collect()
    }

    /// Reads a process. `None` if there is no such process, or if it has just ended.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is the name in parentheses, which may contain anything.
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split_ascii_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let argv = read("cmdline");
        let words = argv.strip_suffix(b"\0").unwrap_or(&argv).split(|byte| *byte == 0);
        // The kernel puts the emulator and the name of the program before the arguments.
        let emulated = argv.starts_with(b"/usr/bin/qemu-");
        let words = words.skip(if emulated { 2 } else { 0 });
        Some(Self {
            pid,
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            started: number(19)?,
            used: (11..15).map(number).sum::<Option<u64>>()?,
            argv: words.map(|word| String::from_utf8_lossy(word).into_owned()).filter(|_| !argv.is_empty()).collect(),
            environment: String::from_utf8_lossy(&read("environ")).into_owned(),
        })
    }

    pub(crate) fn is_zombie(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }

    /// Whether its arguments or its environment contain this text.
    pub(crate) fn mentions(&self, needle: &str) -> bool {
        self.argv.iter().any(|word| word.contains(needle)) || self.environment.contains(needle)
    }

    /// Whether this is a child context, of the given `remote_name`.
    pub(crate) fn is_context(&self, remote_name: &str) -> bool {
        self.argv.first().is_some_and(|argv0| argv0.strip_prefix("offshoot:") == Some(remote_name))
    }

    pub(crate) fn signal(&self, signal: Signal) -> nix::Result<()> {
        kill(Pid::from_raw(self.pid), signal)
    }
}

/// The processes in `all` that descend from `pid`.
pub(crate) fn below(pid: i32, all: &[Process]) -> Vec<&Process> {
    let mut found: Vec<&Process> = Vec::new();
    let mut parents = vec![pid];
    while let Some(parent) = parents.pop() {
        let children = all.iter().filter(|process| process.parent == parent);
        found.extend(children.inspect(|child| parents.push(child.pid)));
    }
    found
}

impl std::fmt::Display for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let line: String = self.argv.join(" ").chars().take(120).collect();
        write!(f, "process {} ({}, child of {}): {line}", self.pid, self.state, self.parent)
    }
}
