//! Joining the namespaces of another process, and becoming a user in them. Only for a process with
//! one thread.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sched::{CloneFlags, setns};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::prctl::{set_dumpable, set_pdeathsig};
use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;
use nix::unistd::{Gid, Uid, chroot, fchdir, setgroups, setresgid, setresuid};

use crate::sys::process::sys;

/// In the order in which they are joined. The user namespace comes last: joining it gives up the
/// rights that joining the others may need.
const KINDS: [(&str, CloneFlags); 7] = [
    ("ipc", CloneFlags::CLONE_NEWIPC),
    ("uts", CloneFlags::CLONE_NEWUTS),
    ("net", CloneFlags::CLONE_NEWNET),
    ("cgroup", CloneFlags::CLONE_NEWCGROUP),
    ("pid", CloneFlags::CLONE_NEWPID),
    ("mnt", CloneFlags::CLONE_NEWNS),
    ("user", CloneFlags::CLONE_NEWUSER),
];
/// A flag of `memfd_create` that is needed since Linux 6.3. Older kernels refuse it.
const MFD_EXEC: u32 = 0x10;

/// Open descriptors of the root of a process and of its namespaces. Namespaces that this process is
/// in already are left out.
#[derive(Debug)]
pub(crate) struct Namespaces {
    open: Vec<(&'static str, CloneFlags, File)>,
    root: File,
}

impl Namespaces {
    /// Opens them. Afterwards it does not matter whether the process lives, or whether another one
    /// gets its number.
    pub(crate) fn open(pid: i32) -> io::Result<Self> {
        let process = File::open(format!("/proc/{pid}"))?;
        let path = |name: &str| format!("/proc/self/fd/{}/{name}", process.as_raw_fd());
        let mut open = Vec::new();
        for (name, kind) in KINDS {
            let theirs = match File::open(path(&format!("ns/{name}"))) {
                Ok(file) => file,
                // Old kernels do not have all namespaces. If the process has gone, opening its root
                // fails.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let (own, its) = (std::fs::metadata(format!("/proc/self/ns/{name}"))?, theirs.metadata()?);
            if (own.dev(), own.ino()) != (its.dev(), its.ino()) {
                open.push((name, kind, theirs));
            }
        }
        Ok(Self { open, root: File::open(path("root"))? })
    }

    /// Joins all namespaces but the user namespace, and changes to the root. The error names the
    /// namespace that fails.
    pub(crate) fn join(&self) -> Result<(), (String, io::Error)> {
        // Processes in the container must not look into this process while it has more rights than
        // they have.
        let _ = set_dumpable(false);
        for (name, kind, file) in self.open.iter().filter(|(_, kind, _)| *kind != CloneFlags::CLONE_NEWUSER) {
            setns(file, *kind).map_err(|error| (format!("{name} namespace"), error.into()))?;
        }
        let root = fchdir(&self.root).and_then(|()| chroot("."));
        root.map_err(|error| ("root".into(), error.into()))
    }

    /// Joins the user namespace.
    pub(crate) fn join_users(&self) -> io::Result<()> {
        match self.open.iter().find(|(_, kind, _)| *kind == CloneFlags::CLONE_NEWUSER) {
            Some((_, kind, file)) => Ok(setns(file, *kind)?),
            None => Ok(()),
        }
    }
}

/// Forks, and returns in the new process. The new process is in the pid namespace that was joined.
/// The old process closes everything that it has open, and ends in the way the new one ends.
pub(crate) fn wait_for_successor() -> io::Result<()> {
    let Some(successor) = sys::fork()? else { return Ok(()) };
    // A process that waits for the end of the link must not wait for this one.
    for fd in 0..3 {
        sys::close(fd);
    }
    sys::ignore_requests_to_end();
    loop {
        match waitpid(successor, None) {
            Err(Errno::EINTR) => {}
            Ok(status) => crate::sys::process::ending::end_as(status),
            Err(_) => sys::exit_now(1),
        }
    }
}

/// Becomes the user, and gives up all other rights. From then on the process dies with its parent.
pub(crate) fn become_user(uid: u32, groups: &[u32]) -> io::Result<()> {
    let gids: Vec<Gid> = groups.iter().copied().map(Gid::from_raw).collect();
    setgroups(&gids)?;
    let gid = gids.first().copied().unwrap_or(Gid::from_raw(0));
    setresgid(gid, gid, gid)?;
    let uid = Uid::from_raw(uid);
    setresuid(uid, uid, uid)?;
    Ok(set_pdeathsig(Signal::SIGKILL)?)
}

/// A copy in memory that no process can change any more, and that every process may execute.
pub(crate) fn sealed_copy(bytes: &[u8]) -> io::Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let copy = memfd_create(c"offshoot", flags | MFdFlags::from_bits_retain(MFD_EXEC))
        .or_else(|_| memfd_create(c"offshoot", flags))?;
    let mut copy = File::from(copy);
    copy.write_all(bytes)?;
    let seals = SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
    fcntl(&copy, FcntlArg::F_ADD_SEALS(seals))?;
    // It is passed on by number, so the number is high enough not to collide with others.
    sys::dup_high(copy.as_raw_fd())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_sealed_copy_cannot_be_changed_when_it_is_opened_again() {
        let copy = sealed_copy(b"image").unwrap();
        let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
        let mut text = String::new();
        File::open(&path).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "image");
        let mut again = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        assert!(again.write_all(b"other").is_err());
        assert!(again.set_len(0).is_err());
    }

    #[test]
    fn own_namespaces_need_not_be_joined_and_a_process_that_has_gone_has_none() {
        let own = Namespaces::open(std::process::id().cast_signed()).unwrap();
        assert!(own.open.is_empty(), "{own:?}");
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id().cast_signed();
        child.wait().unwrap();
        assert!(Namespaces::open(pid).is_err());
    }
}
