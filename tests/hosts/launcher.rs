//! Programs that trials have run: a copy of this binary that is everybody's, and stand-ins for `ssh` that run the
//! real one.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::helper::{COUNT, DAMAGE};

/// What all trials share. Written before the first of them begins: whoever starts a process meanwhile would hold
/// the file open for writing, and nobody could execute it ("Text file busy").
#[derive(Debug)]
struct Kit {
    controller: PathBuf,
    ssh: PathBuf,
}

static KIT: OnceLock<Kit> = OnceLock::new();

/// Makes what trials share, for as long as the directory that is returned lives.
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
    /// Writes down what ssh is to run, so that its nonce is known whatever happens.
    pub(crate) fn that_notes() -> Result<Self> {
        let launcher = Self { directory: public_directory()? };
        symlink(&KIT.get().context("nothing was prepared")?.ssh, launcher.program())?;
        Ok(launcher)
    }

    /// Notes likewise, and damages what goes in; see [`helper`](crate::helper).
    pub(crate) fn that_damages(how: &str, place: &str) -> Result<Self> {
        let launcher = Self::that_notes()?;
        fs::write(launcher.directory.path().join("ssh.damage"), format!("{how} {place}"))?;
        Ok(launcher)
    }

    /// Notes likewise, and counts what goes in.
    pub(crate) fn that_counts() -> Result<Self> {
        let launcher = Self::that_notes()?;
        fs::write(launcher.directory.path().join("ssh.count"), "")?;
        Ok(launcher)
    }

    /// The bytes that have gone in.
    pub(crate) fn counted(&self) -> Result<u64> {
        let file = self.directory.path().join("ssh.counted");
        Ok(fs::read_to_string(file).context("nothing was counted")?.parse()?)
    }

    /// The program, for `ssh_path`.
    pub(crate) fn program(&self) -> String {
        self.directory.path().join("ssh").display().to_string()
    }

    /// Puts it first in a command's PATH.
    pub(crate) fn lead(&self, command: &mut Command) {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let elements = [self.directory.path().to_owned()].into_iter().chain(std::env::split_paths(&path));
        if let Ok(path) = std::env::join_paths(elements) {
            command.env("PATH", path);
        }
    }

    /// What ssh was told to run, one connect a line.
    pub(crate) fn notes(&self) -> PathBuf {
        self.directory.path().join("ssh.notes")
    }

    /// When the damage was done, in microseconds since 1970.
    pub(crate) fn damaged_at(&self) -> Result<u128> {
        let file = self.directory.path().join("ssh.damaged");
        Ok(fs::read_to_string(file).context("no damage was done")?.parse()?)
    }
}

/// A directory that every user can enter.
fn public_directory() -> Result<TempDir> {
    let directory = tempfile::Builder::new().prefix("ofs-test").tempdir()?;
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
    Ok(directory)
}
