//! How ssh finds out that the other end is gone, if the program does not set it.
//!
//! OpenSSH does not check this by default. So we have a default of our own, unless the user's configuration
//! sets one. An option on the command line would override the configuration. So if the configuration may set an
//! interval, ssh is asked for the value.

use std::time::Duration;

use crate::connect::methods::ssh::config::ConfigFiles;
use crate::connect::methods::ssh::{Keepalive, SshOptions};
use crate::sys::blocking::on_other_thread;
use crate::sys::process::{self, Launch, Stdio};

/// With these values, a dead network is noticed within a minute, and a packet every 15 s keeps the entry in the
/// tables of most firewalls.
pub(super) const DEFAULT: Keepalive = Keepalive { interval: Duration::from_secs(15), count: 3 };

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
    pub(super) fn of(files: &ConfigFiles) -> Self {
        let mut mentions = Self { any: files.has_unknown, ..Self::default() };
        for (name, value) in files.settings() {
            mentions.any |= name == "serveraliveinterval" || name == "serveralivecountmax";
            mentions.off |= name == "serveraliveinterval" && value.trim_matches('"') == "0";
            #[cfg(feature = "cli")]
            {
                mentions.servers |= ["hostname", "port", "proxyjump", "proxycommand"].contains(&&*name);
            }
        }
        mentions
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
        let ssh_args = self.ssh_args.clone();
        let mentions = on_other_thread(move || Mentions::of(&ConfigFiles::read(&ssh_args))).await.ok()?;
        if !mentions.any {
            return Some(DEFAULT);
        }
        let settings = tokio::time::timeout(limit.min(ANSWER), self.settings()).await;
        // Without an answer the user's settings are not known, so they are not overridden.
        default_by(&settings.ok()??).filter(|_| !mentions.off)
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
