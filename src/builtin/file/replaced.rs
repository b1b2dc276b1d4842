//! What a file takes over from the one that it replaces.

use std::fs::File;
use std::io;

use crate::builtin::file::tree::decision::{NO_FILE, SET_GROUP, SET_USER};
use crate::sys::directory::{Directory, Kind, Stat, own};

/// The owner, the group and the mode of the file that is replaced.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Replaced {
    user: u32,
    group: u32,
    mode: u32,
}

impl Replaced {
    /// Looks at the file that has this name. `None` if there is none, or a symbolic link has the name.
    ///
    /// # Errors
    ///
    /// If something else has the name, which cannot be replaced, and what the system says.
    pub(crate) fn at(directory: &Directory, name: &[u8]) -> io::Result<Option<Self>> {
        let Some(found) = directory.stat(name)? else { return Ok(None) };
        match found.kind {
            Kind::Directory => Err(io::ErrorKind::IsADirectory.into()),
            Kind::File => Ok(Some(Self { user: found.user, group: found.group, mode: found.mode })),
            Kind::Link => Ok(None),
            Kind::Other => Err(io::Error::new(io::ErrorKind::InvalidInput, NO_FILE)),
        }
    }

    /// Gives its owner and its group to the new file, as far as this process may, and returns the mode for that file. If
    /// one of them cannot be given, a program does not run as its owner: that would be somebody who was not meant.
    pub(crate) fn hand_over(&self, file: &File) -> io::Result<u32> {
        let new = Stat::of(file)?;
        let has_user = new.user == self.user || own(file, (Some(self.user), None)).is_ok();
        let has_group = new.group == self.group || own(file, (None, Some(self.group))).is_ok();
        Ok(if has_user && has_group { self.mode } else { self.mode & !(SET_USER | SET_GROUP) })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

    use super::*;

    #[test]
    fn the_owner_stays_or_the_file_is_no_program_that_sets_it() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        let directory = Directory::open(place.path()).unwrap();
        assert!(Replaced::at(&directory, b"old").unwrap().is_none());
        let old = File::create(path("old")).unwrap();
        let is_root = nix::unistd::geteuid().is_root();
        if is_root {
            chown(path("old"), Some(1), Some(2)).unwrap();
        }
        old.set_permissions(PermissionsExt::from_mode(0o4750)).unwrap();
        let replaced = Replaced::at(&directory, b"old").unwrap().unwrap();
        let new = File::create(path("new")).unwrap();
        assert_eq!(replaced.hand_over(&new).unwrap(), 0o4750);
        let [old, new] = [old, new].map(|file| file.metadata().unwrap());
        assert_eq!((new.uid(), new.gid()), (old.uid(), old.gid()));
        if !is_root {
            let replaced = Replaced { user: replaced.user + 1, ..replaced };
            assert_eq!(replaced.hand_over(&File::open(path("new")).unwrap()).unwrap(), 0o750);
        }
        symlink("old", path("link")).unwrap();
        assert!(Replaced::at(&directory, b"link").unwrap().is_none());
        nix::unistd::mkfifo(&path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(Replaced::at(&directory, b"pipe").unwrap_err().kind(), io::ErrorKind::InvalidInput);
        std::fs::create_dir(path("directory")).unwrap();
        assert_eq!(Replaced::at(&directory, b"directory").unwrap_err().kind(), io::ErrorKind::IsADirectory);
    }
}
