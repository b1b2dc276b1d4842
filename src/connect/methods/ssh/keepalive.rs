//! How ssh finds out that the other end is gone, if the program does not set it.
//!
//! OpenSSH does not check this by default. So we have a default of our own, unless the user's configuration
//! sets one. An option on the command line would override the configuration. So if the configuration may set an
//! interval, ssh is asked for the value.

use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use crate::connect::methods::ssh::{Keepalive, SshOptions};
use crate::sys::blocking::on_other_thread;
use crate::sys::process::{self, Launch, Stdio};

/// With these values, a dead network is noticed within a minute, and a packet every 15 s keeps the entry in the
/// tables of most firewalls.
pub(super) const DEFAULT: Keepalive = Keepalive { interval: Duration::from_secs(15), count: 3 };

/// The system's configuration files, depending on the system that OpenSSH was built for.
const SYSTEM: [&str; 3] = ["/etc/ssh/ssh_config", "/usr/local/etc/ssh/ssh_config", "/usr/etc/ssh/ssh_config"];
/// Most bytes of the answer of `ssh -G`, which has about 4 KiB.
const MAX_ANSWER: usize = 64 * 1024;
/// How long to wait for the answer. ssh answers at once, unless its configuration runs programs. These run
/// again when ssh connects.
pub(super) const ANSWER: Duration = Duration::from_secs(2);

/// What the configuration files contain about the keepalive.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mentions {
    /// Whether they may set an interval for some hosts.
    pub(super) any: bool,
    /// Whether they switch it off for some hosts.
    pub(super) off: bool,
    /// Whether they may say that ssh dials another server than the host itself.
    #[cfg(feature = "cli")]
    pub(super) servers: bool,
}

impl Mentions {
    fn of(text: &str) -> Self {
        let mut mentions = Self::default();
        for line in text.lines() {
            let mut words = line.split([' ', '\t', '=']).filter(|word| !word.is_empty());
            let (name, value) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let is = |other: &str| name.eq_ignore_ascii_case(other);
            mentions.any |= is("ServerAliveInterval") || is("ServerAliveCountMax") || is("Include") || is("Match");
            #[cfg(feature = "cli")]
            {
                mentions.servers |= ["HostName", "Port", "ProxyJump", "ProxyCommand"].into_iter().any(is);
            }
            mentions.off |= is("ServerAliveInterval") && value.trim_matches('"') == "0";
        }
        mentions
    }

    /// Reads the configuration files of this user and of the system. Blocks.
    fn read() -> Self {
        let mut texts = String::new();
        let home = std::env::var("HOME").unwrap_or_default();
        let own = nix::unistd::geteuid().as_raw();
        if std::fs::metadata(&home).is_ok_and(|home| home.uid() == own) {
            texts = std::fs::read_to_string(home + "/.ssh/config").unwrap_or_default();
        } else {
            // ssh looks up the home directory in the list of users, so it reads another file. `Include` stands
            // for unknown text.
            texts.push_str("Include");
        }
        for path in SYSTEM {
            texts.push('\n');
            // A missing file counts as empty.
            texts.push_str(&std::fs::read_to_string(path).unwrap_or_default());
        }
        Self::of(&texts)
    }
}

/// The default for a host, from the output of `ssh -G`; `None` if an interval is set.
pub(super) fn default_by(settings: &str) -> Option<Keepalive> {
    let value = |name: &str| settings.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u32>().ok());
    match value("serveraliveinterval ") {
        Some(1..) => None,
        _ => Some(Keepalive { count: value("serveralivecountmax ").unwrap_or(DEFAULT.count), ..DEFAULT }),
    }
}

impl SshOptions {
    /// The keepalive for a host if the program does not set one: the default, unless the user's configuration
    /// sets it. `limit` bounds the time that this takes.
    pub(in crate::connect::methods) async fn default_keepalive(&self, limit: Duration) -> Option<Keepalive> {
        let mentions = self.mentions().await;
        if !mentions.any {
            return Some(DEFAULT);
        }
        let settings = tokio::time::timeout(limit.min(ANSWER), self.settings()).await;
        // Without an answer the user's settings are not known, so they are not overridden.
        default_by(&settings.ok()??).filter(|_| !mentions.off)
    }

    /// What the configuration files contain.
    pub(super) async fn mentions(&self) -> Mentions {
        let has_own_file = self.ssh_args.iter().any(|arg| arg.starts_with("-F"));
        match has_own_file {
            true => Mentions { any: true, ..Mentions::default() },
            false => on_other_thread(Mentions::read).await.unwrap_or_default(),
        }
    }

    /// The settings that ssh would use, as `ssh -G` prints them. Dropping the future ends ssh.
    pub(super) async fn settings(&self) -> Option<String> {
        let mut argv = self.argv("true", ANSWER, false).ok()?;
        argv.insert(1 + self.ssh_args.len(), "-G".into());
        // Its complaints are ignored here, because ssh prints them again when it connects.
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
            assert!(Mentions::of(text).any && !Mentions::of(text).off, "{text}");
        }
        for text in ["", "# ServerAliveInterval 30", "Host Match\n  Port 22", "#Include x", "HostName include"] {
            assert!(!Mentions::of(text).any && !Mentions::of(text).off, "{text}");
        }
        for text in ["ServerAliveInterval 0", "Host x\n serveraliveinterval=0", "ServerAliveInterval \"0\""] {
            assert!(Mentions::of(text).any && Mentions::of(text).off, "{text}");
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
