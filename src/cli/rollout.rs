//! Which host starts next: batches, and the failures after which no more hosts are started. Decisions without
//! I/O.

use crate::cli::batches::Batches;
use crate::cli::share::Share;

/// The order in which the hosts of a run start, and what has become of them.
#[derive(Debug)]
pub(crate) struct Rollout {
    /// Where each batch ends; the current batch comes first.
    ends: std::vec::IntoIter<usize>,
    end: usize,
    hosts: usize,
    /// The hosts before this index have been started.
    started: usize,
    running: usize,
    failed: usize,
    most_failed: Option<usize>,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Start the host with this index.
    Start(usize),
    /// Ask again when a host has ended.
    Wait,
    /// All hosts have been started.
    Done,
    /// No more hosts are started, for this reason.
    Stop(String),
}

impl Rollout {
    /// For this many hosts. Without `batches`, all of them are one batch. Without `max_fail`, failures stop
    /// nothing.
    pub(crate) fn new(hosts: usize, batches: Option<&Batches>, max_fail: Option<Share>) -> Self {
        let mut ends = batches.map_or_else(|| vec![hosts], |batches| batches.ends(hosts)).into_iter();
        let end = ends.next().unwrap_or(hosts);
        let most_failed = max_fail.map(|share| share.of(hosts));
        Self { ends, end, hosts, started: 0, running: 0, failed: 0, most_failed }
    }

    /// Decides what comes next. A host that is to be started counts as started.
    pub(crate) fn next(&mut self) -> Next {
        if self.started == self.hosts {
            return Next::Done;
        }
        if let Some(most) = self.most_failed.filter(|most| self.failed > *most) {
            let hosts = if self.failed == 1 { "1 host has" } else { &format!("{} hosts have", self.failed) };
            return Next::Stop(format!("{hosts} failed, and --max-fail allows {most}"));
        }
        if self.started == self.end {
            if self.running > 0 {
                return Next::Wait;
            }
            self.end = self.ends.next().unwrap_or(self.hosts);
        }
        self.started += 1;
        self.running += 1;
        Next::Start(self.started - 1)
    }

    /// Notes that a host has ended.
    pub(crate) fn ended(&mut self, is_ok: bool) {
        self.running = self.running.saturating_sub(1);
        self.failed += usize::from(!is_ok);
    }

    /// How many hosts have been started: those before this index.
    pub(crate) fn started(&self) -> usize {
        self.started
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rollout(hosts: usize, batches: &str, max_fail: &str) -> Rollout {
        let batches = (!batches.is_empty()).then(|| Batches::parse(batches).unwrap());
        let max_fail = (!max_fail.is_empty()).then(|| Share::parse(max_fail).unwrap());
        Rollout::new(hosts, batches.as_ref(), max_fail)
    }

    #[test]
    fn a_batch_begins_when_the_one_before_is_done() {
        let mut rollout = rollout(4, "1,2", "");
        assert_eq!([rollout.next(), rollout.next()], [Next::Start(0), Next::Wait]);
        rollout.ended(true);
        assert_eq!([rollout.next(), rollout.next(), rollout.next()], [Next::Start(1), Next::Start(2), Next::Wait]);
        rollout.ended(false);
        assert_eq!(rollout.next(), Next::Wait);
        rollout.ended(true);
        assert_eq!([rollout.next(), rollout.next()], [Next::Start(3), Next::Done]);
    }

    #[test]
    fn too_many_failures_stop_the_run() {
        let mut rollout = rollout(10, "2", "10%");
        assert_eq!([rollout.next(), rollout.next()], [Next::Start(0), Next::Start(1)]);
        rollout.ended(false);
        assert_eq!(rollout.next(), Next::Wait, "one of ten may fail");
        rollout.ended(false);
        assert_eq!(rollout.next(), Next::Stop("2 hosts have failed, and --max-fail allows 1".into()));
        assert_eq!(rollout.started(), 2);
    }

    #[test]
    fn failures_of_hosts_that_are_the_last_stop_nothing() {
        let mut rollout = rollout(1, "", "0");
        assert_eq!(rollout.next(), Next::Start(0));
        rollout.ended(false);
        assert_eq!(rollout.next(), Next::Done);
    }

    proptest! {
        /// Hosts end in the order in which they started, at random times.
        #[test]
        fn all_hosts_start_once_or_too_many_have_failed(
            hosts in 0..60_usize,
            batches in prop_oneof![Just(String::new()), "[1-9],[1-9]?[1-9]%,rest", "[1-9]"],
            max_fail in prop_oneof![Just(String::new()), "[0-9]", "[0-9]%"],
            ends in prop::collection::vec(prop::bool::weighted(0.8), 60),
        ) {
            let mut rollout = rollout(hosts, &batches, &max_fail);
            let most = (!max_fail.is_empty()).then(|| Share::parse(&max_fail).unwrap().of(hosts));
            let (mut running, mut ended, mut failed) = (0, 0, 0);
            loop {
                match rollout.next() {
                    Next::Start(index) => {
                        prop_assert_eq!(index, running + ended);
                        prop_assert!(most.is_none_or(|most| failed <= most));
                        running += 1;
                    }
                    Next::Wait => {
                        prop_assert!(running > 0, "it waits for a host");
                        rollout.ended(ends[ended]);
                        failed += usize::from(!ends[ended]);
                        (running, ended) = (running - 1, ended + 1);
                    }
                    Next::Done => {
                        prop_assert_eq!(running + ended, hosts);
                        break;
                    }
                    Next::Stop(_) => {
                        prop_assert!(most.is_some_and(|most| failed > most) && running + ended < hosts);
                        break;
                    }
                }
            }
            prop_assert_eq!(rollout.started(), running + ended);
        }
    }
}
