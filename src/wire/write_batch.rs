//! Frames that are written together. No I/O.
//!
//! Headers and short payloads are copied into one buffer. A long payload stays where it is, and the
//! kernel gathers it from there.

use std::io::IoSlice;

use bytes::Bytes;

/// Payloads from this size on are not copied.
const LONG: usize = 4 * 1024;
/// The most slices that are written at once.
pub(crate) const SLICES: usize = 32;

/// Frames to be written together.
#[derive(Debug, Default)]
pub(crate) struct WriteBatch {
    copied: Vec<u8>,
    /// Long payloads, each with the number of copied bytes that go before it.
    long: Vec<(usize, Bytes)>,
    bytes: usize,
}

impl WriteBatch {
    /// Bytes of all frames.
    pub(crate) fn len(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    pub(crate) fn clear(&mut self) {
        self.copied.clear();
        self.long.clear();
        self.bytes = 0;
    }

    /// All bytes, if they are in one piece.
    pub(crate) fn in_one_piece(&self) -> Option<&[u8]> {
        self.long.is_empty().then_some(&self.copied)
    }

    /// Adds a frame. A `secret` payload is never copied.
    pub(crate) fn push(&mut self, header: &[u8], payload: Bytes, secret: bool) {
        self.bytes += header.len() + payload.len();
        self.copied.extend_from_slice(header);
        if payload.len() < LONG && !secret {
            self.copied.extend_from_slice(&payload);
        } else {
            self.long.push((self.copied.len(), payload));
        }
    }

    /// The bytes after the first `written` bytes, in order, as many as `slices` has room for. They are in the part of
    /// `slices` that is returned.
    pub(crate) fn slices<'a, 'b>(
        &'a self,
        mut written: usize,
        slices: &'b mut [IoSlice<'a>; SLICES],
    ) -> &'b [IoSlice<'a>] {
        let mut count = 0;
        let mut add = |bytes: &'a [u8]| {
            let rest = written.min(bytes.len());
            written -= rest;
            if rest < bytes.len() && count < SLICES {
                slices[count] = IoSlice::new(&bytes[rest..]);
                count += 1;
            }
        };
        let mut copied = 0;
        for (before, payload) in &self.long {
            add(&self.copied[copied..*before]);
            add(payload);
            copied = *before;
        }
        add(&self.copied[copied..]);
        &slices[..count]
    }
}

#[cfg(test)]
impl WriteBatch {
    /// All bytes in order.
    pub(crate) fn to_vec(&self) -> Vec<u8> {
        self.from(0)
    }

    /// All bytes after the first `written` bytes.
    fn from(&self, mut written: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while written < self.len() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            for slice in self.slices(written, &mut slices) {
                written += slice.len();
                all.extend_from_slice(slice);
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bytes_come_out_in_order_wherever_a_write_stops() {
        let mut batch = WriteBatch::default();
        let mut expected = Vec::new();
        for (number, size) in [(1u8, 3), (2, LONG), (3, 0), (4, LONG + 7), (5, LONG - 1)] {
            let payload = vec![number; size];
            batch.push(&[number + 100; 5], payload.clone().into(), number % 2 == 0);
            expected.extend_from_slice(&[number + 100; 5]);
            expected.extend_from_slice(&payload);
        }
        assert_eq!(batch.len(), expected.len());
        for written in 0..=expected.len() {
            let rest = batch.from(written);
            assert!(rest == expected[written..], "after {written} bytes");
        }
        batch.clear();
        assert!(batch.is_empty() && batch.slices(0, &mut [IoSlice::new(&[]); SLICES]).is_empty());
    }
}
