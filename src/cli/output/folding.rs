//! Lines that several hosts print at about the same time, shown once: `web[01-37]: ok`.
//!
//! Lines wait for a short time. Then equal lines are joined. The lines of one host keep their order.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use crate::cli::hosts::fold::fold;
use crate::cli::output::report::Stream;

/// How long a line waits for equal lines of other hosts: so short that people still see it as live, and longer than
/// hosts of one network differ.
pub(crate) const WINDOW: Duration = Duration::from_millis(200);
/// When this many bytes wait, they wait no longer.
const MAX_WAITING: usize = 1 << 20;

/// Lines that wait.
#[derive(Debug, Default)]
pub(crate) struct Folding {
    waiting: BTreeMap<usize, VecDeque<Item>>,
    arrived: u64,
    bytes: usize,
}

/// A line of a host.
#[derive(Debug)]
struct Item {
    line: Key,
    /// What comes before the host, such as a time. It does not matter for being equal.
    prefix: String,
    /// Counts the lines of all hosts.
    arrived: u64,
}

/// What is equal in lines that are joined.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    to: Stream,
    is_notice: bool,
    body: Rc<[u8]>,
}

/// A line to show, with its hosts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Folded {
    pub(crate) to: Stream,
    /// Whether the tool itself says this of the hosts.
    pub(crate) is_notice: bool,
    pub(crate) prefix: String,
    /// The first host.
    pub(crate) first: usize,
    pub(crate) hosts: Rc<str>,
    pub(crate) body: Rc<[u8]>,
}

/// Hosts whose next line is the same.
#[derive(Debug)]
struct Front {
    line: Key,
    prefix: String,
    hosts: Vec<usize>,
}

impl Folding {
    /// Adds a line of a host, without its end.
    pub(crate) fn push(&mut self, host: usize, to: Stream, is_notice: bool, prefix: String, body: &[u8]) {
        self.arrived += 1;
        self.bytes += body.len();
        let line = Key { to, is_notice, body: body.into() };
        self.waiting.entry(host).or_default().push_back(Item { line, prefix, arrived: self.arrived });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether so much waits that it has to be shown now.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes > MAX_WAITING
    }

    /// The hosts that have lines here.
    pub(crate) fn hosts(&self) -> Vec<usize> {
        self.waiting.keys().copied().collect()
    }

    /// Takes all lines. After a line of some hosts, the next line of the same hosts comes first; otherwise the line
    /// that has waited longest.
    pub(crate) fn take(&mut self, name: impl Fn(usize) -> String) -> Vec<Folded> {
        self.bytes = 0;
        let mut waiting = std::mem::take(&mut self.waiting);
        let mut fronts = Fronts::default();
        let hosts: Vec<usize> = waiting.keys().copied().collect();
        for host in hosts {
            fronts.add(host, &mut waiting);
        }
        let (mut all, mut preferred, mut last) = (Vec::new(), None, (Vec::new(), Rc::from("")));
        while let Some(mut front) = fronts.remove(preferred.take()) {
            front.hosts.sort_unstable();
            if last.0 != front.hosts {
                let names: Vec<String> = front.hosts.iter().map(|host| name(*host)).collect();
                last = (front.hosts.clone(), fold(&names).into());
            }
            let Front { line: Key { to, is_notice, body }, prefix, hosts } = front;
            all.push(Folded { to, is_notice, prefix, first: hosts[0], hosts: Rc::clone(&last.1), body });
            let mut places = hosts.iter().map(|host| fronts.add(*host, &mut waiting)).collect::<Vec<_>>();
            places.dedup();
            if let [Some(place)] = places[..]
                && fronts.size(place) == hosts.len()
            {
                preferred = Some(place);
            }
        }
        all
    }
}

/// The next lines of all hosts.
#[derive(Debug, Default)]
struct Fronts {
    by_arrival: BTreeMap<u64, Front>,
    places: HashMap<Key, u64>,
}

impl Fronts {
    /// Adds the next line of a host. Returns its place.
    fn add(&mut self, host: usize, waiting: &mut BTreeMap<usize, VecDeque<Item>>) -> Option<u64> {
        let Item { line, prefix, arrived } = waiting.get_mut(&host)?.pop_front()?;
        let place = *self.places.entry(line.clone()).or_insert(arrived);
        let front = self.by_arrival.entry(place).or_insert_with(|| Front { line, prefix, hosts: Vec::new() });
        front.hosts.push(host);
        Some(place)
    }

    fn size(&self, place: u64) -> usize {
        self.by_arrival.get(&place).map_or(0, |front| front.hosts.len())
    }

    fn remove(&mut self, place: Option<u64>) -> Option<Front> {
        let (_, front) = match place {
            Some(place) => self.by_arrival.remove_entry(&place)?,
            None => self.by_arrival.pop_first()?,
        };
        self.places.remove(&front.line);
        Some(front)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn folded(lines: &[(usize, &str)]) -> Vec<String> {
        let mut folding = Folding::default();
        for (host, line) in lines {
            folding.push(*host, Stream::Stdout, false, String::new(), line.as_bytes());
        }
        assert_eq!(folding.is_empty(), lines.is_empty());
        let taken = folding.take(|host| format!("web{host}"));
        assert!(folding.is_empty());
        taken.iter().map(|line| format!("{}: {}", line.hosts, String::from_utf8_lossy(&line.body))).collect()
    }

    #[test]
    fn equal_lines_are_shown_once_and_the_odd_ones_apart() {
        assert_eq!(folded(&[(1, "ok"), (2, "ok"), (3, "no"), (4, "ok")]), ["web[1-2,4]: ok", "web3: no"]);
        assert_eq!(folded(&[]), [""; 0]);
    }

    #[test]
    fn lines_of_the_same_hosts_stay_together() {
        let lines = [(1, "a"), (3, "x"), (2, "a"), (1, "b"), (2, "b"), (3, "y"), (3, "z"), (1, "c")];
        assert_eq!(folded(&lines), ["web[1-2]: a", "web[1-2]: b", "web3: x", "web3: y", "web3: z", "web1: c"]);
    }

    #[test]
    fn a_line_on_another_stream_is_another_line() {
        let mut folding = Folding::default();
        for (host, to) in [(1, Stream::Stdout), (2, Stream::Stderr), (3, Stream::Stdout)] {
            folding.push(host, to, false, format!("at {host} "), b"ok");
        }
        let taken = folding.take(|host| host.to_string());
        let brief: Vec<_> =
            taken.iter().map(|line| (line.to, line.prefix.as_str(), line.first, &*line.hosts)).collect();
        assert_eq!(brief, [(Stream::Stdout, "at 1 ", 1, "[1,3]"), (Stream::Stderr, "at 2 ", 2, "2")]);
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut folding = Folding::default();
        folding.push(1, Stream::Stdout, false, String::new(), &vec![b'x'; MAX_WAITING]);
        assert!(!folding.is_full());
        folding.push(1, Stream::Stdout, false, String::new(), b"x");
        assert!(folding.is_full() && folding.hosts() == [1]);
        folding.take(|host| host.to_string());
        assert!(!folding.is_full());
    }

    proptest! {
        #[test]
        fn every_host_keeps_its_lines_in_their_order(lines in prop::collection::vec((0..4_usize, "[ab]"), 0..30)) {
            let mut folding = Folding::default();
            for (host, line) in &lines {
                folding.push(*host, Stream::Stdout, false, String::new(), line.as_bytes());
            }
            let names = ["w", "x", "y", "z"];
            let taken = folding.take(|host| names[host].to_owned());
            for (host, name) in names.iter().enumerate() {
                let own: Vec<&[u8]> = lines.iter().filter(|(h, _)| *h == host).map(|(_, line)| line.as_bytes()).collect();
                let shown: Vec<&[u8]> =
                    taken.iter().filter(|line| line.hosts.split(',').any(|host| host == *name)).map(|line| &*line.body).collect();
                prop_assert_eq!(shown, own);
            }
        }
    }
}
