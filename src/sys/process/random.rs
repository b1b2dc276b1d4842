//! Random bytes of the system.

use std::io;

use nix::errno::Errno;

use crate::sys::process::sys;

/// Random bytes that cannot be guessed.
///
/// # Errors
///
/// If the system has none, the error is the answer of the system.
pub(crate) fn random() -> io::Result<[u8; 16]> {
    match sys::random() {
        // The system call does not exist in Linux before 3.17.
        Err(Errno::ENOSYS) => {
            let mut bytes = [0; 16];
            io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
            Ok(bytes)
        }
        other => Ok(other?),
    }
}
