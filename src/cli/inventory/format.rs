//! Which format an inventory has.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::net::Ipv6Addr;
use std::path::Path;

/// Enough of a file to tell its format, in bytes.
const HEAD: u64 = 64 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Hosts in the notation of `-w`, with blanks, commas or line ends between.
    Plain,
    Ini,
    Yaml,
    Json,
    /// Files of groups as of ClusterShell: `groups.conf`, YAML, or `NAME: HOSTS` in each line.
    Groups,
    Genders,
    Dsh,
    SshConfig,
}

impl Format {
    /// The formats, and their names in `-I FORMAT:PATH`.
    pub(crate) const ALL: [(&'static str, Self); 8] = [
        ("plain", Self::Plain),
        ("ini", Self::Ini),
        ("yaml", Self::Yaml),
        ("json", Self::Json),
        ("groups", Self::Groups),
        ("genders", Self::Genders),
        ("dsh", Self::Dsh),
        ("ssh_config", Self::SshConfig),
    ];

    pub(crate) fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, format)| *format)
    }

    /// The format of a file, by its name and its text.
    pub(crate) fn detect(path: &Path, text: &str) -> Self {
        let part =
            |part: Option<&std::ffi::OsStr>| part.and_then(std::ffi::OsStr::to_str).unwrap_or_default().to_owned();
        match part(path.file_name()).as_str() {
            "genders" => return Self::Genders,
            "machines.list" => return Self::Dsh,
            "groups.conf" => return Self::Groups,
            "ssh_config" => return Self::SshConfig,
            "config" if path.parent().is_some_and(|parent| part(parent.file_name()) == ".ssh") => {
                return Self::SshConfig;
            }
            _ => {}
        }
        match part(path.extension()).as_str() {
            "yml" | "yaml" => return Self::Yaml,
            "json" => return Self::Json,
            "ini" => return Self::Ini,
            _ => {}
        }
        Self::of_text(text)
    }

    /// The format of a file, by its name and its beginning. `None` if it cannot be read.
    pub(crate) fn of_head(path: &Path) -> Option<Self> {
        let mut head = Vec::new();
        File::open(path).ok()?.take(HEAD).read_to_end(&mut head).ok()?;
        Some(Self::detect(path, &String::from_utf8_lossy(&head)))
    }

    fn of_text(text: &str) -> Self {
        if text.trim_start().starts_with('{') && text.trim_end().ends_with('}') && text.contains('"') {
            return Self::Json;
        }
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';']));
        let Some(first) = lines.clone().next() else { return Self::Plain };
        let word = first.split(|c: char| c.is_whitespace() || c == '=').next().unwrap_or_default();
        if ["host", "match", "include"].iter().any(|keyword| keyword.eq_ignore_ascii_case(word)) && word != first {
            return Self::SshConfig;
        }
        if first == "---" || first.starts_with("%YAML") || is_key(first) {
            return Self::Yaml;
        }
        if first.split_once(": ").is_some_and(|(key, value)| is_key(&format!("{key}:")) && !value.trim().is_empty()) {
            return Self::Groups;
        }
        if lines.any(is_of_ini) { Self::Ini } else { Self::Plain }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL.iter().find(|(_, format)| format == self).map_or("", |(name, _)| name))
    }
}

/// Whether this is a key of YAML such as `all:`.
fn is_key(line: &str) -> bool {
    let key = line.split('#').next().unwrap_or_default().trim_end().strip_suffix(':');
    key.is_some_and(|key| !key.is_empty() && !key.contains(|c: char| c.is_whitespace() || "[]{}:/@,".contains(c)))
}

/// Whether only Ansible's INI has such a line: a section, a variable, or a range with a colon.
fn is_of_ini(line: &str) -> bool {
    let line = line.split(" #").next().unwrap_or_default();
    let mut brackets = line.split('[').skip(1).filter_map(|rest| rest.split_once(']'));
    let is_section = |inner: &str| inner.starts_with(|c: char| c.is_alphabetic() || c == '_');
    let is_address = |inner: &str| inner.split('%').next().is_some_and(|text| text.parse::<Ipv6Addr>().is_ok());
    let is_assignment = line.split_whitespace().skip(1).any(|word| word.contains('=') && !word.starts_with('{'));
    is_assignment
        || brackets.any(|(inner, behind)| {
            !is_address(inner)
                && (inner.contains(':') || is_section(inner) && behind.is_empty() && line.starts_with('['))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_known_by_name_and_by_text() {
        for (path, text, format) in [
            ("a/genders", "", Format::Genders),
            ("x.yml", "web1", Format::Yaml),
            ("x.ini", "web1", Format::Ini),
            ("/home/a/.ssh/config", "", Format::SshConfig),
            ("hosts", "web1\nweb2 # web\n", Format::Plain),
            ("hosts", "bastion/web[01-40], [fe80::1]:22\n", Format::Plain),
            ("hosts", "\n# c\nweb1\n[web]\n", Format::Ini),
            ("hosts", "web1 ansible_user=amy\n", Format::Ini),
            ("hosts", "web[01:40]\n", Format::Ini),
            ("hosts", "---\nall:\n", Format::Yaml),
            ("hosts", "all: # c\n  hosts:\n", Format::Yaml),
            ("hosts", " {\"web\": [\"a\"]}\n", Format::Json),
            ("hosts", "web: node[1-3]\nall: @web\n", Format::Groups),
            ("hosts", "Host web1\n  User amy\n", Format::SshConfig),
            ("hosts", "host\n", Format::Plain),
            ("hosts", "", Format::Plain),
            ("hosts", "docker:{a=b} web1", Format::Plain),
        ] {
            assert_eq!(Format::detect(Path::new(path), text), format, "{path}: {text}");
        }
        for (name, format) in Format::ALL {
            assert_eq!((Format::by_name(name), format.to_string()), (Some(format), name.to_owned()));
        }
    }
}
