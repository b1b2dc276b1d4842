//! The files and groups that host expressions name, and stdin.

use std::fs::File;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use crate::cli::hosts::expression::{MAX_TEXT, Sources};
use crate::cli::inventory::Inventories;
use crate::cli::last_run::LastRun;
use crate::sys::patient::Patient;

/// The group of the hosts on which the last run did not succeed.
const FAILED: &str = "failed";

/// Reads `^file`, `-`, and the inventories that have the groups.
pub(crate) struct Reading {
    pub(crate) inventories: Inventories,
}

impl Reading {
    pub(crate) fn new(inventories: Inventories) -> Self {
        Self { inventories }
    }
}

impl Sources for Reading {
    fn group(&mut self, name: &str) -> Result<Option<String>, String> {
        if name == FAILED {
            let run = LastRun::read()?;
            self.inventories.use_those_of(&run);
            return Ok(Some(run.hosts));
        }
        self.inventories.group(name)
    }

    fn known(&mut self) -> Result<String, String> {
        self.inventories.known()
    }

    fn instead(&mut self, name: &str) -> String {
        self.inventories.instead(name)
    }

    fn file(&mut self, path: &str) -> Result<String, String> {
        let file = File::open(in_home(path)).map_err(|error| error.to_string())?;
        read(file)
    }

    fn stdin(&mut self) -> Result<String, String> {
        let stdin = std::io::stdin();
        if stdin.is_terminal() {
            return Err("it is a terminal; pipe the hosts in, or name them".into());
        }
        read(Patient(stdin.lock()))
    }
}

/// Expands `~/`, which no shell does behind a `^`.
fn in_home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => path.into(),
    }
}

/// Reads at most one byte more than allowed. From this byte the caller sees that the text is too long.
fn read(from: impl Read) -> Result<String, String> {
    let mut bytes = Vec::new();
    from.take(MAX_TEXT as u64 + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(error) if error.as_bytes().len() > MAX_TEXT => Ok(String::from_utf8_lossy(error.as_bytes()).into_owned()),
        Err(error) => {
            let line = error.as_bytes()[..error.utf8_error().valid_up_to()].split(|b| *b == b'\n');
            Err(format!("line {} is not UTF-8", line.count()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endless_input_is_read_no_further_than_allowed() {
        assert_eq!(read(std::io::repeat(b'a')).unwrap().len(), MAX_TEXT + 1);
        assert!(read(std::io::repeat(0xff)).unwrap().len() > MAX_TEXT);
    }

    #[test]
    fn the_line_that_is_no_text_is_named() {
        assert_eq!(read(&b"a\nb\n\xff\n"[..]).unwrap_err(), "line 3 is not UTF-8");
    }

    #[test]
    fn files_are_read_and_missing_ones_reported() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hosts");
        std::fs::write(&path, "web1\n").unwrap();
        let mut sources = Reading::new(Inventories::new(&[]));
        assert_eq!(sources.file(path.to_str().unwrap()).unwrap(), "web1\n");
        let home = std::env::var("HOME").unwrap();
        assert_eq!(in_home("~/hosts"), Path::new(&home).join("hosts"));
        for path in ["~", "~bob/hosts", "a/~/hosts", "hosts"] {
            assert_eq!(in_home(path), Path::new(path));
        }
        assert!(sources.file("/nowhere/at/all").unwrap_err().contains("No such file"));
    }
}
