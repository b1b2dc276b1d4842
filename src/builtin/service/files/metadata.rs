//! What is known of a file.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::builtin::file::tree::owners::name_of;

/// What the context that gives a file out knows of it.
///
/// The [module](crate::service::files) has an example.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FileMetadata {
    /// The size in bytes.
    pub size: u64,
    /// The permissions, with the bits that set the user and the group: `0o644`.
    pub mode: u32,
    /// The name that the owner has there. `None` if the number has no name.
    pub owner: Option<String>,
    /// The name that the group has there. `None` if the number has no name.
    pub group: Option<String>,
    /// The number that the owner has there.
    pub owner_id: u32,
    /// The number that the group has there.
    pub group_id: u32,
    /// Seconds since 1970, and nanoseconds.
    times: [(i64, u32); 2],
}

impl FileMetadata {
    /// What is known of an open file. Blocks.
    pub(super) fn of(file: &File) -> io::Result<Self> {
        let stat = file.metadata()?;
        let time = |seconds, nanoseconds| (seconds, u32::try_from(nanoseconds).unwrap_or(0));
        Ok(Self {
            size: stat.size(),
            mode: stat.mode() & 0o7777,
            owner: name_of(false, stat.uid()),
            group: name_of(true, stat.gid()),
            owner_id: stat.uid(),
            group_id: stat.gid(),
            times: [time(stat.mtime(), stat.mtime_nsec()), time(stat.atime(), stat.atime_nsec())],
        })
    }

    /// When the file was modified.
    pub fn modified(&self) -> SystemTime {
        time(self.times[0])
    }

    /// When the file was read, as far as its file system notes that.
    pub fn accessed(&self) -> SystemTime {
        time(self.times[1])
    }

    /// Whether a file has the same size and time of modification.
    pub(super) fn is_of(&self, file: &File) -> io::Result<bool> {
        let stat = file.metadata()?;
        Ok((stat.size(), stat.mtime(), stat.mtime_nsec()) == (self.size, self.times[0].0, i64::from(self.times[0].1)))
    }
}

/// A time that cannot be represented here is that of 1970: another context has sent it.
fn time((seconds, nanoseconds): (i64, u32)) -> SystemTime {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let seconds = if seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    let part = Duration::from_nanos(u64::from(nanoseconds.min(999_999_999)));
    seconds.and_then(|time| time.checked_add(part)).unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_file_and_a_time_of_a_liar_does_no_harm() {
        let file = tempfile::tempfile().unwrap();
        let before = UNIX_EPOCH - Duration::from_millis(1500);
        file.set_modified(before).unwrap();
        let metadata = FileMetadata::of(&file).unwrap();
        assert_eq!(metadata.modified(), before);
        assert!(metadata.is_of(&file).unwrap());
        file.set_modified(UNIX_EPOCH).unwrap();
        assert!(!metadata.is_of(&file).unwrap());
        // Whatever it is, setting it fails at worst.
        for seconds in [i64::MIN, i64::MAX] {
            let _ = file.set_modified(time((seconds, u32::MAX)));
        }
    }
}
