//! Frames, byte by byte, for tests that write them past the library.

use std::io::{self, Read};

/// Bytes of a header.
pub(crate) const HEADER: usize = 32;
/// The flag of a frame that says that more of its message follows.
pub(crate) const MORE: u8 = 1;

/// A frame as the wire has it. The addresses are dst, src, auth, handle and reply_to.
pub(crate) fn frame(lane: u8, addresses: [u32; 5], payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x4f, 0x53, 0, lane];
    for field in addresses {
        bytes.extend_from_slice(&field.to_be_bytes());
    }
    bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(payload);
    bytes
}

/// A frame that says that more of its message follows.
pub(crate) fn fragment(lane: u8, addresses: [u32; 5], payload: &[u8]) -> Vec<u8> {
    let mut bytes = frame(lane, addresses, payload);
    bytes[2] = MORE;
    bytes
}

/// A number of a header.
pub(crate) fn word(header: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

/// Reads a frame: its addresses and its payload.
pub(crate) fn read(input: &mut impl Read) -> io::Result<([u32; 5], Vec<u8>)> {
    let mut header = [0; HEADER];
    input.read_exact(&mut header)?;
    let mut payload = vec![0; word(&header, 24) as usize];
    input.read_exact(&mut payload)?;
    Ok(([4, 8, 12, 16, 20].map(|at| word(&header, at)), payload))
}
