//! Times in the time zone of this machine.

#![expect(unsafe_code, reason = "calls localtime_r")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::libc;

/// A time for people: `2026-11-29 10:31:02.123`. A time before 1970 is shown as 1970.
pub(crate) fn local_time(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    // Its type depends on the system.
    let Ok(seconds) = since.as_secs().try_into() else { return plain(since) };
    // SAFETY: all fields are integers or, on some systems, a pointer that may be null.
    let mut parts: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are valid for the call. The function reads the environment; nothing in this process
    // changes it while other threads run.
    let converted = unsafe { libc::localtime_r(&raw const seconds, &raw mut parts) };
    if converted.is_null() {
        // The year does not fit.
        return plain(since);
    }
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}.{:03}",
        parts.tm_year + 1900,
        parts.tm_mon + 1,
        parts.tm_mday,
        parts.tm_hour,
        parts.tm_min,
        parts.tm_sec,
        since.subsec_millis()
    )
}

/// The seconds since 1970.
fn plain(since: Duration) -> String {
    format!("{}.{:03}", since.as_secs(), since.subsec_millis())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_local_time_is_that_of_the_system() {
        // Half a year apart, for summer time.
        for seconds in [1_700_000_000, 1_715_000_000, 0] {
            let date =
                Command::new("date").args(["-d", &format!("@{seconds}"), "+%Y-%m-%d %H:%M:%S"]).output().unwrap();
            let wanted = String::from_utf8(date.stdout).unwrap();
            let time = UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(7);
            assert_eq!(local_time(time), format!("{}.007", wanted.trim()));
        }
        assert_eq!(local_time(UNIX_EPOCH + Duration::from_secs(1 << 62)), format!("{}.000", 1_i64 << 62));
    }
}
