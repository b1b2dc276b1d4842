//! Paths of hosts, in programs.

use crate::connect::HostPath;
use crate::fuzzing::checks;

/// The bytes are a path. What is read is written so that it is read again.
pub(super) fn paths(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match text.parse::<HostPath>() {
        Ok(path) => {
            assert!(!path.hops.is_empty());
            checks::harmless(&path.to_string());
            let again = path.to_string().parse::<HostPath>();
            assert_eq!(again.as_ref().ok(), Some(&path), "{path} became {again:?}");
        }
        Err(error) => checks::tells(&error.to_string()),
    }
}
