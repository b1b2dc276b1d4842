//! The files that host expressions name, and stdin.

use std::fs::File;
use std::io::{IsTerminal, Read};

use crate::cli::hosts::expression::{MAX_TEXT, Sources};

/// Reads `^file` and `-`. `groups` gives the groups.
pub(crate) struct Reading<G> {
    groups: G,
}

impl<G: FnMut(&str) -> Result<Option<String>, String>> Reading<G> {
    /// `groups` returns what [`Sources::group`] returns.
    pub(crate) fn new(groups: G) -> Self {
        Self { groups }
    }
}

impl<G: FnMut(&str) -> Result<Option<String>, String>> Sources for Reading<G> {
    fn group(&mut self, name: &str) -> Result<Option<String>, String> {
        (self.groups)(name)
    }

    fn file(&mut self, path: &str) -> Result<String, String> {
        let file = File::open(path).map_err(|error| error.to_string())?;
        read(file)
    }

    fn stdin(&mut self) -> Result<String, String> {
        let stdin = std::io::stdin();
        if stdin.is_terminal() {
            return Err("it is a terminal; pipe the hosts in, or name them".into());
        }
        read(stdin.lock())
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
        let mut sources = Reading::new(|_: &str| Ok(None));
        assert_eq!(sources.file(path.to_str().unwrap()).unwrap(), "web1\n");
        assert!(sources.file("/nowhere/at/all").unwrap_err().contains("No such file"));
        assert_eq!(sources.group("web"), Ok(None));
    }
}
