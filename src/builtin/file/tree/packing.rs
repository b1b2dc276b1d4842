//! Content for a side that takes it slowly, mostly because of the link: it is packed by zstd.
//!
//! The sender notices how long the other side makes it wait. Where that side takes less in a second than a slow processor
//! packs, packing costs no time.

use std::io::Read;
use std::time::Duration;

use ruzstd::decoding::StreamingDecoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::message::{CHUNK, Piece};
use crate::wire::codec::Blob;

/// What every packed piece begins with: the magic of zstd, no checksum, and a window of 128 KiB. It is not sent. So a sender
/// cannot make the reader allocate a larger window.
const HEADER: [u8; 6] = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38];
/// The fewest bytes that are packed.
const FEWEST: usize = 256;
/// A side that takes fewer bytes in a second is slow.
const SLOW: usize = 8 << 20;
/// The speed is known anew after so many bytes, or after so long.
const SAMPLE: (usize, Duration) = (256 << 10, Duration::from_millis(50));
/// The pieces that are sent as they are after one that packing did not make smaller.
const SKIPPED: u32 = 15;

/// Decides for one copy which pieces are packed.
#[derive(Debug, Default)]
pub(crate) struct Packing {
    is_slow: bool,
    /// The bytes that were sent since the last decision, and how long they have waited for room.
    sample: (usize, Duration),
    skipped: u32,
}

impl Packing {
    /// Packs a piece, if the other side is slow and the piece becomes smaller by an eighth.
    pub(crate) fn pack(&mut self, piece: Piece) -> Piece {
        let Piece::Bytes(Blob(bytes)) = &piece else { return piece };
        if !self.is_slow || bytes.len() < FEWEST {
            return piece;
        }
        if self.skipped > 0 {
            self.skipped -= 1;
            return piece;
        }
        let packed = compress_to_vec(&bytes[..], CompressionLevel::Fastest);
        if let Some(blocks) = packed.strip_prefix(&HEADER)
            && blocks.len() <= bytes.len() / 8 * 7
            && let Ok(size) = u32::try_from(bytes.len())
            && let blocks = Blob(blocks.to_vec())
            // A fault of the packer would otherwise be found at the end of the file, again and again.
            && unpack(size, &blocks).is_some_and(|unpacked| unpacked == *bytes)
        {
            return Piece::Packed { size, blocks };
        }
        self.skipped = SKIPPED;
        piece
    }

    /// Takes note that so many bytes were sent, and how long that took.
    pub(crate) fn sent(&mut self, count: usize, took: Duration) {
        let (bytes, waited) = (self.sample.0 + count, self.sample.1 + took);
        self.sample = (bytes, waited);
        if bytes >= SAMPLE.0 || waited >= SAMPLE.1 {
            self.is_slow = waited.as_micros() * SLOW as u128 > bytes as u128 * 1_000_000;
            self.sample = (0, Duration::ZERO);
        }
    }
}

/// The bytes of a packed piece. `None` if they are not so many, or more than a piece may have.
pub(crate) fn unpack(size: u32, Blob(blocks): &Blob) -> Option<Vec<u8>> {
    let size = usize::try_from(size).ok().filter(|size| *size <= CHUNK && blocks.len() <= CHUNK)?;
    let frame = [&HEADER[..], blocks].concat();
    let decoder = StreamingDecoder::new(&frame[..]).ok()?;
    let mut bytes = Vec::with_capacity(size);
    decoder.take(size as u64 + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() == size).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn text() -> Vec<u8> {
        (0..).flat_map(|number: u32| format!("line {number}\n").into_bytes()).take(CHUNK).collect()
    }

    fn on_slow_link() -> Packing {
        let mut packing = Packing::default();
        packing.sent(1000, SECOND);
        packing
    }

    #[test]
    fn what_is_packed_is_unpacked() {
        for size in [FEWEST, 1000, CHUNK - 1, CHUNK] {
            let bytes = text()[..size].to_vec();
            let packed = on_slow_link().pack(Piece::Bytes(Blob(bytes.clone())));
            let Piece::Packed { size: stated, blocks } = packed else { panic!("{size} bytes of text are not packed") };
            assert!(stated as usize == size && blocks.0.len() < size);
            assert_eq!(unpack(stated, &blocks), Some(bytes));
        }
    }

    #[test]
    fn only_what_becomes_smaller_is_packed_and_only_on_a_slow_link() {
        let piece = || Piece::Bytes(Blob(text()));
        let is_packed = |piece: Piece| matches!(piece, Piece::Packed { .. });
        let mut packing = Packing::default();
        assert!(!is_packed(packing.pack(piece())), "nothing is known of the link");
        packing.sent(SLOW, SECOND / 2);
        assert!(!is_packed(packing.pack(piece())));
        packing.sent(SLOW, SECOND * 2);
        assert!(is_packed(packing.pack(piece())));
        assert!(!is_packed(packing.pack(Piece::Bytes(Blob(text()[..FEWEST - 1].to_vec())))));
        let mut state = 1_u32;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        });
        let noise = Piece::Bytes(Blob(noise.take(CHUNK).collect()));
        assert!(!is_packed(packing.pack(noise)));
        assert_eq!((0..=SKIPPED).filter(|_| is_packed(packing.pack(piece()))).count(), 1, "after fifteen others");
        packing.sent(SAMPLE.0, Duration::ZERO);
        assert!(!is_packed(packing.pack(piece())), "the link is fast again");
        assert_eq!(on_slow_link().pack(Piece::Zeros(1 << 20)), Piece::Zeros(1 << 20));
    }

    #[test]
    fn a_packed_piece_is_no_larger_than_it_says_and_than_a_piece_may_be() {
        let Piece::Packed { size, blocks } = on_slow_link().pack(Piece::Bytes(Blob(text()))) else { panic!() };
        for wrong in [0, size - 1, size + 1, CHUNK as u32 + 1, u32::MAX] {
            assert_eq!(unpack(wrong, &blocks), None, "{wrong}");
        }
        // Each of these blocks says that it is the same byte 128 KiB long.
        let bomb = [&[0x02, 0x00, 0x10, 7][..]; 1000].concat();
        assert_eq!(unpack(CHUNK as u32, &Blob(bomb)), None);
        for blocks in [&[][..], &[1], &blocks.0[..100]] {
            assert_eq!(unpack(size, &Blob(blocks.to_vec())), None, "{} bytes", blocks.len());
        }
    }
}
