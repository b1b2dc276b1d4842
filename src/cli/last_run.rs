//! The hosts on which the last run did not succeed, kept for `@failed`.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::cli::hosts::expression::MAX_TEXT;

/// The form of the file. One with another number is not read.
const VERSION: u32 = 1;

/// What is kept of a run.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastRun {
    v: u32,
    /// An expression; empty if all hosts succeeded.
    pub(crate) hosts: String,
    /// The inventories that have these hosts, as `-I` takes them.
    pub(crate) inventories: Vec<String>,
    /// When the run ended, in seconds since 1970.
    ended: u64,
}

impl LastRun {
    pub(crate) fn new(hosts: String, inventories: Vec<String>) -> Self {
        Self { v: VERSION, hosts, inventories, ended: now().as_secs() }
    }

    /// How long ago the run has ended, in words.
    pub(crate) fn age(&self) -> String {
        let seconds = now().as_secs().saturating_sub(self.ended);
        match seconds {
            0..120 => format!("{seconds} s"),
            120..7_200 => format!("{} min", seconds / 60),
            7_200..172_800 => format!("{} h", seconds / 3_600),
            _ => format!("{} days", seconds / 86_400),
        }
    }

    /// Keeps this in place of the run before. Without a directory for it, nothing is kept.
    ///
    /// # Errors
    ///
    /// If the run before stays, which would be taken for this one.
    pub(crate) fn keep(&self) -> Result<(), String> {
        match file(&|name| std::env::var_os(name)) {
            Ok(path) => self.keep_in(&path),
            Err(_) => Ok(()),
        }
    }

    fn keep_in(&self, path: &Path) -> Result<(), String> {
        match self.write(path) {
            Ok(()) => Ok(()),
            // Better no run than another one.
            Err(_)
                if matches!(
                    fs::remove_file(path).map_err(|error| error.kind()),
                    Ok(()) | Err(io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(format!(
                "@failed stands for an earlier run from now on: {} cannot be written: {error}",
                path.display()
            )),
        }
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let directory = path.parent().unwrap_or_else(|| Path::new("/"));
        // A home that is not there, as that of many a service, is not made.
        if let Some(home) = std::env::home_dir().filter(|home| directory.starts_with(home)) {
            fs::metadata(home)?;
        }
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let new = path.with_extension(format!("{}.new", std::process::id()));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        let written = file.write_all(&serde_json::to_vec(self)?).and_then(|()| fs::rename(&new, path));
        if written.is_err() {
            let _ = fs::remove_file(&new);
        }
        written
    }

    /// The last run.
    ///
    /// # Errors
    ///
    /// If there is none, or it cannot be read.
    pub(crate) fn read() -> Result<Self, String> {
        read_from(&file(&|name| std::env::var_os(name))?)
    }
}

fn read_from(path: &Path) -> Result<LastRun, String> {
    let shown = path.display();
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(format!("no run has been kept yet, in {shown}"));
        }
        Err(error) => return Err(format!("{shown}: {error}")),
    };
    let mut text = String::new();
    file.take(MAX_TEXT as u64).read_to_string(&mut text).map_err(|error| format!("{shown}: {error}"))?;
    match serde_json::from_str(&text) {
        Ok(run @ LastRun { v: VERSION, .. }) => Ok(run),
        Ok(_) => Err(format!("{shown} was written by another version; run something first")),
        Err(error) => Err(format!("{shown}: {error}; run something first")),
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Where the run is kept.
fn file(variable: &dyn Fn(&str) -> Option<OsString>) -> Result<PathBuf, String> {
    let path = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = path("XDG_STATE_HOME").or_else(|| Some(path("HOME")?.join(".local/state")));
    match state {
        Some(state) => Ok(state.join("offshoot/last-run.json")),
        None => Err("neither XDG_STATE_HOME nor HOME is set, so no run is kept".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_run_is_kept_for_its_user_alone() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/offshoot/last-run.json");
        assert!(read_from(&path).unwrap_err().starts_with("no run has been kept yet"));
        let run = LastRun::new("web[1-2]".into(), vec!["/hosts".into()]);
        run.keep_in(&path).unwrap();
        assert_eq!(read_from(&path).unwrap(), run);
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        fs::write(&path, "{\"v\":2,\"hosts\":\"\",\"inventories\":[],\"ended\":0}").unwrap();
        assert!(read_from(&path).unwrap_err().contains("another version"));
        fs::write(&path, "nonsense").unwrap();
        assert!(read_from(&path).is_err());
        // What cannot be written does not leave an earlier run.
        let blocked = directory.path().join("file");
        fs::write(&blocked, "").unwrap();
        run.keep_in(&blocked.join("last-run.json")).unwrap();
    }

    #[test]
    fn without_a_home_the_variable_is_named() {
        let none = |_: &str| None;
        assert!(file(&none).unwrap_err().contains("HOME is set"));
        let home = |name: &str| (name == "HOME").then(|| OsString::from("/home/amy"));
        assert_eq!(file(&home).unwrap(), Path::new("/home/amy/.local/state/offshoot/last-run.json"));
    }
}
