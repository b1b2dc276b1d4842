//! Finds everything that one test has started, on every host, and what is left of it.
//!
//! A process belongs to a trace if its arguments or its environment contain one of the trace's needles, or if
//! it was once seen to descend from a process that belongs to it. Needles are a mark that the test gives to
//! its program, an argument of a command that it runs, and the nonce of each connect. The nonces are found in
//! command lines.

use std::collections::{BTreeSet, HashMap};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};

use super::process::{Process, below};
use super::{promised, wait_for};

#[derive(Debug, Default)]
pub(crate) struct Trace {
    needles: BTreeSet<String>,
    /// The beginning of the names of directories that first stages of this test have made.
    directories: BTreeSet<String>,
    /// The directories in which such directories may be.
    places: Vec<PathBuf>,
    /// The file into which a wrapper writes the commands of launchers, if there is one.
    notes: Option<PathBuf>,
    /// Processes that were seen, each with its pid and start time.
    seen: HashMap<i32, u64>,
    /// Processes that are allowed to stay. Their zombie children are not.
    exempt: Vec<i32>,
}

impl Trace {
    pub(crate) fn new(mark: &str) -> Self {
        let exempt = vec![i32::try_from(std::process::id()).unwrap_or(0)];
        Self { needles: BTreeSet::from([mark.to_owned()]), exempt, ..Self::default() }
    }

    pub(crate) fn with_needle(mut self, needle: &str) -> Self {
        self.needles.insert(needle.to_owned());
        self
    }

    pub(crate) fn with_places(mut self, places: &[PathBuf]) -> Self {
        self.places = places.to_vec();
        self
    }

    pub(crate) fn with_notes(mut self, notes: PathBuf) -> Self {
        self.notes = Some(notes);
        self
    }

    /// Allows a process to stay.
    pub(crate) fn exempt(&mut self, pid: u32) {
        self.exempt.extend(i32::try_from(pid));
    }

    /// Undoes that.
    pub(crate) fn exempt_no_more(&mut self, pid: u32) {
        self.exempt.retain(|exempt| u32::try_from(*exempt) != Ok(pid));
    }

    /// Finds the processes that belong to the trace now, and remembers them.
    pub(crate) fn look(&mut self) -> Vec<Process> {
        self.read_notes();
        // A process can contain a nonce, and the nonce can lead to processes elsewhere.
        loop {
            let all = Process::all();
            let ours = self.ours(&all);
            let known = self.needles.len();
            for process in &ours {
                process.argv.iter().for_each(|word| self.learn(word));
            }
            if self.needles.len() == known {
                self.seen.extend(ours.iter().map(|process| (process.pid, process.started)));
                return ours;
            }
        }
    }

    /// The existing directories that this trace may have made, each by one of its paths.
    pub(crate) fn directories(&self) -> Vec<PathBuf> {
        let all = self.places.iter().flat_map(|place| std::fs::read_dir(place).into_iter().flatten().flatten());
        let all = all.filter(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            self.directories.iter().any(|start| name.starts_with(start))
        });
        let all = all.map(|entry| entry.path());
        let mut known = BTreeSet::new();
        let is_new = |path: &PathBuf| {
            path.symlink_metadata().is_ok_and(|metadata| known.insert((metadata.dev(), metadata.ino())))
        };
        all.filter(is_new).collect()
    }

    /// Everything that is left: processes, zombies and directories.
    pub(crate) fn left(&mut self) -> Vec<String> {
        let mut left: Vec<String> =
            self.look().iter().filter(|process| !process.is_zombie()).map(ToString::to_string).collect();
        for process in Process::all() {
            let was_seen = self.seen.get(&process.pid) == Some(&process.started);
            // A process whose parent is PID 1 is reaped by it at some time.
            let is_stray = process.is_zombie() && process.parent > 1 && was_seen;
            let is_unreaped = process.is_zombie() && self.exempt[1..].contains(&process.parent);
            if is_stray || is_unreaped {
                left.push(process.to_string());
            }
        }
        left.extend(self.directories().iter().map(|path| path.display().to_string()));
        left
    }

    /// Waits until nothing is left, for at most the promised time.
    ///
    /// # Errors
    ///
    /// If the time is up. Names what is left.
    pub(crate) fn expect_nothing_left(&mut self, promise: Duration) -> Result<()> {
        let within = promised(promise);
        if wait_for(within, || self.left().is_empty().then_some(())).is_none() {
            let left = self.left();
            if !left.is_empty() {
                bail!("left after {within:?}:\n    {}", left.join("\n    "));
            }
        }
        Ok(())
    }

    fn ours(&self, all: &[Process]) -> Vec<Process> {
        let mut ours: HashMap<i32, &Process> = HashMap::new();
        for process in all {
            let was_seen = self.seen.get(&process.pid) == Some(&process.started);
            if was_seen || self.needles.iter().any(|needle| process.mentions(needle)) {
                ours.insert(process.pid, process);
                ours.extend(below(process.pid, all).into_iter().map(|process| (process.pid, process)));
            }
        }
        ours.into_values().filter(|process| !self.exempt.contains(&process.pid)).cloned().collect()
    }

    fn read_notes(&mut self) {
        let notes = self.notes.as_ref().and_then(|path| std::fs::read_to_string(path).ok());
        notes.iter().for_each(|notes| self.learn(notes));
    }

    /// Finds nonces in a command line.
    fn learn(&mut self, text: &str) {
        let staged = text.match_indices("A=").filter_map(|(at, _)| {
            let rest = &text[at + 2..];
            Some((rest.get(..HALF)?, rest.get(HALF..)?.strip_prefix(" B=")?.get(..HALF)?))
        });
        let child = text.strip_prefix("offshoot-child:").and_then(|rest| {
            let (a, b) = rest.split_once(':')?;
            Some((a, b.get(..HALF)?))
        });
        for (a, b) in staged.chain(child).collect::<Vec<_>>() {
            if [a, b].iter().all(|half| half.bytes().all(|byte| byte.is_ascii_hexdigit())) {
                self.needles.insert(a.to_owned());
                self.directories.insert(format!(".offshoot-{a}-"));
            }
        }
    }
}

/// The length of each half of a nonce.
const HALF: usize = 16;
