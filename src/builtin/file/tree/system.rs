//! The directories that no copy may empty: the root of the running system, whatever path leads to it, and the roots of
//! other systems that run, as that of a container.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::sys::directory::{Directory, Stat};

/// What only the root of a system has. A directory that has the very same ones is that root, mounted a second time.
const ESSENTIAL: [&str; 2] = ["etc", "usr"];

/// A device and an inode.
type Identity = (u64, u64);

/// What the root of the running system is known by.
#[derive(Debug, Default)]
pub(crate) struct System {
    root: Option<Identity>,
    essential: [Option<Identity>; ESSENTIAL.len()],
}

impl System {
    /// Looks at the root. It has this path.
    pub(crate) fn at(root: &Path) -> Self {
        let identity = |path: &Path| path.symlink_metadata().ok().map(|known| (known.dev(), known.ino()));
        Self { root: identity(root), essential: ESSENTIAL.map(|name| identity(&root.join(name))) }
    }

    /// Whether this directory is the root, has in it what the root has, or has the processes of a system.
    pub(crate) fn is_root(&self, directory: &Directory) -> bool {
        let is_this = Stat::of(directory).is_ok_and(|stat| Some(stat.identity) == self.root);
        let has_processes = || {
            let processes = directory.below(b"proc");
            processes.is_ok_and(|processes| matches!(processes.stat(b"self"), Ok(Some(_))))
        };
        is_this
            || has_processes()
            || ESSENTIAL.iter().zip(self.essential).any(|(name, essential)| {
                let here = directory.stat(name.as_bytes()).ok().flatten();
                essential.is_some() && here.map(|stat| stat.identity) == essential
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_known_by_every_path_and_by_what_is_in_it() {
        let place = tempfile::tempdir().unwrap();
        let at = |path: &str| place.path().join(path);
        for path in ["root/etc", "root/usr/bin", "other/etc", "twice"] {
            std::fs::create_dir_all(at(path)).unwrap();
        }
        std::os::unix::fs::symlink("root", at("link")).unwrap();
        let is_root = |path: &str| System::at(&at("root")).is_root(&Directory::open(&at(path)).unwrap());
        for path in ["root", "root/.", "root/usr/..", "root/usr/bin/../..", "link", "link/etc/.."] {
            assert!(is_root(path), "{path}");
        }
        std::fs::create_dir_all(at("container/proc/self")).unwrap();
        assert!(is_root("container"));
        for path in [".", "root/usr", "other", "twice", "container/proc"] {
            assert!(!is_root(path), "{path}");
        }
        // As if a part of the root were mounted there, too.
        std::fs::rename(at("root/etc"), at("twice/etc")).unwrap();
        std::os::unix::fs::symlink("../twice/etc", at("root/etc")).unwrap();
        let mut system = System::at(&at("root"));
        system.essential[0] = System::at(&at("twice")).essential[0];
        assert!(system.is_root(&Directory::open(&at("twice")).unwrap()));
        // Where there is no root to compare with, nothing is taken for it.
        assert!(!System::at(&at("missing")).is_root(&Directory::open(&at("other")).unwrap()));
    }
}
