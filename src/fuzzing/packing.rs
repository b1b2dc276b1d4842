//! Content that was packed for a slow link, or is to be.

use std::time::Duration;

use crate::builtin::file::tree::message::Piece;
use crate::builtin::file::tree::packing::{Packing, unpack};
use crate::wire::codec::Blob;

/// The first two bytes say how many there should be; the others are packed.
pub(super) fn packing(bytes: &[u8]) {
    let Some((size, blocks)) = bytes.split_first_chunk() else { return };
    let size = u32::from(u16::from_be_bytes(*size));
    if let Some(bytes) = unpack(size, &Blob(blocks.to_vec())) {
        assert_eq!(bytes.len(), size as usize);
    }
    let mut packing = Packing::default();
    packing.sent(1, Duration::from_secs(1));
    if let Piece::Packed { size, blocks } = packing.pack(Piece::Bytes(Blob(bytes.to_vec()))) {
        assert_eq!(unpack(size, &blocks).as_deref(), Some(bytes));
    }
}
