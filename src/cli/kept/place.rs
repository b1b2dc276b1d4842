//! Where a keeper listens: a socket in a directory of the user.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, getegid, geteuid};
use sha2::{Digest, Sha256};

use crate::sys::hex::hex;
use crate::sys::temporary;

/// What of the environment decides how ssh logs in. A keeper serves only runs that have the same.
const ENVIRONMENT: [&str; 6] = ["HOME", "PATH", "SSH_AUTH_SOCK", "KRB5CCNAME", "DOCKER_HOST", "KUBECONFIG"];

/// The mode bit of a directory in which everybody may rename only what is his own.
const STICKY: u32 = 0o1000;

/// The directory with the sockets of this user.
fn directory() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|path| Path::new(path).is_absolute()) {
        Some(path) => PathBuf::from(path).join("offshoot"),
        None => temporary::directory().join(format!("offshoot-{}", geteuid())),
    }
}

/// The socket of the keeper for this build of the tool and this environment. If the arguments of ssh may name files,
/// the working directory counts, too.
pub(super) fn socket(names_files: bool) -> PathBuf {
    let mut hash = Sha256::new();
    let mut add = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    add(env!("CARGO_PKG_VERSION").as_bytes());
    // Another build has another function table or protocol.
    if let Ok(metadata) = fs::metadata("/proc/self/exe").or_else(|_| std::env::current_exe().and_then(fs::metadata)) {
        [metadata.dev(), metadata.ino(), metadata.mtime() as u64].iter().for_each(|number| add(&number.to_be_bytes()));
    }
    for name in ENVIRONMENT {
        add(std::env::var_os(name).unwrap_or_default().as_encoded_bytes());
    }
    if names_files {
        add(std::env::current_dir().unwrap_or_default().as_os_str().as_encoded_bytes());
    }
    directory().join(format!("{}.sock", hex(&hash.finalize()[..8])))
}

/// Makes the directory, for this user only.
///
/// # Errors
///
/// If it cannot be made, or somebody else has a hand in it.
pub(super) fn make_directory() -> Result<(), String> {
    make(&directory(), geteuid())
}

fn make(path: &Path, user: Uid) -> Result<(), String> {
    let failed = |path: &Path, why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    // Whoever may rename the directory may put another one in its place.
    let above = path.parent().unwrap_or(path);
    let metadata = fs::metadata(above).map_err(|error| failed(above, &error))?;
    let others = if metadata.gid() == getegid().as_raw() { 0o002 } else { 0o022 };
    let is_of_others = ![user.as_raw(), 0].contains(&metadata.uid()) || metadata.mode() & others != 0;
    if is_of_others && metadata.mode() & STICKY == 0 {
        return Err(failed(above, &"others may rename what is in this directory"));
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(failed(path, &error)),
        _ => {}
    }
    let failed = |why: &dyn std::fmt::Display| failed(path, why);
    let metadata = fs::symlink_metadata(path).map_err(|error| failed(&error))?;
    if !metadata.is_dir() || metadata.uid() != user.as_raw() || metadata.mode() & 0o077 != 0 {
        return Err(failed(&"this has to be a directory that belongs to you, with mode 0700"));
    }
    Ok(())
}

/// The sockets of all keepers of this user, also those of other builds and environments.
pub(super) fn all() -> Vec<PathBuf> {
    let entries = fs::read_dir(directory()).into_iter().flatten().flatten();
    let mut sockets: Vec<_> = entries.map(|entry| entry.path()).collect();
    sockets.retain(|path| path.extension().is_some_and(|extension| extension == "sock"));
    sockets.sort();
    sockets
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_directory_is_made_where_nobody_else_has_a_hand_in_it() {
        let above = tempfile::tempdir().unwrap();
        let (path, user) = (above.path().join("offshoot"), geteuid());
        let set = |path: &Path, mode| fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        for _ in 0..2 {
            assert_eq!(make(&path, user), Ok(()));
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        }
        set(above.path(), 0o777);
        assert!(make(&path, user).unwrap_err().contains("others may rename"));
        set(above.path(), 0o1777);
        assert_eq!(make(&path, user), Ok(()));
        set(&path, 0o750);
        assert!(make(&path, user).unwrap_err().contains("with mode 0700"));
        assert!(make(&above.path().join("a/offshoot"), user).is_err(), "what is above is not made");
        assert!(!above.path().join("a").exists());
    }
}
