//! Values of the configuration. Errors name the file, the line and the key, and say what is accepted.

use std::collections::BTreeMap;
use std::path::Path;

use toml::de::DeValue;

use super::type_of;
use crate::connect::host_path::distance;

/// A key with its value.
pub(super) struct Entry<'a> {
    pub(super) key: String,
    /// Where the key stands in the file, in bytes.
    pub(super) at: usize,
    pub(super) value: &'a DeValue<'a>,
}

/// The file that is read.
pub(super) struct Reader<'a> {
    text: &'a str,
    path: &'a Path,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str, path: &'a Path) -> Self {
        Self { text, path }
    }

    /// An error at a byte of the file.
    pub(super) fn error(&self, at: usize, message: &str) -> String {
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        format!("{}, line {line}: {message}", self.path.display())
    }

    pub(super) fn wrong_type(&self, entry: &Entry<'_>, accepted: &str) -> String {
        self.error(entry.at, &format!("`{}` is {}; write {accepted}", entry.key, type_of(entry.value)))
    }

    /// The error for a key that nobody knows.
    pub(super) fn unknown(&self, entry: &Entry<'_>, known: &[&str]) -> String {
        let near = known.iter().min_by_key(|name| distance(name, &entry.key));
        // A name that has little in common with all others is no slip.
        let near = near.filter(|name| distance(name, &entry.key) <= 1 + name.len() / 3);
        let hint = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are {}", known.join(", ")),
        };
        self.error(entry.at, &format!("there is no key `{}`; {hint}", entry.key.escape_debug()))
    }

    pub(super) fn text(&self, entry: &Entry<'_>, accepted: &str) -> Result<String, String> {
        match entry.value {
            DeValue::String(text) if text.contains('\0') => {
                Err(self.error(entry.at, &format!("`{}` contains a NUL", entry.key)))
            }
            DeValue::String(text) => Ok(text.to_string()),
            _ => Err(self.wrong_type(entry, accepted)),
        }
    }

    /// A text, or a list of them.
    pub(super) fn texts(&self, entry: &Entry<'_>, accepted: &str) -> Result<Vec<String>, String> {
        let DeValue::Array(list) = entry.value else { return Ok(vec![self.text(entry, accepted)?]) };
        let each = list.iter().map(|item| {
            let entry = Entry { key: entry.key.clone(), at: item.span().start, value: item.get_ref() };
            self.text(&entry, accepted)
        });
        each.collect()
    }

    /// A group: an expression, or a list of them.
    pub(super) fn group(&self, entry: &Entry<'_>) -> Result<String, String> {
        if entry.key.is_empty() || entry.key.contains(['{', '}', '@']) || entry.key.contains(char::is_control) {
            return Err(self.error(entry.at, &format!("{:?} cannot be the name of a group", entry.key)));
        }
        if matches!(entry.key.as_str(), "all" | "failed") {
            return Err(self.error(entry.at, &format!("@{} has a meaning already; take another name", entry.key)));
        }
        let texts = self.texts(entry, "a host expression, as \"web[1-40]\", or a list of them")?;
        Ok(texts.join("\n"))
    }

    /// The entries of a table.
    pub(super) fn table<T>(
        &self,
        entry: &Entry<'_>,
        mut each: impl FnMut(&Entry<'_>) -> Result<T, String>,
    ) -> Result<BTreeMap<String, T>, String> {
        let DeValue::Table(table) = entry.value else {
            return Err(self.wrong_type(entry, &format!("a table, which [{}] begins", entry.key)));
        };
        let mut all = BTreeMap::new();
        for (key, value) in table {
            let entry = Entry { key: key.get_ref().to_string(), at: key.span().start, value: value.get_ref() };
            let value = each(&entry)?;
            all.insert(entry.key, value);
        }
        Ok(all)
    }

    /// A path in the file, from any directory: `~/` is the home, and another relative path begins where the file
    /// is.
    pub(super) fn beside_file(&self, path: &str) -> String {
        if let (Some(rest), Some(home)) = (path.strip_prefix("~/"), std::env::var_os("HOME")) {
            return Path::new(&home).join(rest).display().to_string();
        }
        let directory = self.path.parent().unwrap_or_else(|| Path::new("."));
        let directory = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
        directory.join(path).display().to_string()
    }
}
