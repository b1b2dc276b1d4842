//! Files that inventories consist of, up to a limit of bytes.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Most bytes of all inventories together, outputs of programs included: 500,000 hosts with a variable each.
pub(crate) const MAX_BYTES: usize = 32 << 20;
/// Most files and directories that one inventory consists of, besides files of variables that are not needed.
pub(crate) const MAX_ENTRIES: usize = 10_000;

/// How much may still be read.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes: usize,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self { bytes: MAX_BYTES }
    }

    /// How many bytes may still come.
    pub(crate) fn left(&self) -> usize {
        self.bytes
    }

    /// Takes bytes that were read.
    ///
    /// # Errors
    ///
    /// If that is too much.
    pub(crate) fn take(&mut self, bytes: usize) -> Result<(), String> {
        match self.bytes.checked_sub(bytes) {
            Some(left) => {
                self.bytes = left;
                Ok(())
            }
            None => Err(format!("inventories have more than {MAX_BYTES} bytes; use fewer or smaller ones")),
        }
    }

    /// The text of a file. `is_named`: the user has named it, so that it may be a pipe.
    ///
    /// # Errors
    ///
    /// If it cannot be read, is too long, or is not a text.
    pub(crate) fn read(&mut self, path: &Path, is_named: bool) -> Result<String, String> {
        let flags = if is_named { 0 } else { nix::libc::O_NONBLOCK };
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|error| error.to_string())?;
        let kind = file.metadata().map_err(|error| error.to_string())?.file_type();
        if !is_named && !kind.is_file() {
            return Err("it is not a file".into());
        }
        let mut bytes = Vec::new();
        file.take(self.bytes as u64 + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
        self.take(bytes.len())?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            format!("line {} is not UTF-8", before.split(|b| *b == b'\n').count())
        })?;
        match text.strip_prefix('\u{feff}') {
            Some(text) => Ok(text.to_owned()),
            None => Ok(text),
        }
    }
}

/// Whether a file is a program: it may be executed, and begins as a script or an executable.
pub(crate) fn is_program(path: &Path) -> bool {
    let Ok(metadata) = path.metadata() else { return false };
    if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
        return false;
    }
    let mut head = [0; 4];
    let read = std::fs::File::open(path).and_then(|mut file| file.read(&mut head)).unwrap_or_default();
    head[..read].starts_with(b"#!") || head[..read] == *b"\x7fELF"
}

/// The names in a directory, sorted, without hidden ones and those that could not be printed in an error.
///
/// # Errors
///
/// If it cannot be read, or has too many entries.
pub(crate) fn names(directory: &Path, most: usize) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(|error| error.to_string())? {
        let name = entry.map_err(|error| error.to_string())?.file_name();
        let Ok(name) = name.into_string() else { continue };
        if !name.starts_with('.') && !name.contains(char::is_control) {
            names.push(name);
        }
        if names.len() > most {
            return Err(format!("it has more than {most} entries"));
        }
    }
    names.sort_unstable();
    Ok(names)
}
