//! A file for data that is too large for memory.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::sys::temporary;

/// Makes a file in the directory for temporary files. The file has no name, so it disappears when it is closed.
/// `what` describes its purpose.
///
/// # Errors
///
/// If the system refuses.
pub(crate) fn unnamed_file(what: &str) -> io::Result<File> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let directory = temporary::directory();
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    #[cfg(target_os = "linux")]
    if let Ok(file) = options.clone().custom_flags(nix::fcntl::OFlag::O_TMPFILE.bits()).open(&directory) {
        return Ok(file);
    }
    // The file system does not support files without a name.
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = directory.join(format!(".offshoot-{what}.{}-{number}", std::process::id()));
    let file = options.create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}
