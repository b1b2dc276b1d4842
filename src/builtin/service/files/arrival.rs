//! A file that arrives: what is accepted of another context. A decision without I/O.

use std::sync::atomic::AtomicBool;

use super::message::{FromHost, Refusal};
use super::metadata::FileMetadata;
use crate::builtin::file::tree::content::add_zeros;
use crate::builtin::file::tree::message::{CHUNK, Digest, Piece};
use crate::builtin::file::tree::packing::unpack;
use crate::builtin::file::tree::sum::{Sum, SumKind};
use crate::wire::codec::Blob;
use crate::wire::error::FileErrorKind;

/// A file of which a part has arrived.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) metadata: FileMetadata,
    at: u64,
    digest: Sum,
}

/// What to do with what has arrived.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Write(Vec<u8>),
    /// So many zero bytes follow.
    Zeros(u64),
    /// All has arrived, and it has the digest that was sent.
    End(Digest),
}

impl Arrival {
    /// Begins with the first message. `has` is what is here already, with its size, and `most` the largest size that
    /// is accepted. Returns also the position at which the content begins.
    pub(super) fn begin(message: FromHost, has: Option<(u64, Sum)>, most: u64) -> Result<(Self, u64), Refusal> {
        let FromHost::Begin { metadata, from } = message else { return Err(against_the_rules()) };
        if metadata.size > most {
            let text = format!("it has {} bytes, and at most {most} are accepted", metadata.size);
            return Err(Refusal::new(FileErrorKind::TooLarge, text));
        }
        let digest = match has {
            _ if from == 0 => Sum::new(SumKind::Sha256),
            Some((size, digest)) if size == from && from <= metadata.size => digest,
            _ => return Err(against_the_rules()),
        };
        Ok((Self { metadata, at: from, digest }, from))
    }

    /// Takes a further message. Takes long for many zeros.
    pub(super) fn take(&mut self, message: FromHost, stop: &AtomicBool) -> Result<Step, Refusal> {
        match message {
            FromHost::Piece(Piece::Bytes(Blob(bytes))) if bytes.len() <= CHUNK => {
                self.grow(bytes.len() as u64)?;
                self.digest.update(&bytes);
                Ok(Step::Write(bytes))
            }
            FromHost::Piece(Piece::Packed { size, blocks }) => {
                let bytes = unpack(size, &blocks).ok_or_else(against_the_rules)?;
                self.take(FromHost::Piece(Piece::Bytes(Blob(bytes))), stop)
            }
            FromHost::Piece(Piece::Zeros(count)) => {
                self.grow(count)?;
                add_zeros(&mut self.digest, count, stop)
                    .map_err(|error| Refusal::new(FileErrorKind::Unwritable, error.to_string()))?;
                Ok(Step::Zeros(count))
            }
            FromHost::Piece(Piece::End(digest)) => {
                let here: Digest = self.digest.digest();
                if self.at != self.metadata.size || here != digest {
                    let text = "its content was damaged on the way; fetch it again";
                    return Err(Refusal::new(FileErrorKind::Damaged, text));
                }
                Ok(Step::End(digest))
            }
            _ => Err(against_the_rules()),
        }
    }

    fn grow(&mut self, count: u64) -> Result<(), Refusal> {
        let at = self.at.checked_add(count).filter(|at| *at <= self.metadata.size);
        self.at = at.ok_or_else(against_the_rules)?;
        Ok(())
    }
}

#[cold]
fn against_the_rules() -> Refusal {
    Refusal::new(FileErrorKind::Damaged, "the other context does not send the file that it has announced")
}

#[cfg(test)]
mod tests {
    use super::*;

    static STOP: AtomicBool = AtomicBool::new(false);

    fn begin(size: u64, from: u64) -> FromHost {
        let file = tempfile::tempfile().unwrap();
        file.set_len(size).unwrap();
        FromHost::Begin { metadata: FileMetadata::of(&file).unwrap(), from }
    }

    fn bytes(bytes: &[u8]) -> FromHost {
        FromHost::Piece(Piece::Bytes(Blob(bytes.to_vec())))
    }

    fn sum(bytes: &[u8]) -> Sum {
        let mut sum = Sum::new(SumKind::Sha256);
        sum.update(bytes);
        sum
    }

    fn digest(bytes: &[u8]) -> Digest {
        sum(bytes).digest()
    }

    #[test]
    fn a_file_arrives_with_its_holes() {
        let (mut arrival, from) = Arrival::begin(begin(5, 0), None, u64::MAX).unwrap();
        assert_eq!(from, 0);
        assert_eq!(arrival.take(bytes(b"ab"), &STOP), Ok(Step::Write(b"ab".to_vec())));
        assert_eq!(arrival.take(FromHost::Piece(Piece::Zeros(3)), &STOP), Ok(Step::Zeros(3)));
        let end = digest(b"ab\0\0\0");
        assert_eq!(arrival.take(FromHost::Piece(Piece::End(end)), &STOP), Ok(Step::End(end)));
    }

    #[test]
    fn a_part_that_is_here_counts_only_as_it_is() {
        let has = || Some((2, sum(b"ab")));
        let (mut arrival, from) = Arrival::begin(begin(3, 2), has(), u64::MAX).unwrap();
        assert_eq!((from, arrival.take(bytes(b"c"), &STOP)), (2, Ok(Step::Write(b"c".to_vec()))));
        assert!(arrival.take(FromHost::Piece(Piece::End(digest(b"abc"))), &STOP).is_ok());
        for (from, has) in [(1, has()), (3, has()), (2, None)] {
            assert_eq!(Arrival::begin(begin(3, from), has, u64::MAX).unwrap_err().kind, FileErrorKind::Damaged);
        }
        assert_eq!(Arrival::begin(begin(1, 2), has(), u64::MAX).unwrap_err().kind, FileErrorKind::Damaged);
    }

    #[test]
    fn what_was_not_announced_is_refused() {
        let wrong = [
            bytes(b"abcd"),
            FromHost::Piece(Piece::Zeros(4)),
            FromHost::Piece(Piece::Zeros(u64::MAX)),
            FromHost::Piece(Piece::End(digest(b""))),
            FromHost::Piece(Piece::Broken(std::io::Error::other("").into())),
            bytes(&vec![0; CHUNK + 1]),
            begin(3, 0),
        ];
        for message in wrong {
            let (mut arrival, _) = Arrival::begin(begin(3, 0), None, u64::MAX).unwrap();
            assert_eq!(arrival.take(message.clone(), &STOP).unwrap_err().kind, FileErrorKind::Damaged, "{message:?}");
        }
        let (mut arrival, _) = Arrival::begin(begin(1, 0), None, u64::MAX).unwrap();
        arrival.take(bytes(b"a"), &STOP).unwrap();
        let end = FromHost::Piece(Piece::End(digest(b"b")));
        assert_eq!(arrival.take(end, &STOP).unwrap_err().kind, FileErrorKind::Damaged);
        assert_eq!(Arrival::begin(begin(3, 0), None, 2).unwrap_err().kind, FileErrorKind::TooLarge);
        assert_eq!(Arrival::begin(bytes(b""), None, 2).unwrap_err().kind, FileErrorKind::Damaged);
    }
}
