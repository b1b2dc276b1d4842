//! Opening a file beneath a directory, so that neither `..` nor a symbolic link leads out of it.

use std::fs::File;
use std::io;

use nix::errno::Errno;

use crate::sys::directory::Directory;

/// The most symbolic links on the way, as the system counts.
const MAX_LINKS: usize = 40;
/// The most names that are still to be resolved. Each directory on the way has a descriptor open.
const MAX_NAMES: usize = 256;

/// Opens a file for reading at a path beneath a directory. Symbolic links are followed as long as they stay beneath
/// it. An absolute link always leads out.
///
/// # Errors
///
/// `EXDEV` if the path leads out of the directory.
pub(crate) fn open_beneath(root: &Directory, path: &[u8]) -> io::Result<File> {
    #[cfg(target_os = "linux")]
    match at_once(root, path) {
        // The system does not know the call, or a filter forbids it.
        Err(Errno::ENOSYS | Errno::EPERM | Errno::EAGAIN) => {}
        opened => return Ok(opened?),
    }
    step_by_step(root, path)
}

/// Whether an error says that a path leads out of its directory.
pub(crate) fn leads_out(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::EXDEV as i32)
}

#[cfg(target_os = "linux")]
fn at_once(root: &Directory, path: &[u8]) -> nix::Result<File> {
    use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
    /// How often it is tried. The system gives up on `..` while something is renamed.
    const TRIES: usize = 4;
    // A pipe without a writer does not hold it up.
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_BENEATH);
    let mut last = Errno::EAGAIN;
    for _ in 0..TRIES {
        match openat2(root, path, how) {
            Ok(file) => return Ok(file.into()),
            Err(Errno::EAGAIN) => {}
            Err(error) => {
                last = error;
                break;
            }
        }
    }
    Err(last)
}

/// The same, for systems without such a call: opens one directory after the other.
fn step_by_step(root: &Directory, path: &[u8]) -> io::Result<File> {
    let mut rest: Vec<Vec<u8>> = Vec::new();
    let mut links = 0;
    push(&mut rest, path)?;
    let mut directories = vec![root.clone()];
    while let Some(name) = rest.pop() {
        if name == b".." {
            directories.pop();
        }
        let Some(directory) = directories.last() else { return Err(Errno::EXDEV.into()) };
        if name == b".." {
            continue;
        }
        match directory.symlink(&name) {
            Ok(target) => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::ELOOP.into());
                }
                push(&mut rest, &target)?;
                continue;
            }
            Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => {}
            Err(error) => return Err(error),
        }
        if rest.is_empty() {
            return directory.read(&name, false);
        }
        let next = directory.below(&name)?;
        directories.push(next);
    }
    Err(Errno::EISDIR.into())
}

/// Puts the names of a path on top of those that are still to be resolved.
fn push(rest: &mut Vec<Vec<u8>>, path: &[u8]) -> io::Result<()> {
    if path.starts_with(b"/") {
        return Err(Errno::EXDEV.into());
    }
    let names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".");
    rest.extend(names.rev().map(<[u8]>::to_vec));
    if rest.len() > MAX_NAMES { Err(Errno::ENAMETOOLONG.into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Both ways, which must agree.
    fn open(root: &Directory, path: &str) -> Result<String, i32> {
        let ways = [open_beneath(root, path.as_bytes()), step_by_step(root, path.as_bytes())];
        let [one, other] = ways.map(|opened| {
            let mut text = String::new();
            opened.and_then(|mut file| file.read_to_string(&mut text)).map_err(|e| e.raw_os_error().unwrap())?;
            Ok(text)
        });
        assert_eq!(one, other, "{path}");
        one
    }

    #[test]
    fn a_file_is_opened_only_beneath_the_directory() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        std::fs::create_dir_all(at("root/a/b")).unwrap();
        std::fs::write(at("root/a/b/file"), "inside").unwrap();
        std::fs::write(at("secret"), "outside").unwrap();
        symlink("a/b/../b/file", at("root/link")).unwrap();
        symlink("../../a", at("root/a/b/up")).unwrap();
        symlink("../secret", at("root/out")).unwrap();
        symlink("../../..", at("root/a/b/far")).unwrap();
        symlink(at("root/a"), at("root/absolute")).unwrap();
        symlink("loop", at("root/loop")).unwrap();
        let root = Directory::open(&at("root")).unwrap();
        for path in ["a/b/file", "./a//b/./file", "a/../a/b/file", "link", "a/b/up/b/file"] {
            assert_eq!(open(&root, path), Ok("inside".into()), "{path}");
        }
        for path in
            ["../secret", "a/../../secret", "out", "a/b/far/secret", "absolute/b/file", "/etc/passwd", "a/../.."]
        {
            assert_eq!(open(&root, path), Err(Errno::EXDEV as i32), "{path}");
        }
        assert_eq!(open(&root, "loop"), Err(Errno::ELOOP as i32));
        assert_eq!(open(&root, "a/none"), Err(Errno::ENOENT as i32));
        assert_eq!(open(&root, "link/x"), Err(Errno::ENOTDIR as i32));
    }

    #[test]
    fn a_path_with_too_many_names_is_refused_step_by_step() {
        let place = tempfile::tempdir().unwrap();
        let root = Directory::open(place.path()).unwrap();
        let error = step_by_step(&root, "a/".repeat(1000).as_bytes()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::ENAMETOOLONG as i32));
    }
}
