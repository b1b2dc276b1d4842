//! The configuration files of ssh, as far as they can be understood without asking ssh, which takes a process.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// The system's configuration files, depending on the system that OpenSSH was built for.
const SYSTEM: [&str; 3] = ["/etc/ssh/ssh_config", "/usr/local/etc/ssh/ssh_config", "/usr/etc/ssh/ssh_config"];
/// Most files that one pattern may include. With more, ssh is asked.
const MAX_INCLUDED: usize = 100;

/// The texts of the files that ssh reads, in their order.
#[derive(Debug, Default)]
pub(super) struct ConfigFiles {
    texts: Vec<String>,
    /// What these include. It comes last here, and somewhere else for ssh.
    included: Vec<String>,
    /// Whether ssh may read a file that is not among these.
    pub(super) has_unknown: bool,
}

impl ConfigFiles {
    /// Reads the configuration files of this user and of the system, or the one file of `-F` that is in the
    /// arguments for ssh. Blocks.
    pub(super) fn read(ssh_args: &[String]) -> Self {
        let mut files = Self::default();
        if let Some(at) = ssh_args.iter().rposition(|arg| arg.starts_with("-F")) {
            let path = Some(&ssh_args[at][2..]).filter(|path| !path.is_empty());
            match path.or_else(|| ssh_args.get(at + 1).map(String::as_str)) {
                Some("none") => {}
                Some(path) => files.add(Path::new(path), true),
                None => files.has_unknown = true,
            }
            return files;
        }
        let home = std::env::var("HOME").unwrap_or_default();
        let own = nix::unistd::geteuid().as_raw();
        // ssh looks up the home directory in the list of users, and may find another one there.
        files.has_unknown = !std::fs::metadata(&home).is_ok_and(|home| home.uid() == own);
        if !files.has_unknown {
            files.add(&Path::new(&home).join(".ssh/config"), false);
        }
        SYSTEM.iter().for_each(|path| files.add(Path::new(path), false));
        files
    }

    /// The settings in all files: lower-case name and value.
    pub(super) fn settings(&self) -> impl Iterator<Item = (String, &str)> {
        self.texts.iter().chain(&self.included).flat_map(|text| settings_in(text))
    }

    /// Adds a file. A missing one counts as empty, unless it `must_exist`.
    fn add(&mut self, path: &Path, must_exist: bool) {
        let Ok(text) = read(path) else {
            self.has_unknown |= must_exist || path.exists();
            return;
        };
        for (_, pattern) in settings_in(&text).filter(|(name, _)| name == "include") {
            match included_by(pattern) {
                Some(texts) => self.included.extend(texts),
                None => self.has_unknown = true,
            }
        }
        self.texts.push(text);
    }
}

/// The settings in a text, line by line: lower-case name and value.
fn settings_in(text: &str) -> impl Iterator<Item = (String, &str)> {
    text.lines().filter_map(|line| {
        let line = line.trim();
        let end = line.find([' ', '\t', '='])?;
        let value = line[end..].trim_start_matches([' ', '\t', '=']);
        (!line.starts_with('#')).then(|| (line[..end].to_ascii_lowercase(), value))
    })
}

/// The texts of the files that a value of `Include` names. `None` if it is more than one absolute path whose last
/// part may begin with `*`, or if such a file includes others.
fn included_by(pattern: &str) -> Option<Vec<String>> {
    let (directory, name) = pattern.rsplit_once('/')?;
    let suffix = name.strip_prefix('*');
    let odd = |text: &str| text.contains(['*', '?', '[', '"', '\\', '%', '$', '#', ' ', '\t']);
    if !pattern.starts_with('/') || odd(directory) || odd(suffix.unwrap_or(name)) {
        return None;
    }
    let texts = match suffix {
        None => vec![read_if_there(Path::new(pattern))?],
        Some(suffix) => {
            let Ok(entries) = std::fs::read_dir(directory) else {
                return (!Path::new(directory).exists()).then(Vec::new);
            };
            let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
            paths.retain(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                name.ends_with(suffix) && !name.starts_with('.')
            });
            if paths.len() > MAX_INCLUDED {
                return None;
            }
            paths.iter().map(|path| read_if_there(path)).collect::<Option<_>>()?
        }
    };
    texts.iter().all(|text| settings_in(text).all(|(name, _)| name != "include")).then_some(texts)
}

/// The text of a file. A pipe is an error: it would have to be waited for, and ssh could not read it again.
fn read(path: &Path) -> io::Result<String> {
    if std::fs::metadata(path)?.file_type().is_fifo() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    std::fs::read_to_string(path)
}

/// The text of a file, empty if there is none. `None` if it cannot be read.
fn read_if_there(path: &Path) -> Option<String> {
    match read(path) {
        Ok(text) => Some(text),
        Err(_) => (!path.exists()).then(String::new),
    }
}

#[cfg(feature = "cli")]
impl ConfigFiles {
    /// What `ssh -G` would print for `host` about the server and the keepalive. `None` if only ssh knows.
    pub(super) fn evaluate(&self, host: &str) -> Option<String> {
        // ssh reads only one of the files of the system.
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let has_more = self.included.iter().any(|text| settings_in(text).next().is_some());
        if self.has_unknown || has_more || self.texts.len() > 2 || !host.chars().all(is_plain) {
            return None;
        }
        let names = ["hostname", "port", "serveraliveinterval", "serveralivecountmax", "proxyjump"];
        let mut values = [None; 5];
        for text in &self.texts {
            let mut applies = true;
            for (name, value) in settings_in(text) {
                match name.as_str() {
                    "host" => applies = matches(value, host)?,
                    "match" | "canonicalizehostname" | "proxycommand" => return None,
                    _ => {
                        if let Some(at) = names.iter().position(|known| applies && *known == name) {
                            values[at].get_or_insert_with(|| value.trim_end());
                        }
                    }
                }
            }
        }
        let mut text = String::new();
        for (name, value) in names.iter().zip(values) {
            let value = match (*name, value) {
                ("hostname", value) => value.unwrap_or(host).replace("%h", host),
                (_, Some(value)) => value.to_owned(),
                _ => continue,
            };
            let is_number = value.bytes().all(|byte| byte.is_ascii_digit());
            let is_known = match *name {
                "hostname" => value.chars().all(|c| is_plain(c) || c == ':'),
                "proxyjump" => value.chars().all(|c| is_plain(c) || ":@,".contains(c)),
                _ => is_number,
            };
            if value.is_empty() || !is_known {
                return None;
            }
            text.push_str(&format!("{name} {value}\n"));
        }
        Some(text)
    }
}

/// Whether the patterns of a `Host` line match. `None` if only ssh knows.
#[cfg(feature = "cli")]
fn matches(patterns: &str, host: &str) -> Option<bool> {
    if patterns.contains(['"', '#', '\'', '\\', ',', '=']) {
        return None;
    }
    let mut any = false;
    for pattern in patterns.split_ascii_whitespace() {
        match pattern.strip_prefix('!') {
            Some(pattern) if matches_one(pattern.as_bytes(), host.as_bytes()) => return Some(false),
            Some(_) => {}
            None => any |= matches_one(pattern.as_bytes(), host.as_bytes()),
        }
    }
    Some(any)
}

/// Whether a pattern with `*` and `?` matches. After a mismatch, only the last `*` can take more, so this takes at most
/// the product of both lengths.
#[cfg(feature = "cli")]
fn matches_one(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut seen) = (0, 0);
    let mut last_star = None;
    while seen < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                last_star = Some((at, seen));
                at += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[seen] => {
                at += 1;
                seen += 1;
            }
            _ => {
                let Some((star, taken)) = last_star else { return false };
                last_star = Some((star, taken + 1));
                (at, seen) = (star + 1, taken + 1);
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(texts: &[&str]) -> ConfigFiles {
        let directory = tempfile::tempdir().unwrap();
        let mut files = ConfigFiles::default();
        for text in texts {
            let path = directory.path().join("config");
            std::fs::write(&path, text.replace("@DIR@", &directory.path().display().to_string())).unwrap();
            std::fs::write(directory.path().join("one.conf"), "# nothing\n").unwrap();
            std::fs::write(directory.path().join("two.inc"), "ServerAliveInterval 7\n").unwrap();
            std::fs::write(directory.path().join("three.deep"), "Include /x\n").unwrap();
            files.add(&path, true);
        }
        files
    }

    #[test]
    fn what_a_file_includes_is_read_and_what_cannot_be_found_is_unknown() {
        let text = |text: &str| {
            let files = files(&[text]);
            let names: Vec<String> = files.settings().map(|(name, _)| name).filter(|name| name != "include").collect();
            (names.join(" "), files.has_unknown)
        };
        assert_eq!(text("Host x\n\tPORT=1\n#Port 2\n"), ("host port".into(), false));
        assert_eq!(text("Include @DIR@/*.conf\n"), (String::new(), false));
        assert_eq!(text("Include @DIR@/*.none\nInclude /nowhere/at/all/*\n"), (String::new(), false));
        assert_eq!(text("include=@DIR@/two.inc\n"), ("serveraliveinterval".into(), false));
        assert!(text("Include @DIR@/*.deep\n").1);
        for odd in ["~/x", "conf.d/*", "/etc/*/x", "/a /b", "\"/a\"", "/etc/x?"] {
            assert!(text(&format!("Include {odd}\n")).1, "{odd}");
        }
        let read = |args: &[&str]| ConfigFiles::read(&args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>());
        assert!(read(&["-F", "/nowhere/config"]).has_unknown && read(&["-F"]).has_unknown);
        assert!(!read(&["-F", "none"]).has_unknown && read(&["-Fnone"]).texts.is_empty());
    }

    #[test]
    fn a_pipe_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("config");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(ConfigFiles::read(&["-F".into(), pipe.display().to_string()]).has_unknown);
    }

    #[cfg(feature = "cli")]
    #[test]
    fn ssh_would_say_the_same() {
        let text = "Port 22\nHost web? !web3 *.example\n  HostName %h.internal\n  Port 2222\n\
                    Host=jumped\n HostName 10.0.0.1\n ProxyJump me@j1:7,j2\n serveraliveinterval = 30\n\
                    Host *\n ServerAliveCountMax 5\n HostName late\n";
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config");
        std::fs::write(&path, text).unwrap();
        let files = ConfigFiles::read(&["-F".into(), path.display().to_string()]);
        for host in ["web1", "web3", "a.b.example", "jumped", "other"] {
            let ours = files.evaluate(host).unwrap();
            let Ok(ssh) = std::process::Command::new("ssh").arg("-F").arg(&path).args(["-G", host]).output() else {
                assert!(ours.contains("hostname "), "{ours}");
                continue;
            };
            let theirs = String::from_utf8_lossy(&ssh.stdout).into_owned();
            for line in ours.lines() {
                assert!(theirs.lines().any(|other| other == line), "{host}: {line} in {theirs}");
            }
            let jumps =
                |text: &str| text.lines().any(|line| line.starts_with("proxyjump ") && line != "proxyjump none");
            assert_eq!(jumps(&ours), jumps(&theirs), "{host}");
        }
    }

    #[cfg(feature = "cli")]
    #[test]
    fn what_only_ssh_can_evaluate_is_left_to_it() {
        let known = |text: &str, host: &str| files(&[text]).evaluate(host).is_some();
        assert!(known("", "web1") && known("Host web1\n HostName x\nInclude @DIR@/*.conf\n", "web1"));
        for text in [
            "Match host web1\n Port 1\n",
            "HostName %n\n",
            "Port \"1\"\n",
            "Host \"web1\"\n",
            "Include @DIR@/*.inc\n",
            "CanonicalizeHostname yes\n",
            "ProxyCommand nc %h %p\n",
            "ServerAliveInterval 1m\n",
            "Port 22 # the usual\n",
        ] {
            assert!(!known(text, "web1"), "{text}");
        }
        assert!(!known("", "me@web1") && !known("", "::1"));
        assert!(files(&["", ""]).evaluate("a").is_some() && files(&["", "", ""]).evaluate("a").is_none());
    }

    #[cfg(feature = "cli")]
    #[test]
    fn patterns_match_as_in_ssh() {
        let is = |pattern: &str, text: &str| matches_one(pattern.as_bytes(), text.as_bytes());
        assert!(is("*", "") && is("a*c", "abbc") && is("a?c", "abc") && is("*b*b", "abbab") && is("**", "x"));
        assert!(!is("", "a") && !is("a*c", "abcd") && !is("a?c", "ac") && !is("*ab", "ba") && !is("A", "a"));
        assert!(!is(&"*a".repeat(500), &"a".repeat(499)));
    }
}
