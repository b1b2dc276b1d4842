//! An open directory, and what is in it. Nothing here follows a symbolic link, so that another user cannot lead
//! this process elsewhere by planting one.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use nix::dir::{Dir, OwningIter};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, readlinkat, renameat};
#[cfg(target_os = "linux")]
use nix::fcntl::{OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{
    FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, fstat, fstatat, futimens, mkdirat, mode_t,
    utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, geteuid, linkat, symlinkat, unlinkat};

/// Names of one directory or above it.
const DOTS: [&[u8]; 2] = [b".", b".."];

/// The mode of a directory or file that is not finished.
const PRIVATE: Mode = Mode::S_IRWXU;
/// The mode of a file that only its owner can read.
pub(crate) const OWNER_ONLY: u32 = 0o600;
/// What the owner of a directory needs to change what is in it.
const OWNER: u32 = 0o700;

/// An open directory.
#[derive(Debug, Clone)]
pub(crate) struct Directory(Arc<OwnedFd>);

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Link,
    /// A device, a socket or a pipe.
    Other,
}

/// What the system knows of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) kind: Kind,
    pub(crate) size: u64,
    /// The permissions, with the bits that set the user and the group.
    pub(crate) mode: u32,
    /// Seconds since 1970, and nanoseconds.
    pub(crate) modified: (i64, u32),
    pub(crate) user: u32,
    pub(crate) group: u32,
    /// The device and the inode.
    pub(crate) identity: (u64, u64),
    pub(crate) links: u64,
    /// Whether it takes less room than its size, because it has holes.
    pub(crate) is_sparse: bool,
}

impl Stat {
    /// What is known of an open file.
    pub(crate) fn of(file: impl AsFd) -> io::Result<Self> {
        Ok(Self::from_raw(&fstat(file)?))
    }

    #[expect(clippy::unnecessary_cast, reason = "the types differ from system to system")]
    fn from_raw(stat: &FileStat) -> Self {
        let kind = match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFREG => Kind::File,
            SFlag::S_IFDIR => Kind::Directory,
            SFlag::S_IFLNK => Kind::Link,
            _ => Kind::Other,
        };
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        Self {
            kind,
            size,
            mode: stat.st_mode as u32 & 0o7777,
            modified: (stat.st_mtime as i64, u32::try_from(stat.st_mtime_nsec).unwrap_or(0)),
            user: stat.st_uid,
            group: stat.st_gid,
            identity: (stat.st_dev as u64, stat.st_ino as u64),
            links: stat.st_nlink as u64,
            // The system counts blocks of 512 bytes.
            is_sparse: u64::try_from(stat.st_blocks).unwrap_or(0) * 512 < size,
        }
    }
}

/// Whether this is the name of something in a directory, and not of another place.
pub(crate) fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && !DOTS.contains(&name) && !name.contains(&b'/') && !name.contains(&0)
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Directory {
    /// Opens a directory by its path. Here, and here alone, symbolic links are followed: the user has named it.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let opened = match openat(AT_FDCWD, path, flags | OFlag::O_RDONLY, Mode::empty()) {
            // Its names cannot be listed, but files in it can be made and renamed.
            #[cfg(target_os = "linux")]
            Err(Errno::EACCES) => openat(AT_FDCWD, path, flags | OFlag::O_PATH, Mode::empty()),
            opened => opened,
        };
        Ok(Self(Arc::new(opened?)))
    }

    /// Opens the directory that a file is in or gets into, and takes the name of the file from the path.
    pub(crate) fn of_file(path: &Path) -> io::Result<(Self, &[u8])> {
        let no_name = || io::Error::new(io::ErrorKind::InvalidInput, "the path does not end with the name of a file");
        let name = path.file_name().map(OsStr::as_bytes).ok_or_else(no_name)?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        Ok((Self::open(parent)?, name))
    }

    /// Opens the directory at a path below this one.
    ///
    /// # Errors
    ///
    /// If the path leads out of this directory, or a part of it is no directory.
    pub(crate) fn below(&self, path: &[u8]) -> io::Result<Self> {
        if path.is_empty() {
            return Ok(self.clone());
        }
        if !path.split(|byte| *byte == b'/').all(is_name) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path leads out of the directory"));
        }
        #[cfg(target_os = "linux")]
        if let Ok(directory) = self.below_at_once(path, ResolveFlag::RESOLVE_NO_SYMLINKS) {
            return Ok(directory);
        }
        // Also if the system does not know the call above; the error is then the one of the part that fails.
        let mut directory = self.clone();
        for name in path.split(|byte| *byte == b'/') {
            directory = directory.child(name)?;
        }
        Ok(directory)
    }

    #[cfg(target_os = "linux")]
    fn below_at_once(&self, path: &[u8], limits: ResolveFlag) -> nix::Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_BENEATH | limits);
        openat2(self, path, how).map(|fd| Self(Arc::new(fd)))
    }

    fn child(&self, name: &[u8]) -> io::Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        match openat(self, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Self(Arc::new(fd))),
            Err(Errno::ELOOP | Errno::ENOTDIR) => Err(Errno::ENOTDIR.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a directory of this name, if nothing is mounted on it.
    pub(crate) fn enter(&self, name: &[u8]) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        match self.below_at_once(name, ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV) {
            Err(Errno::EXDEV) => return Err(Errno::EBUSY.into()),
            Err(Errno::ENOSYS | Errno::EPERM) => {}
            opened => return Ok(opened?),
        }
        // A directory of the same file system that is mounted here is not told apart.
        let directory = self.child(name)?;
        let is_same = Stat::of(&directory)?.identity.0 == Stat::of(self)?.identity.0;
        if is_same { Ok(directory) } else { Err(Errno::EBUSY.into()) }
    }

    /// What is known of a name. `None` if there is nothing of this name.
    pub(crate) fn stat(&self, name: &[u8]) -> io::Result<Option<Stat>> {
        match fstatat(self, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Stat::from_raw(&stat))),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The names in the directory, in no order.
    pub(crate) fn names(&self) -> io::Result<Names> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        // With a position of its own.
        Ok(Names(Dir::openat(self, ".", flags, Mode::empty())?.into_iter()))
    }

    /// Opens a file for reading. With `follows`, its last part may be a symbolic link.
    pub(crate) fn read(&self, name: &[u8], follows: bool) -> io::Result<File> {
        // A pipe without a writer does not hold it up.
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let flags = if follows { flags } else { flags | OFlag::O_NOFOLLOW };
        Ok(openat(self, name, flags, Mode::empty())?.into())
    }

    /// Makes a file for writing, with this mode as far as the umask leaves it. Fails if the name is taken.
    pub(crate) fn create(&self, name: &[u8], mode: u32) -> io::Result<File> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(openat(self, name, flags, bits(mode))?.into())
    }

    /// Opens a file to write at its end. A new one has the mode that the umask leaves, and its name must not be taken.
    #[cfg(feature = "cli")]
    pub(crate) fn append_for_all(&self, name: &[u8], is_new: bool) -> io::Result<File> {
        let new = if is_new { OFlag::O_CREAT | OFlag::O_EXCL } else { OFlag::empty() };
        let flags = new | OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(openat(self, name, flags, Mode::from_bits_truncate(0o666))?.into())
    }

    /// Opens a file for reading and writing.
    pub(crate) fn write(&self, name: &[u8]) -> io::Result<File> {
        let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        Ok(openat(self, name, flags, Mode::empty())?.into())
    }

    /// Makes a directory that only its owner can enter.
    pub(crate) fn make(&self, name: &[u8]) -> io::Result<()> {
        Ok(mkdirat(self, name, PRIVATE)?)
    }

    /// Makes a directory with the mode that the umask leaves.
    #[cfg(any(feature = "cli", test))]
    pub(crate) fn make_for_all(&self, name: &[u8]) -> io::Result<()> {
        Ok(mkdirat(self, name, Mode::S_IRWXU | Mode::S_IRWXG | Mode::S_IRWXO)?)
    }

    pub(crate) fn link(&self, name: &[u8], from: &Self, other: &[u8]) -> io::Result<()> {
        Ok(linkat(from, other, self, name, AtFlags::empty())?)
    }

    pub(crate) fn make_symlink(&self, name: &[u8], target: &[u8]) -> io::Result<()> {
        Ok(symlinkat(target, self, name)?)
    }

    /// Where a symbolic link leads.
    pub(crate) fn symlink(&self, name: &[u8]) -> io::Result<Vec<u8>> {
        use std::os::unix::ffi::OsStringExt;
        Ok(readlinkat(self, name)?.into_vec())
    }

    /// Renames within the directory, over what has the new name.
    pub(crate) fn rename(&self, name: &[u8], to: &[u8]) -> io::Result<()> {
        Ok(renameat(self, name, self, to)?)
    }

    pub(crate) fn remove(&self, name: &[u8]) -> io::Result<()> {
        Ok(unlinkat(self, name, UnlinkatFlags::NoRemoveDir)?)
    }

    /// Removes what has this name, with all that is in it. `deepest` is how far down it goes. It enters no directory that
    /// `is_spared`, and none on which something is mounted. What somebody else removes meanwhile is no error.
    pub(crate) fn remove_all(&self, name: &[u8], deepest: u32, is_spared: &dyn Fn(&Self) -> bool) -> io::Result<()> {
        if !self.stat(name)?.is_some_and(|stat| stat.kind == Kind::Directory) {
            return match self.remove(name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                removed => removed,
            };
        }
        let Some(deeper) = deepest.checked_sub(1) else { return Err(Errno::ENAMETOOLONG.into()) };
        self.open_up(name);
        let directory = self.enter(name)?;
        if is_spared(&directory) {
            return Err(Errno::EBUSY.into());
        }
        for inside in directory.names()? {
            directory.remove_all(&inside?, deeper, is_spared)?;
        }
        Ok(unlinkat(self, name, UnlinkatFlags::RemoveDir)?)
    }

    /// Lets this user write into the directory of this name, if it is the user's and has no permission for that. Whether
    /// that was done shows when something is written. Root needs no permission.
    pub(crate) fn open_up(&self, name: &[u8]) {
        let user = geteuid();
        if user.is_root() {
            return;
        }
        let Ok(Some(stat)) = self.stat(name) else { return };
        if stat.user == user.as_raw() && stat.mode & OWNER != OWNER {
            let _ = self.permit(name, stat.mode | OWNER);
        }
    }

    /// Sets the owner of a name. Sets nothing that is `None`.
    pub(crate) fn own(&self, name: &[u8], (user, group): (Option<u32>, Option<u32>)) -> io::Result<()> {
        let (user, group) = (user.map(Uid::from_raw), group.map(Gid::from_raw));
        Ok(fchownat(self, name, user, group, AtFlags::AT_SYMLINK_NOFOLLOW)?)
    }

    /// Sets the mode of a file or directory.
    pub(crate) fn permit(&self, name: &[u8], mode: u32) -> io::Result<()> {
        // Linux cannot change the mode of a name without following it, so the name is opened.
        match self.read(name, false) {
            Ok(file) => permit(&file, mode),
            // A file that we may not read is still ours, and no symbolic link where its owner alone can rename it.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Ok(fchmodat(self, name, bits(mode), FchmodatFlags::NoFollowSymlink)?)
            }
            Err(error) => Err(error),
        }
    }

    /// Sets when a name was modified.
    pub(crate) fn stamp(&self, name: &[u8], modified: (i64, u32)) -> io::Result<()> {
        let [access, modified] = times(modified);
        Ok(utimensat(self, name, &access, &modified, UtimensatFlags::NoFollowSymlink)?)
    }
}

/// Sets the owner of an open file. Sets nothing that is `None`.
pub(crate) fn own(file: impl AsFd, (user, group): (Option<u32>, Option<u32>)) -> io::Result<()> {
    Ok(fchown(file, user.map(Uid::from_raw), group.map(Gid::from_raw))?)
}

/// Sets the mode of an open file.
pub(crate) fn permit(file: impl AsFd, mode: u32) -> io::Result<()> {
    Ok(fchmod(file, bits(mode))?)
}

/// Sets when an open file was modified.
pub(crate) fn stamp(file: impl AsFd, modified: (i64, u32)) -> io::Result<()> {
    let [access, modified] = times(modified);
    Ok(futimens(file, &access, &modified)?)
}

fn bits(mode: u32) -> Mode {
    Mode::from_bits_truncate(mode as mode_t)
}

/// The time of access, which stays, and the time of modification.
fn times((seconds, nanoseconds): (i64, u32)) -> [TimeSpec; 2] {
    [TimeSpec::UTIME_OMIT, TimeSpec::new(seconds as _, nanoseconds.min(999_999_999) as _)]
}

/// Locks an open file for this process, until all its descriptors are closed. Returns whether nobody else has locked
/// it. A file system without locks lets everyone.
#[expect(unsafe_code, reason = "nix has only a lock that owns its file")]
pub(crate) fn lock(file: &File) -> io::Result<bool> {
    // SAFETY: the descriptor is open for the time of the call, which takes no pointers.
    let result = unsafe { nix::libc::flock(file.as_raw_fd(), nix::libc::LOCK_EX | nix::libc::LOCK_NB) };
    match Errno::result(result) {
        Ok(_) | Err(Errno::ENOLCK | Errno::EOPNOTSUPP | Errno::ENOSYS) => Ok(true),
        Err(Errno::EWOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The names in a directory.
pub(crate) struct Names(OwningIter);

impl Iterator for Names {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.0.next()? {
                Ok(entry) if DOTS.contains(&entry.file_name().to_bytes()) => {}
                Ok(entry) => return Some(Ok(entry.file_name().to_bytes().to_vec())),
                Err(error) => return Some(Err(error.into())),
            }
        }
    }
}

/// The part of a file that has bytes at or after `at`, as its begin and its end. `None` if only a hole follows.
#[cfg(target_os = "linux")]
pub(crate) fn next_data(file: &File, at: u64, size: u64) -> io::Result<Option<(u64, u64)>> {
    use nix::unistd::{Whence, lseek64};
    let seek = |at: u64, whence| match lseek64(file, i64::try_from(at).map_err(io::Error::other)?, whence) {
        Ok(found) => Ok(Some(u64::try_from(found).unwrap_or(0))),
        Err(Errno::ENXIO) => Ok(None),
        Err(error) => Err(io::Error::from(error)),
    };
    let Some(begin) = seek(at, Whence::SeekData)?.filter(|begin| *begin < size) else { return Ok(None) };
    let end = seek(begin, Whence::SeekHole)?.unwrap_or(size);
    Ok(Some((begin, end.min(size))))
}

/// Where the system does not tell where the holes are, all is data.
#[cfg(not(target_os = "linux"))]
pub(crate) fn next_data(_: &File, at: u64, size: u64) -> io::Result<Option<(u64, u64)>> {
    Ok((at < size).then_some((at, size)))
}

/// Has the system begin to bring this part of a file to the disk. It does not wait, and says nothing of failures: those are
/// told by [`to_disk`].
#[cfg(target_os = "linux")]
pub(crate) fn begin_to_disk(file: &File, from: u64, to: u64) {
    use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
    let (Ok(from), Ok(count)) = (from.try_into(), (to - from).try_into()) else { return };
    // Linux does so with what it is told to forget. It forgets what is there already, which nothing of this part is.
    let _ = posix_fadvise(file, from, count, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
}

/// Other systems begin by themselves.
#[cfg(not(target_os = "linux"))]
pub(crate) fn begin_to_disk(_: &File, _: u64, _: u64) {}

/// Brings to the disk what was written to these files, which are in one directory.
pub(crate) fn to_disk(files: &[&File]) -> io::Result<()> {
    /// With this many files, the whole file system is told once, which takes less time than one file after the other.
    #[cfg(target_os = "linux")]
    const MANY: usize = 8;
    #[cfg(target_os = "linux")]
    if let [first, ..] = files
        && files.len() >= MANY
    {
        return Ok(nix::unistd::syncfs(first)?);
    }
    files.iter().try_for_each(|file| file.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_leads_out_is_not_opened() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(place.path().join("root/a/b")).unwrap();
        std::os::unix::fs::symlink("..", place.path().join("root/up")).unwrap();
        std::os::unix::fs::symlink("a", place.path().join("root/in")).unwrap();
        let root = Directory::open(&place.path().join("root")).unwrap();
        assert!(root.below(b"a/b").is_ok() && root.below(b"").is_ok());
        for path in
            [&b".."[..], b"a/..", b"a/../..", b"/", b"/etc", b"a//b", b"a/", b"up", b"up/root", b"in/b", b"a\0b"]
        {
            assert!(root.below(path).is_err(), "{}", path.escape_ascii());
        }
    }

    #[test]
    fn a_tree_is_removed_without_what_its_links_lead_to() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(place.path().join("x/a/b")).unwrap();
        std::fs::create_dir(place.path().join("kept")).unwrap();
        std::fs::write(place.path().join("kept/file"), "").unwrap();
        std::os::unix::fs::symlink("../../kept", place.path().join("x/a/link")).unwrap();
        let root = Directory::open(place.path()).unwrap();
        assert!(root.remove_all(b"x", 2, &|_| false).is_err(), "deeper than that");
        let spared = Stat::of(root.below(b"x/a/b").unwrap()).unwrap().identity;
        let is_spared = |directory: &Directory| Stat::of(directory).unwrap().identity == spared;
        let error = root.remove_all(b"x", 9, &is_spared).unwrap_err();
        assert!(error.kind() == io::ErrorKind::ResourceBusy && place.path().join("x/a/b").exists(), "{error}");
        root.remove_all(b"x", 9, &|_| false).unwrap();
        assert!(!place.path().join("x").exists() && place.path().join("kept/file").exists());
    }
}
