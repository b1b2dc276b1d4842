//! The debug log of one process: a file with all its log events and a line for each frame.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::engine::log::levels::IO;
use crate::wire::message::ContextId;

/// The directory of debug logs.
const DIRECTORY: &str = "/tmp";
/// Maximum size of one debug log, in bytes.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// An open debug log. The file remains when the process ends, so that it can be read afterwards.
#[derive(Debug)]
pub(crate) struct DebugLog {
    file: File,
    path: PathBuf,
    written: AtomicUsize,
}

impl DebugLog {
    /// Creates the file. Its name can be guessed, so an existing file is never opened. Only the owner can
    /// read the file.
    pub(crate) fn create(me: ContextId, name: &str) -> io::Result<Self> {
        Self::create_in(Path::new(DIRECTORY), me, name)
    }

    fn create_in(directory: &Path, me: ContextId, name: &str) -> io::Result<Self> {
        let (pid, parent) = (std::process::id(), nix::unistd::getppid());
        let path = directory.join(format!("offshoot.{pid}.{}.log", stamp(SystemTime::now())));
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        let log = Self { file, path, written: AtomicUsize::new(0) };
        log.write(&format!("offshoot debug log of context {me} {name}, pid {pid}, started by pid {parent}\n"));
        Ok(log)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a record with this target and level is written.
    pub(crate) fn wants(target: &str, level: u8) -> bool {
        level <= 4 || target.starts_with(IO)
    }

    pub(crate) fn write(&self, line: &str) {
        let before = self.written.fetch_add(line.len(), Ordering::Relaxed);
        let line = match before {
            0..MAX_BYTES => line,
            // This line is written once: the size has just exceeded the limit.
            _ if before < MAX_BYTES + line.len() => "the log ends here, as it has become too long\n",
            _ => return,
        };
        // An error cannot be reported anywhere.
        let _ = (&self.file).write_all(line.as_bytes());
    }
}

/// `YYYYmmdd_HHMMSS`, UTC.
fn stamp(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let mut day = seconds / 86_400;
    let mut year = 1970;
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    while day >= 365 + u64::from(is_leap(year)) {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let mut month = 0;
    let lengths = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    while day >= lengths[month] {
        day -= lengths[month];
        month += 1;
    }
    format!("{year:04}{:02}{:02}_{hour:02}{minute:02}{second:02}", month + 1, day + 1)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_time_is_written_as_a_date() {
        let at = |seconds| stamp(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "19700101_000000");
        assert_eq!(at(951_827_696), "20000229_123456");
        assert_eq!(at(1_709_251_199), "20240229_235959");
        assert_eq!(at(4_107_542_400), "21000301_000000");
    }

    #[test]
    fn nothing_that_is_there_is_opened_and_nobody_else_may_read() {
        let directory = tempfile::tempdir().unwrap();
        let log = DebugLog::create_in(directory.path(), ContextId(7), "local.1").unwrap();
        let text = std::fs::read_to_string(log.path()).unwrap();
        let parent = nix::unistd::getppid();
        let pid = std::process::id();
        assert_eq!(text, format!("offshoot debug log of context 7 local.1, pid {pid}, started by pid {parent}\n"));
        assert_eq!(log.path().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        // The next second has another name, so all that may come are taken.
        let victim = directory.path().join("victim");
        for seconds in 0..10 {
            let name = format!("offshoot.{pid}.{}.log", stamp(SystemTime::now() + Duration::from_secs(seconds)));
            let _ = std::os::unix::fs::symlink(&victim, directory.path().join(name));
        }
        assert!(DebugLog::create_in(directory.path(), ContextId(7), "local.1").is_err());
        assert!(!victim.exists());
    }

    #[test]
    fn a_debug_log_has_an_end() {
        let directory = tempfile::tempdir().unwrap();
        let log = DebugLog::create_in(directory.path(), ContextId(7), "local.1").unwrap();
        log.written.store(MAX_BYTES - 10, Ordering::Relaxed);
        for _ in 0..3 {
            log.write("a line of more than ten bytes\n");
        }
        let text = std::fs::read_to_string(log.path()).unwrap();
        let lines: Vec<_> = text.lines().skip(1).collect();
        assert_eq!(lines, ["a line of more than ten bytes", "the log ends here, as it has become too long"]);
    }
}
