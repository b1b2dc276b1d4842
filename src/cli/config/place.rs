//! Which file is the configuration.

use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, geteuid};

/// Longest configuration, in bytes. Large lists of hosts belong into inventories.
const MAX_TEXT: u64 = 1 << 20;
/// What `--config` says for no configuration.
const NONE: &str = "none";
/// The mode bit for everyone who may write.
const BY_EVERYONE: u32 = 0o002;

/// Where the configuration is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// `--config none`.
    Nowhere,
    /// `--config FILE`.
    Named(PathBuf),
    /// The file below `$XDG_CONFIG_HOME` or `~/.config`.
    Usual,
}

impl Place {
    /// What the value of `--config` means.
    pub(super) fn named_by(value: Option<&Path>) -> Self {
        match value {
            None => Self::Usual,
            Some(path) if path == Path::new(NONE) => Self::Nowhere,
            Some(path) => Self::Named(path.to_owned()),
        }
    }

    /// The same place if it is a file. One that writes to a pipe may never do so.
    pub(crate) fn of_files_only(self) -> Self {
        match self {
            Self::Named(path) if !path.is_file() => Self::Nowhere,
            place => place,
        }
    }

    /// The text of the file, and its path. `None` if no file is there and none was named.
    pub(super) fn read(&self) -> Result<Option<(String, PathBuf)>, String> {
        let (path, is_named) = match self {
            Self::Nowhere => return Ok(None),
            Self::Named(path) => (path.clone(), true),
            Self::Usual => match usual(&|name| std::env::var_os(name)) {
                Some(path) => (path, false),
                None => return Ok(None),
            },
        };
        let fail = |why: &dyn std::fmt::Display| {
            format!("the configuration {} cannot be read: {why}; --config {NONE} runs without one", path.display())
        };
        let file = match File::open(&path) {
            Err(error) if !is_named && matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            file => file.map_err(|error| fail(&error))?,
        };
        if !is_named && let Some(why) = doubts(&file.metadata().map_err(|error| fail(&error))?, geteuid()) {
            return Err(fail(&why));
        }
        let mut text = String::new();
        file.take(MAX_TEXT + 1).read_to_string(&mut text).map_err(|error| fail(&error))?;
        if text.len() as u64 > MAX_TEXT {
            return Err(fail(&format_args!("it has more than {MAX_TEXT} bytes")));
        }
        Ok(Some((text, path)))
    }
}

/// Why somebody else than this user may have written a file. It says which programs are run.
fn doubts(file: &Metadata, user: Uid) -> Option<&'static str> {
    if file.permissions().mode() & BY_EVERYONE != 0 {
        return Some("everyone may write it; take that right away with `chmod o-w`, or name it with --config");
    }
    let is_own = [user.as_raw(), 0].contains(&file.uid());
    (!is_own).then_some("it belongs to another user; if you trust it, name it with --config")
}

/// The file of the user; `None` if there is no home.
fn usual(variable: &dyn Fn(&str) -> Option<std::ffi::OsString>) -> Option<PathBuf> {
    let path = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let directory = path("XDG_CONFIG_HOME").or_else(|| path("HOME").map(|home| home.join(".config")))?;
    Some(directory.join("offshoot/config.toml"))
}

/// The place that the words of a command line name, which may be incomplete.
pub(crate) fn words_for_config(words: &[String]) -> Place {
    let mut words = words.iter().take_while(|word| *word != "--");
    while let Some(word) = words.next() {
        let value = match word.strip_prefix("--config") {
            Some("") => words.next().map(String::as_str),
            Some(rest) => rest.strip_prefix('='),
            None => None,
        };
        if let Some(value) = value {
            return Place::named_by(Some(Path::new(value)));
        }
    }
    Place::Usual
}

/// The index of the first word that is no option and no value of one: the command.
pub(crate) fn first_word(words: &[String]) -> Option<usize> {
    let mut at = 0;
    while let Some(word) = words.get(at) {
        match word.as_str() {
            "--" => return None,
            "--config" | "--color" => at += 1,
            word if word.starts_with('-') => {}
            _ => return Some(at),
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_below_the_directory_for_configurations() {
        let of = |xdg: Option<&str>, home: Option<&str>| {
            let found = usual(&|name| match name {
                "HOME" => home.map(Into::into),
                _ => xdg.map(Into::into),
            });
            found.map(|path| path.display().to_string())
        };
        assert_eq!(of(Some("/x"), Some("/h")).unwrap(), "/x/offshoot/config.toml");
        assert_eq!(of(None, Some("/h")).unwrap(), "/h/.config/offshoot/config.toml");
        assert_eq!(of(Some(""), Some("/h")).unwrap(), "/h/.config/offshoot/config.toml");
        assert_eq!(of(None, None), None);
    }

    #[test]
    fn a_file_that_others_may_have_written_is_doubted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.toml");
        std::fs::write(&path, "").unwrap();
        let owner = path.metadata().unwrap().uid();
        let of = |mode: u32, user: u32| {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            doubts(&path.metadata().unwrap(), Uid::from_raw(user))
        };
        assert_eq!(of(0o640, owner), None);
        assert!(of(0o602, owner).unwrap().contains("everyone may write it"));
        // What belongs to root, as the file of this test may, is that of every user.
        assert_eq!(of(0o640, owner + 1).is_some(), owner != 0);
    }

    #[test]
    fn the_option_is_found_in_a_line_that_is_not_complete() {
        let of = |line: &str| words_for_config(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(of("up --config /a -w"), Place::Named("/a".into()));
        assert_eq!(of("--config=none up"), Place::Nowhere);
        assert_eq!(of("run -- --config /a"), Place::Usual);
        assert_eq!(of("run --configs /a"), Place::Usual);
    }

    #[test]
    fn what_is_no_file_is_left_out_where_nothing_may_wait() {
        let of = |path: &str| Place::Named(path.into()).of_files_only();
        assert_eq!((of("/dev/null"), of("/nowhere/at/all")), (Place::Nowhere, Place::Nowhere));
        assert_eq!(of("/etc/passwd"), Place::Named("/etc/passwd".into()));
        assert_eq!(Place::Usual.of_files_only(), Place::Usual);
    }

    #[test]
    fn the_command_stands_behind_the_options_of_the_tool() {
        let of = |line: &str| first_word(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(of("-v --color never --config=x up -w a"), Some(4));
        assert_eq!(of("--config up down"), Some(2));
        assert_eq!(of("-- up"), None);
    }
}
