//! Random bytes of the system.

use std::io;

use nix::errno::Errno;

use crate::sys::process::sys;

/// Random bytes that nobody can guess.
///
/// # Errors
///
/// Names what the system answered, where it has none.
pub(crate) fn random() -> io::Result<[u8; 16]> {
    match sys::random() {
        // Linux before 3.17.
        Err(Errno::ENOSYS) => {
            let mut bytes = [0; 16];
            io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
            Ok(bytes)
        }
        other => Ok(other?),
    }
}
