//! The directory with the programs that stand in for ssh, scp and sftp.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::sys::temporary;
use nix::unistd::{AccessFlags, access};

/// The begin of the name of a directory with stand-ins.
const DIRECTORY: &str = "offshoot-with.";
/// How often another name is tried, if a directory is there already.
const ATTEMPTS: u32 = 100;
/// Programs that start ssh by a path of their own. They take another with `-S`.
const TAKE_A_PROGRAM: [&str; 2] = ["scp", "sftp"];

/// The directory. It is removed on drop.
#[derive(Debug)]
pub(crate) struct StandIns {
    directory: PathBuf,
    path: OsString,
}

impl StandIns {
    /// Makes the directory. `ssh` returns the line of shell that takes the arguments of ssh; it gets the directory.
    ///
    /// # Errors
    ///
    /// If no directory for temporary files takes programs.
    pub(crate) fn new(ssh: &dyn Fn(&Path) -> OsString) -> io::Result<Self> {
        let before = std::env::var_os("PATH").unwrap_or_default();
        let mut last = io::Error::from(ErrorKind::NotFound);
        let directories = [
            Some(temporary::directory()),
            std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from),
            Some("/dev/shm".into()),
            Some("/var/tmp".into()),
        ];
        for parent in directories.into_iter().flatten().filter(|parent| parent.is_absolute()) {
            let made = private_directory(&parent).and_then(|directory| {
                let path = [directory.as_os_str(), &before].join(OsStr::new(":"));
                let stand_ins = Self { directory, path };
                stand_ins.fill(&ssh(&stand_ins.directory), &before)?;
                Ok(stand_ins)
            });
            match made {
                Ok(stand_ins) => return Ok(stand_ins),
                Err(error) => last = io::Error::new(error.kind(), format!("{}: {error}", parent.display())),
            }
        }
        Err(last)
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    fn fill(&self, ssh: &OsStr, before: &OsStr) -> io::Result<()> {
        // What our own program starts is the real ssh.
        self.write("ssh", &[OsStr::new("PATH="), &word(before), OsStr::new("\n"), ssh].join(OsStr::new("")))?;
        let own = self.ssh();
        for name in TAKE_A_PROGRAM {
            let found = std::env::split_paths(before).map(|at| at.join(name)).find(|file| is_program(file));
            if let Some(program) = found {
                let words = [program.as_os_str(), OsStr::new("-S"), own.as_os_str()];
                self.write(name, &[OsStr::new("exec "), &line(words)].join(OsStr::new("")))?;
            }
        }
        // A file system may be mounted noexec.
        Ok(access(&own, AccessFlags::X_OK)?)
    }

    fn write(&self, name: &str, command: &OsStr) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o700).open(self.directory.join(name))?;
        file.write_all(&[b"#!/bin/sh\n", command.as_bytes(), b" \"$@\"\n"].concat())
    }

    fn ssh(&self) -> PathBuf {
        self.directory.join("ssh")
    }

    /// What leads a program to the stand-ins.
    pub(crate) fn variables(&self) -> [(&'static str, OsString); 4] {
        [
            ("PATH", self.path.clone()),
            ("RSYNC_RSH", for_rsync(self.ssh().as_os_str())),
            ("GIT_SSH_COMMAND", word(self.ssh().as_os_str())),
            ("GIT_SSH_VARIANT", "ssh".into()),
        ]
    }
}

impl Drop for StandIns {
    fn drop(&mut self) {
        // If the system refuses, nothing else can be done.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Words as `sh` takes them, whatever bytes are in them.
pub(crate) fn line<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> OsString {
    let words: Vec<OsString> = words.into_iter().map(|each| word(each.as_ref())).collect();
    words.join(OsStr::new(" "))
}

fn word(word: &OsStr) -> OsString {
    quoted(word, r"'\''")
}

/// A word as rsync takes it: within quotes, a quote is written twice.
fn for_rsync(word: &OsStr) -> OsString {
    quoted(word, "''")
}

fn quoted(word: &OsStr, quote_inside: &str) -> OsString {
    let quote = OsStr::new("'");
    let parts: Vec<&OsStr> = word.as_bytes().split(|byte| *byte == b'\'').map(OsStr::from_bytes).collect();
    [quote, &parts.join(OsStr::new(quote_inside)), quote].join(OsStr::new(""))
}

/// Whether a directory has the name of one that has stand-ins.
#[cfg(feature = "cli")]
pub(crate) fn is_of_stand_ins(directory: &Path) -> bool {
    directory.file_name().is_some_and(|name| name.as_bytes().starts_with(DIRECTORY.as_bytes()))
}

/// Makes a directory of a new name that only this user can enter.
fn private_directory(parent: &Path) -> io::Result<PathBuf> {
    for nth in 0..ATTEMPTS {
        let directory = parent.join(format!("{DIRECTORY}{}.{nth}", std::process::id()));
        match DirBuilder::new().mode(0o700).create(&directory) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => return made.map(|()| directory),
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}

fn is_program(file: &Path) -> bool {
    file.is_file() && access(file, AccessFlags::X_OK).is_ok()
}
