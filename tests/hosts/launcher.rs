//! Programs that trials run: a copy of this binary that every user can execute, and programs in place of
//! `ssh` that run the real one.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::helper::{COUNT, DAMAGE, INTERPOSE};

/// Files that all trials share. They are written before the first trial begins. Otherwise a process that is
/// started at the same time would hold a file open for writing, and no process could execute it ("Text file
/// busy").
#[derive(Debug)]
struct Kit {
    controller: PathBuf,
    ssh: PathBuf,
}

static KIT: OnceLock<Kit> = OnceLock::new();

/// Creates these files. They exist as long as the returned directory lives.
pub(crate) fn prepare() -> Result<TempDir> {
    let directory = public_directory()?;
    let controller = directory.path().join("controller");
    fs::copy(std::env::current_exe()?, &controller)?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let real = std::env::split_paths(&path).map(|element| element.join("ssh")).find(|file| file.is_file());
    let script = format!(
        "#!/bin/sh
for last; do :; done
printf '%s\\n' \"$last\" >>\"$0.notes\"
[ ! -e \"$0.faults\" ] || exec '{controller}' {INTERPOSE} \"${{0%/*}}\" \"$@\"
[ ! -e \"$0.count\" ] || exec '{controller}' {COUNT} \"$0.counted\" '{ssh}' \"$@\"
[ -e \"$0.damage\" ] || exec '{ssh}' \"$@\"
exec '{controller}' {DAMAGE} $(cat \"$0.damage\") \"$0.damaged\" '{ssh}' \"$@\"
",
        ssh = real.context("no ssh here")?.display(),
        controller = controller.display(),
    );
    let ssh = directory.path().join("ssh");
    fs::write(&ssh, script)?;
    for program in [&controller, &ssh] {
        fs::set_permissions(program, fs::Permissions::from_mode(0o755))?;
    }
    let _ = KIT.set(Kit { controller, ssh });
    Ok(directory)
}

/// A copy of this binary that every user can execute.
pub(crate) fn controller() -> Result<&'static Path> {
    KIT.get().map(|kit| kit.controller.as_path()).context("nothing was prepared")
}

/// A directory with a program `ssh` in it.
#[derive(Debug)]
pub(crate) struct Launcher {
    directory: TempDir,
}

impl Launcher {
    /// Creates one that writes down the command for ssh, so that its nonce is known in any case.
    pub(crate) fn that_notes() -> Result<Self> {
        let launcher = Self { directory: public_directory()? };
        symlink(&KIT.get().context("nothing was prepared")?.ssh, launcher.program())?;
        Ok(launcher)
    }

    /// Creates one that also damages the input. See [`helper`](crate::helper).
    pub(crate) fn that_damages(how: &str, place: &str) -> Result<Self> {
        let launcher = Self::that_notes()?;
        fs::write(launcher.directory.path().join("ssh.damage"), format!("{how} {place}"))?;
        Ok(launcher)
    }

    /// Creates one that also counts the input.
    pub(crate) fn that_counts() -> Result<Self> {
        let launcher = Self::that_notes()?;
        fs::write(launcher.directory.path().join("ssh.count"), "")?;
        Ok(launcher)
    }

    /// The number of bytes of input.
    pub(crate) fn counted(&self) -> Result<u64> {
        let file = self.directory.path().join("ssh.counted");
        Ok(fs::read_to_string(file).context("nothing was counted")?.parse()?)
    }

    /// The path of the program, for `ssh_path`.
    pub(crate) fn program(&self) -> String {
        self.directory.path().join("ssh").display().to_string()
    }

    /// Puts its directory first in the PATH of a command.
    pub(crate) fn lead(&self, command: &mut Command) {
        lead(self.directory.path(), command);
    }

    /// The commands that ssh was given, one line per connect.
    pub(crate) fn notes(&self) -> PathBuf {
        self.directory.path().join("ssh.notes")
    }

    /// The time of the damage, in microseconds since 1970.
    pub(crate) fn damaged_at(&self) -> Result<u128> {
        let file = self.directory.path().join("ssh.damaged");
        Ok(fs::read_to_string(file).context("no damage was done")?.parse()?)
    }
}

/// Puts an interposer into a directory, which is the first in the PATH of the command. Returns the file with the commands
/// that it was given.
pub(crate) fn interpose(place: &Path, command: &mut Command) -> Result<PathBuf> {
    symlink(&KIT.get().context("nothing was prepared")?.ssh, place.join("ssh"))?;
    fs::write(place.join("ssh.faults"), "")?;
    lead(place, command);
    Ok(place.join("ssh.notes"))
}

fn lead(directory: &Path, command: &mut Command) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let elements = [directory.to_owned()].into_iter().chain(std::env::split_paths(&path));
    if let Ok(path) = std::env::join_paths(elements) {
        command.env("PATH", path);
    }
}

/// A directory that every user can enter.
fn public_directory() -> Result<TempDir> {
    let directory = tempfile::Builder::new().prefix("ofs-test").tempdir()?;
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
    Ok(directory)
}
