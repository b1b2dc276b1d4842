//! Whether what stands in the current directory is the user's. Inventories say which programs are run here, and a directory
//! of somebody else can have one that nobody has asked for.

use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use nix::unistd::{getegid, geteuid};

use crate::cli::inventory::files::{MAX_ENTRIES, names};

/// The mode bits for the group and for everyone.
const BY_GROUP: u32 = 0o020;
const BY_EVERYONE: u32 = 0o002;
/// How deep directories may stand in each other.
const MAX_LEVELS: usize = 8;

/// Who reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader {
    user: u32,
    group: u32,
}

impl Reader {
    pub(super) fn of_process() -> Self {
        // The user that has become root by sudo is another one: a rule of sudo may let it do this and nothing else.
        Self { user: geteuid().as_raw(), group: getegid().as_raw() }
    }

    /// Why somebody else may have a hand in a file or a directory; `None` if only this user and root do, and the user's own
    /// group. What is not there belongs to nobody else.
    pub(super) fn doubts(self, path: &Path) -> Option<String> {
        self.of_metadata(&path.metadata().ok()?).map(|why| format!("{} {why}", path.display()))
    }

    fn of_metadata(self, data: &Metadata) -> Option<&'static str> {
        let mode = data.permissions().mode();
        if ![self.user, 0].contains(&data.uid()) {
            Some("belongs to another user")
        } else if mode & BY_EVERYONE != 0 {
            Some("can be written by everyone")
        } else if mode & BY_GROUP != 0 && self.group != data.gid() {
            Some("can be written by another group")
        } else {
            None
        }
    }

    /// The same for an inventory, with the files in it if it is a directory, and with the variables beside it.
    pub(super) fn doubts_inventory(self, path: &Path) -> Option<String> {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        let beside = if path.is_dir() { path } else { directory };
        let vars = ["group_vars", "host_vars"].map(|name| beside.join(name));
        self.doubts(directory)
            .or_else(|| self.doubts_tree(path, MAX_LEVELS))
            .or_else(|| vars.iter().find_map(|vars| self.doubts_tree(vars, MAX_LEVELS)))
    }

    fn doubts_tree(self, path: &Path, levels: usize) -> Option<String> {
        if let Some(why) = self.doubts(path) {
            return Some(why);
        }
        // Where names cannot be read, what reads the inventory says so. What is deeper is not read.
        if levels == 0 || !path.is_dir() {
            return None;
        }
        let names = names(path, MAX_ENTRIES).unwrap_or_default();
        names.iter().find_map(|name| self.doubts_tree(&path.join(name), levels - 1))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, create_dir, set_permissions, write};

    use super::*;

    #[test]
    fn what_others_may_write_or_own_is_doubted() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        write(&file, "").unwrap();
        let (user, group) = (file.metadata().unwrap().uid(), file.metadata().unwrap().gid());
        let of = |mode: u32, user: u32, group: u32| {
            set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            Reader { user, group }.doubts(&file)
        };
        assert_eq!(of(0o644, user, group + 1), None);
        assert_eq!(of(0o664, user, group), None);
        assert!(of(0o664, user, group + 1).unwrap().ends_with("file can be written by another group"));
        assert!(of(0o646, user, group).unwrap().ends_with("can be written by everyone"));
        // What belongs to root, as the file of this test may, is that of every user.
        assert_eq!(of(0o600, user + 1, group).is_some(), user != 0);
        let stranger = Reader { user: 12345, group: 12345 };
        assert_eq!((stranger.doubts(Path::new("/")), stranger.doubts(Path::new("/nonexistent"))), (None, None));
    }

    #[test]
    fn an_inventory_is_doubted_for_whatever_is_read_with_it() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        create_dir(at("hosts")).unwrap();
        create_dir(at("hosts/host_vars")).unwrap();
        for name in ["hosts/a", "hosts/host_vars/web", "single"] {
            write(at(name), "web\n").unwrap();
        }
        let reader = Reader::of_process();
        for (inventory, writable) in [
            ("hosts", "hosts"),
            ("hosts", "hosts/a"),
            ("hosts", "hosts/host_vars"),
            ("hosts", "hosts/host_vars/web"),
            ("single", "single"),
            ("single", "."),
        ] {
            assert_eq!(reader.doubts_inventory(&at(inventory)), None);
            let before = at(writable).metadata().unwrap().permissions();
            set_permissions(at(writable), Permissions::from_mode(before.mode() | BY_EVERYONE)).unwrap();
            assert!(reader.doubts_inventory(&at(inventory)).is_some(), "{writable}");
            set_permissions(at(writable), before).unwrap();
        }
    }
}
