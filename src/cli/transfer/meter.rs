//! How far the copies of a `push` or `pull` are, from what source and sink say to each other.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use crate::builtin::file::tree::message::{BATCH, Piece, ToSink, ToSource, UNANSWERED, What};
use crate::cli::output::progress::Counts;
use crate::cli::output::report::HostIndex;

/// Counts the files and bytes of one host. What the other side claims is not checked here: source and sink refuse
/// what is against the rules, and these numbers are only shown.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    counts: Counts,
    /// The number of the next entry.
    number: u64,
    /// The sizes in the messages that are not answered yet, each after the number of its first entry.
    listed: VecDeque<(u64, Vec<u64>)>,
    /// The sizes of the files that are wanted and have not begun.
    wanted: VecDeque<u64>,
    /// How many bytes of the file that is being sent are missing.
    left: u64,
}

impl Meter {
    /// Takes a message of the source.
    pub(crate) fn message(&mut self, message: &ToSink) {
        match message {
            ToSink::Entries(groups) => {
                let entries = groups.iter().flat_map(|group| &group.entries).take(BATCH);
                let size = |what: &What| if let What::File { size } = what { *size } else { 0 };
                let sizes: Vec<u64> = entries.map(|entry| size(&entry.what)).collect();
                let first = self.number;
                self.number = self.number.saturating_add(sizes.len() as u64);
                if self.listed.len() < 2 * UNANSWERED {
                    self.listed.push_back((first, sizes));
                }
            }
            ToSink::Pieces(pieces) => pieces.iter().for_each(|piece| self.piece(piece)),
            ToSink::Owner(_) | ToSink::Fault(_) | ToSink::End => {}
        }
    }

    /// Takes an answer of the sink.
    pub(crate) fn answer(&mut self, answer: &ToSource) {
        let Some((first, sizes)) = self.listed.pop_front() else { return };
        for want in &answer.0 {
            let index = want.number.checked_sub(first).and_then(|index| usize::try_from(index).ok());
            let Some(size) = index.and_then(|index| sizes.get(index)) else { continue };
            self.wanted.push_back(*size);
            self.counts.files += 1;
            self.counts.bytes = self.counts.bytes.saturating_add(*size);
        }
    }

    fn piece(&mut self, piece: &Piece) {
        match piece {
            Piece::Begin { from, .. } => {
                // What the sink has already is not sent.
                let size = self.wanted.pop_front().unwrap_or_default();
                self.left = size.saturating_sub(*from);
                self.counts.bytes = self.counts.bytes.saturating_sub(size - self.left);
            }
            Piece::Bytes(_) | Piece::Packed { .. } => self.sent(piece.content() as u64),
            Piece::Zeros(count) => self.sent(*count),
            Piece::End(_) | Piece::Broken(_) => {
                self.counts.bytes = self.counts.bytes.saturating_sub(std::mem::take(&mut self.left));
                self.counts.files_done += 1;
            }
        }
    }

    fn sent(&mut self, bytes: u64) {
        let bytes = bytes.min(self.left);
        self.left -= bytes;
        self.counts.bytes_done = self.counts.bytes_done.saturating_add(bytes);
    }
}

/// The meters of all hosts of a copy, which copies on several threads share.
#[derive(Debug, Default)]
pub(crate) struct Meters(Mutex<BTreeMap<HostIndex, Arc<Mutex<Meter>>>>);

impl Meters {
    /// A meter for an attempt on a host. That of an earlier attempt no longer counts.
    pub(crate) fn begin(&self, host: HostIndex) -> Arc<Mutex<Meter>> {
        let meter = Arc::default();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(host, Arc::clone(&meter));
        meter
    }

    /// How far the hosts are whose copies have begun.
    pub(crate) fn counts(&self) -> BTreeMap<HostIndex, Counts> {
        let meters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        meters
            .iter()
            .map(|(host, meter)| (*host, meter.lock().unwrap_or_else(PoisonError::into_inner).counts))
            .collect()
    }
}

/// The sum over all hosts.
pub(crate) fn total(counts: &BTreeMap<HostIndex, Counts>) -> Counts {
    counts.values().fold(Counts::default(), |sum, counts| Counts {
        files: sum.files.saturating_add(counts.files),
        files_done: sum.files_done.saturating_add(counts.files_done),
        bytes: sum.bytes.saturating_add(counts.bytes),
        bytes_done: sum.bytes_done.saturating_add(counts.bytes_done),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::file::tree::message::{Entry, Group, Want};
    use crate::wire::codec::Blob;

    fn entries(sizes: &[Option<u64>]) -> ToSink {
        let entry = |size: &Option<u64>| {
            let what = size.map_or(What::Directory, |size| What::File { size });
            Entry { name: Blob(b"x".to_vec()), what, mode: 0, modified: (0, 0), user: 0, group: 0 }
        };
        let entries = sizes.iter().map(entry).collect();
        ToSink::Entries(vec![Group { directory: Blob(Vec::new()), entries, is_first: true, is_complete: true }])
    }

    fn wants(numbers: &[u64]) -> ToSource {
        ToSource(numbers.iter().map(|number| Want { number: *number, has: None }).collect())
    }

    fn counted(files: (u64, u64), bytes: (u64, u64)) -> Counts {
        Counts { files_done: files.0, files: files.1, bytes_done: bytes.0, bytes: bytes.1 }
    }

    #[test]
    fn what_is_wanted_and_not_there_yet_is_counted() {
        let mut meter = Meter::default();
        meter.message(&entries(&[Some(10), None, Some(100)]));
        meter.message(&entries(&[Some(1000)]));
        assert_eq!(meter.counts, Counts::default(), "nothing is wanted yet");
        meter.answer(&wants(&[0, 2]));
        meter.answer(&wants(&[3]));
        assert_eq!(meter.counts, counted((0, 3), (0, 1110)));
        let digest = Piece::End([0; 32]);
        // The sink has six bytes of the first one, and the second one cannot be read to its end.
        meter.message(&ToSink::Pieces(vec![
            Piece::Begin { number: 0, from: 6 },
            Piece::Bytes(Blob(vec![0; 4])),
            digest.clone(),
            Piece::Begin { number: 2, from: 0 },
            Piece::Zeros(30),
        ]));
        assert_eq!(meter.counts, counted((1, 3), (34, 1104)));
        meter.message(&ToSink::Pieces(vec![
            Piece::Broken(std::io::Error::other("gone").into()),
            Piece::Begin { number: 3, from: 0 },
        ]));
        meter.message(&ToSink::Pieces(vec![Piece::Zeros(1000), digest]));
        assert_eq!(meter.counts, counted((3, 3), (1034, 1034)));
        assert_eq!(meter.counts.bytes_left(), 0);
    }

    #[test]
    fn claims_that_are_against_the_rules_take_no_memory_and_overflow_nothing() {
        let mut meter = Meter::default();
        meter.answer(&wants(&[1]));
        for _ in 0..100 {
            meter.message(&entries(&vec![Some(u64::MAX); 2 * BATCH]));
        }
        assert!(meter.listed.len() <= 2 * UNANSWERED && meter.listed.iter().all(|(_, sizes)| sizes.len() <= BATCH));
        meter.answer(&wants(&[0, 1, u64::MAX]));
        meter.message(&ToSink::Pieces(vec![
            Piece::Zeros(u64::MAX),
            Piece::Begin { number: 0, from: u64::MAX },
            Piece::Zeros(u64::MAX),
            Piece::Begin { number: 1, from: 0 },
            Piece::Zeros(u64::MAX),
            Piece::Zeros(u64::MAX),
            Piece::Begin { number: 9, from: 1 },
            Piece::Zeros(1),
        ]));
        assert!(meter.counts.bytes_done >= meter.counts.bytes && meter.counts.bytes_left() == 0);
        let sum = total(&BTreeMap::from([(HostIndex(0), meter.counts), (HostIndex(1), meter.counts)]));
        assert_eq!((sum.files, sum.bytes_done), (4, u64::MAX));
    }

    #[test]
    fn another_attempt_begins_at_zero() {
        let meters = Meters::default();
        let first = meters.begin(HostIndex(3));
        first.lock().unwrap().counts.files = 7;
        assert_eq!(total(&meters.counts()).files, 7);
        meters.begin(HostIndex(3));
        assert_eq!(meters.counts(), BTreeMap::from([(HostIndex(3), Counts::default())]));
    }
}
