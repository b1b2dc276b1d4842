//! The names behind `Host` in an `ssh_config`. What is said about them is left to ssh.

use std::path::{Path, PathBuf};

use crate::cli::hosts::expression::wildcard;
use crate::cli::inventory::files::{Budget, MAX_ENTRIES, names};
use crate::cli::inventory::model::{Inventory, Origin};
use crate::cli::inventory::words;

/// How deep files may include each other, as in ssh.
const MAX_INCLUDES: usize = 16;
/// Most files that are included.
const MAX_FILES: usize = 1_000;

/// Adds the hosts of a file. `directory` is where the names of included files begin.
pub(crate) struct Loader<'a> {
    pub(crate) inventory: &'a mut Inventory,
    pub(crate) budget: &'a mut Budget,
    pub(crate) directory: PathBuf,
    pub(crate) files: usize,
}

impl Loader<'_> {
    /// Adds the hosts of a text, and of what it includes.
    ///
    /// # Errors
    ///
    /// If a file cannot be read, or files include each other without end.
    pub(crate) fn load(&mut self, source: u32, text: &str, depth: usize) -> Result<(), String> {
        for (nth, line) in text.lines().enumerate() {
            let line = line.trim();
            let end = line.find(|c: char| c.is_whitespace() || c == '=').unwrap_or(line.len());
            let (keyword, rest) = line.split_at(end);
            let rest = rest.trim_start();
            let rest = rest.strip_prefix('=').unwrap_or(rest);
            let at = |why: String| format!("line {}: {why}", nth + 1);
            if keyword.eq_ignore_ascii_case("host") {
                for name in words::split(rest, true).map_err(at)? {
                    if !name.contains(['*', '?', '!']) && !name.is_empty() {
                        let host = self.inventory.add_host(&name, Origin { source, line: nth as u32 + 1 })?;
                        self.inventory.add_member(0, host);
                    }
                }
            } else if keyword.eq_ignore_ascii_case("include") {
                for pattern in words::split(rest, true).map_err(at)? {
                    self.include(&pattern, depth).map_err(at)?;
                }
            }
        }
        Ok(())
    }

    fn include(&mut self, pattern: &str, depth: usize) -> Result<(), String> {
        if depth == MAX_INCLUDES {
            return Err(format!("files include each other more than {MAX_INCLUDES} deep"));
        }
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let path = match (pattern.strip_prefix("~/"), home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => self.directory.join(pattern),
        };
        // ssh has wildcards in directories, too.
        let mut paths = vec![PathBuf::new()];
        for part in path.components().map(|part| part.as_os_str().to_string_lossy().into_owned()) {
            let mut next = Vec::new();
            for path in paths {
                match part.contains(['*', '?']) {
                    false => next.push(path.join(&part)),
                    true => {
                        let found = names(&path, MAX_ENTRIES).unwrap_or_default();
                        next.extend(
                            found
                                .iter()
                                .filter(|name| wildcard::matches(&part, name, &mut 0))
                                .map(|name| path.join(name)),
                        );
                    }
                }
            }
            paths = next;
        }
        // Files that are not there are passed over.
        for path in paths.iter().filter(|path| path.is_file()) {
            self.file(path, depth + 1)?;
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, depth: usize) -> Result<(), String> {
        self.files += 1;
        if self.files > MAX_FILES {
            return Err(format!("more than {MAX_FILES} files are included"));
        }
        let shown = path.display().to_string();
        let text = self.budget.read(path, false).map_err(|why| format!("{shown}: {why}"))?;
        let source = self.inventory.add_source(shown.clone());
        self.load(source, &text, depth).map_err(|why| format!("{shown}: {why}"))
    }
}
