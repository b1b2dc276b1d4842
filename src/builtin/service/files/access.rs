//! Which files a service gives to whom: a decision without I/O.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

/// The most paths and the most directories that are registered.
const MAX_REGISTERED: usize = 1 << 16;

/// What was registered.
#[derive(Debug, Default)]
pub(super) struct Registered {
    paths: BTreeSet<PathBuf>,
    directories: BTreeSet<PathBuf>,
}

/// How a file is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Access {
    /// By its path.
    Path(PathBuf),
    /// At a path beneath a directory, and nowhere else.
    Beneath { directory: PathBuf, rest: PathBuf },
}

impl Registered {
    /// Registers a path. Returns false if there are too many.
    pub(super) fn add(&mut self, path: PathBuf) -> bool {
        add(&mut self.paths, path)
    }

    /// Registers a directory. Returns false if there are too many.
    pub(super) fn add_directory(&mut self, path: PathBuf) -> bool {
        add(&mut self.directories, path)
    }

    /// Takes back a path and a directory of this name.
    pub(super) fn remove(&mut self, path: &Path) {
        self.paths.remove(path);
        self.directories.remove(path);
    }

    /// How to open the file at `path`, which [`clean`] has made. `None` if the asker does not get it.
    pub(super) fn decide(&self, path: &Path, has_authority: bool) -> Option<Access> {
        let is_everything_open = self.directories.contains(Path::new("/"));
        if has_authority || is_everything_open || self.paths.contains(path) {
            return Some(Access::Path(path.to_owned()));
        }
        // From the widest to the narrowest: what stays beneath one of them stays beneath those above it.
        let above: Vec<&Path> = path.ancestors().skip(1).collect();
        let directory = above.into_iter().rev().find(|above| self.directories.contains(*above))?;
        let rest = path.strip_prefix(directory).ok()?;
        Some(Access::Beneath { directory: directory.to_owned(), rest: rest.to_owned() })
    }
}

fn add(set: &mut BTreeSet<PathBuf>, path: PathBuf) -> bool {
    set.len() < MAX_REGISTERED && {
        set.insert(path);
        true
    }
}

/// The path without `.`, `..` and double slashes, judged by its text alone. `None` if it is not absolute.
pub(super) fn clean(path: &Path) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(clean.pop()),
            Component::CurDir => {}
            part => clean.push(part),
        }
    }
    clean.is_absolute().then_some(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registered() -> Registered {
        let mut registered = Registered::default();
        assert!(registered.add("/srv/app.tar".into()));
        assert!(registered.add_directory("/etc/app".into()));
        assert!(registered.add_directory("/etc/app/deep/er".into()));
        registered
    }

    #[test]
    fn a_file_is_given_if_it_is_registered_or_beneath_a_registered_directory() {
        let registered = registered();
        let decide = |path: &str| registered.decide(&clean(Path::new(path)).unwrap(), false);
        let beneath = |rest: &str| Some(Access::Beneath { directory: "/etc/app".into(), rest: rest.into() });
        assert_eq!(decide("/srv/app.tar"), Some(Access::Path("/srv/app.tar".into())));
        assert_eq!(decide("/srv/./x/..//app.tar"), Some(Access::Path("/srv/app.tar".into())));
        assert_eq!(decide("/etc/app/a"), beneath("a"));
        assert_eq!(decide("/etc/app/deep/er/a"), beneath("deep/er/a"), "the widest directory counts");
        for path in ["/", "/srv", "/srv/app.tar/x", "/srv/app.tarx", "/etc/apple", "/etc/app", "/etc/app/../passwd"] {
            assert_eq!(decide(path), None, "{path}");
        }
    }

    #[test]
    fn authority_and_the_root_open_everything() {
        let mut registered = registered();
        let path = Path::new("/etc/passwd");
        assert_eq!(registered.decide(path, true), Some(Access::Path(path.into())));
        registered.add_directory("/".into());
        assert_eq!(registered.decide(path, false), Some(Access::Path(path.into())));
        registered.remove(Path::new("/"));
        assert_eq!(registered.decide(path, false), None);
    }

    #[test]
    fn a_relative_path_is_none() {
        for path in ["", "a", "./a", "../a"] {
            assert_eq!(clean(Path::new(path)), None, "{path}");
        }
        assert_eq!(clean(Path::new("/../../a/b/..")), Some("/a".into()));
    }

    #[test]
    fn the_number_of_registered_paths_is_bounded() {
        let mut registered = Registered::default();
        let added = (0..=MAX_REGISTERED).map(|number| registered.add(format!("/{number}").into()));
        assert_eq!(added.filter(|added| *added).count(), MAX_REGISTERED);
    }
}
