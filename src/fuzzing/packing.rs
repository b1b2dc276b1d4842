//! Content that was packed for a slow link.

use crate::builtin::file::tree::packing::unpack;
use crate::wire::codec::Blob;

/// The first two bytes say how many there should be; the others are packed.
pub(super) fn packing(bytes: &[u8]) {
    let Some((size, blocks)) = bytes.split_first_chunk() else { return };
    let size = u32::from(u16::from_be_bytes(*size));
    if let Some(bytes) = unpack(size, &Blob(blocks.to_vec())) {
        assert_eq!(bytes.len(), size as usize);
    }
}
