//! Where a keeper listens: a socket in a directory of the user.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use sha2::{Digest, Sha256};

use crate::sys::hex::hex;

/// What of the environment decides how ssh logs in. A keeper serves only runs that have the same.
const ENVIRONMENT: [&str; 6] = ["HOME", "PATH", "SSH_AUTH_SOCK", "KRB5CCNAME", "DOCKER_HOST", "KUBECONFIG"];

/// The directory with the sockets of this user.
fn directory() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|path| Path::new(path).is_absolute()) {
        Some(path) => PathBuf::from(path).join("offshoot"),
        None => std::env::temp_dir().join(format!("offshoot-{}", geteuid())),
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
/// If it cannot be made, or belongs to somebody else.
pub(super) fn make_directory() -> Result<(), String> {
    let path = directory();
    let failed = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(|error| failed(&error))?;
    let metadata = fs::symlink_metadata(&path).map_err(|error| failed(&error))?;
    if !metadata.is_dir() || metadata.uid() != geteuid().as_raw() || metadata.mode() & 0o077 != 0 {
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
