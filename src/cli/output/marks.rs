//! How much of each host's output is queued. If output is not read, this shows whose output was cut.

use crate::cli::output::pipe::Pipes;
use crate::cli::output::report::{HostEvent, HostIndex};

/// The note about a host whose output was cut, and about the run.
pub(crate) const CUT: &str = "the output was cut: nobody read any of it for 2 s after the run was to end";

/// For each host, how many jobs of stdout and stderr had been queued after its last output.
#[derive(Debug)]
pub(crate) struct Marks(Vec<(u64, u64)>);

impl Marks {
    pub(crate) fn new(hosts: usize) -> Self {
        Self(vec![(0, 0); hosts])
    }

    /// The host whose output an event contains.
    pub(crate) fn owner(event: &HostEvent) -> Option<HostIndex> {
        match event {
            HostEvent::Output { host, .. } | HostEvent::Result { host, .. } => Some(*host),
            HostEvent::Retry { .. } | HostEvent::Exit { .. } | HostEvent::Note(_) => None,
        }
    }

    /// Notes that all output of this host so far is queued.
    pub(crate) fn set(&mut self, HostIndex(index): HostIndex, pipes: &Pipes) {
        if let Some(mark) = self.0.get_mut(index) {
            *mark = (pipes.stdout.queued(), pipes.stderr.queued());
        }
    }

    /// Notes that output of this host will not be written.
    pub(crate) fn lose(&mut self, HostIndex(index): HostIndex) {
        if let Some(mark) = self.0.get_mut(index) {
            *mark = (u64::MAX, u64::MAX);
        }
    }

    /// The hosts whose output still waits to be written.
    pub(crate) fn unwritten(&self, pipes: &Pipes) -> impl Iterator<Item = HostIndex> {
        let waits = |(stdout, stderr): (u64, u64)| !pipes.stdout.has_done(stdout) || !pipes.stderr.has_done(stderr);
        self.0.iter().enumerate().filter(move |(_, mark)| waits(**mark)).map(|(index, _)| HostIndex(index))
    }
}
