//! The SHA-256 of a file.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

/// Reads the file in pieces. It may be one that has no size, such as a pipe.
///
/// # Errors
///
/// If it cannot be read.
#[cfg_attr(not(feature = "cargo"), expect(unreachable_pub, reason = "what is public is for `cargo offshoot`"))]
pub fn file_digest(path: &Path) -> io::Result<[u8; 32]> {
    let (mut file, mut digest, mut piece) = (File::open(path)?, Sha256::new(), vec![0; 64 * 1024]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(digest.finalize().into()),
            count => digest.update(&piece[..count]),
        }
    }
}
