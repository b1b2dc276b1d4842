//! Stand-ins for `ssh` that run the real one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::helper::DAMAGE;

/// A directory with a program `ssh` in it.
#[derive(Debug)]
pub(crate) struct Launcher {
    directory: TempDir,
}

impl Launcher {
    /// Writes down what ssh is to run, so that its nonce is known whatever happens.
    pub(crate) fn that_notes() -> Result<Self> {
        Self::new("")
    }

    /// Notes likewise, and damages what goes in; see [`helper`](crate::helper).
    pub(crate) fn that_damages(how: &str, place: &str) -> Result<Self> {
        let this = std::env::current_exe()?;
        Self::new(&format!("'{}' {DAMAGE} {how} {place} \"$0.damaged\"", this.display()))
    }

    fn new(runner: &str) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("ofs-launcher").tempdir()?;
        // An ordinary user has to reach it, too.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
        let launcher = Self { directory };
        let script = format!(
            "#!/bin/sh\nfor last; do :; done\nprintf '%s\\n' \"$last\" >>\"$0.notes\"\nexec {runner} '{}' \"$@\"\n",
            real_ssh()?.display()
        );
        fs::write(launcher.directory.path().join("ssh"), script)?;
        fs::set_permissions(launcher.directory.path().join("ssh"), fs::Permissions::from_mode(0o755))?;
        Ok(launcher)
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

fn real_ssh() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|directory| directory.join("ssh"))
        .find(|file| file.is_file())
        .context("no ssh here")
}
