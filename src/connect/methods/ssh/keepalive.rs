//! How ssh finds out that the other end has gone, where nobody has said it.
//!
//! OpenSSH by itself never does. So there is a default of ours, unless the
//! user's configuration has one. An option on the command line would win over
//! the configuration; so where that may say something, ssh is asked what.

use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use crate::connect::methods::ssh::{Keepalive, SshOptions};
use crate::sys::blocking::on_other_thread;
use crate::sys::process::{self, Launch, Stdio};

/// A network that has died is noticed within a minute, and a packet every 15 s
/// keeps the tables of most firewalls.
pub(super) const DEFAULT: Keepalive = Keepalive { interval: Duration::from_secs(15), count: 3 };

/// The files of the system, by where OpenSSH was built for.
const SYSTEM: [&str; 3] = ["/etc/ssh/ssh_config", "/usr/local/etc/ssh/ssh_config", "/usr/etc/ssh/ssh_config"];
/// Bytes of what ssh answers, which has some 4 KiB.
const MAX_ANSWER: usize = 64 * 1024;
/// ssh answers at once, unless its configuration runs programs, which then
/// takes its time again when it connects.
const ANSWER: Duration = Duration::from_secs(2);

/// What a configuration file says of it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Mentions {
    /// It may say something for some hosts.
    any: bool,
    /// It switches it off for some hosts.
    off: bool,
}

impl Mentions {
    fn of(text: &str) -> Self {
        let mut mentions = Self::default();
        for line in text.lines() {
            let mut words = line.split([' ', '\t', '=']).filter(|word| !word.is_empty());
            let (name, value) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let is = |other: &str| name.eq_ignore_ascii_case(other);
            mentions.any |= is("ServerAliveInterval") || is("ServerAliveCountMax") || is("Include") || is("Match");
            mentions.off |= is("ServerAliveInterval") && value.trim_matches('"') == "0";
        }
        mentions
    }

    /// What the files of this user and of the system say. Blocks.
    fn read() -> Self {
        let mut texts = String::new();
        let home = std::env::var("HOME").unwrap_or_default();
        let own = nix::unistd::geteuid().as_raw();
        if std::fs::metadata(&home).is_ok_and(|home| home.uid() == own) {
            texts = std::fs::read_to_string(home + "/.ssh/config").unwrap_or_default();
        } else {
            // ssh goes by the list of users, and reads another file.
            texts.push_str("Include");
        }
        for path in SYSTEM {
            texts.push('\n');
            // One that is not there says nothing.
            texts.push_str(&std::fs::read_to_string(path).unwrap_or_default());
        }
        Self::of(&texts)
    }
}

/// The default for a host of which `ssh -G` says this; `None` if there is an
/// interval.
fn default_by(settings: &str) -> Option<Keepalive> {
    let value = |name: &str| settings.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u32>().ok());
    match value("serveraliveinterval ") {
        Some(1..) => None,
        _ => Some(Keepalive { count: value("serveralivecountmax ").unwrap_or(DEFAULT.count), ..DEFAULT }),
    }
}

impl SshOptions {
    /// The keepalive for a host where nobody has set one: the default, unless
    /// the user's configuration says otherwise.
    pub(in crate::connect::methods) async fn default_keepalive(&self, limit: Duration) -> Option<Keepalive> {
        let has_own_file = self.ssh_args.iter().any(|arg| arg.starts_with("-F"));
        let mentions = match has_own_file {
            true => Mentions { any: true, off: false },
            false => on_other_thread(Mentions::read).await.unwrap_or_default(),
        };
        if !mentions.any {
            return Some(DEFAULT);
        }
        let settings = tokio::time::timeout(limit.min(ANSWER), self.settings()).await;
        // Without an answer nothing is known, and so nothing overridden.
        default_by(&settings.ok()??).filter(|_| !mentions.off)
    }

    /// What ssh would do. Dropping the future ends it.
    async fn settings(&self) -> Option<String> {
        let mut argv = self.argv("true", ANSWER, false).ok()?;
        argv.insert(1 + self.ssh_args.len(), "-G".into());
        // What it complains of, it complains of again when it connects.
        let (mut launched, stream, _stderr) = process::launch(Launch::Tool(argv), Stdio::Pipe).ok()?;
        let (mut settings, mut buffer) = (Vec::new(), [0; 4096]);
        while settings.len() < MAX_ANSWER {
            match stream.input.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(count) => settings.extend_from_slice(&buffer[..count]),
            }
        }
        launched.wait().await.ok()?.success().then(|| String::from_utf8_lossy(&settings).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_that_may_set_it_is_known_by_its_words() {
        for text in
            ["ServerAliveInterval 30", "  serveralivecountmax=5", "Include x", "\tMATCH exec true", "Host *\nInclude=x"]
        {
            assert_eq!(Mentions::of(text), Mentions { any: true, off: false }, "{text}");
        }
        for text in ["", "# ServerAliveInterval 30", "Host Match\n  Port 22", "#Include x", "HostName include"] {
            assert_eq!(Mentions::of(text), Mentions::default(), "{text}");
        }
        for text in ["ServerAliveInterval 0", "Host x\n serveraliveinterval=0", "ServerAliveInterval \"0\""] {
            assert_eq!(Mentions::of(text), Mentions { any: true, off: true }, "{text}");
        }
    }

    #[test]
    fn an_interval_that_the_user_has_set_stays_and_so_does_a_count() {
        assert_eq!(default_by("user x\nserveraliveinterval 60\nserveralivecountmax 3\n"), None);
        assert_eq!(default_by("serveraliveinterval 0\nserveralivecountmax 3\n"), Some(DEFAULT));
        assert_eq!(
            default_by("serveraliveinterval 0\nserveralivecountmax 9\n"),
            Some(Keepalive { count: 9, ..DEFAULT })
        );
        assert_eq!(default_by("no such thing"), Some(DEFAULT));
    }
}
