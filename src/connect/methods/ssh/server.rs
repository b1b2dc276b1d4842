//! Which server ssh dials to reach a host: the host itself, another name or address of it, or a jump host. The tool
//! paces the logins to each of them.

use std::time::Duration;

use crate::connect::Connect;
use crate::connect::methods::ssh::config::ConfigFiles;
use crate::connect::methods::ssh::keepalive::{ANSWER, DEFAULT, Mentions, default_by};
use crate::connect::methods::ssh::{DEFAULT_PORT, SshOptions};
use crate::sys::blocking::on_other_thread;

impl Connect<SshOptions> {
    /// The name of the hop, as it is in errors.
    pub(crate) fn hop_name(&self) -> String {
        self.method.name()
    }

    /// The server that ssh dials, as a text that identifies it. Also finds out the default of the keepalive, by the
    /// same question to ssh. `limit` bounds the time that this takes.
    pub(crate) async fn server(mut self, limit: Duration) -> (Self, String) {
        let ssh = &mut self.method;
        let (ssh_args, host) = (ssh.ssh_args.clone(), ssh.destination().to_owned());
        let read = on_other_thread(move || {
            let files = ConfigFiles::read(&ssh_args);
            let is_told = ssh_args.iter().any(|arg| is_about_servers(arg));
            (Mentions::of(&files), is_told, files.evaluate(&host).filter(|_| !is_told))
        });
        let unread = (Mentions { any: true, ..Mentions::default() }, true, None);
        let (mentions, is_told, mut settings) = read.await.unwrap_or(unread);
        if settings.is_none() && (mentions.any || mentions.servers || is_told) {
            settings = tokio::time::timeout(limit.min(ANSWER), ssh.settings()).await.ok().flatten();
        }
        ssh.is_asked = true;
        if ssh.keepalive.is_none() {
            ssh.keepalive = match &settings {
                _ if !mentions.any => Some(DEFAULT),
                Some(settings) => default_by(settings).filter(|_| !mentions.off),
                None => None,
            };
        }
        let server = settings.as_deref().and_then(|settings| server_by(settings, ssh.port)).unwrap_or_else(|| {
            format!("{}:{}", ssh.destination().to_ascii_lowercase(), ssh.port.unwrap_or(DEFAULT_PORT))
        });
        (self, server)
    }
}

/// Whether an argument for ssh may say which server it dials.
fn is_about_servers(arg: &str) -> bool {
    ["-o", "-J", "-p"].iter().any(|option| arg.starts_with(option))
}

/// The server that is dialled, from the output of `ssh -G`. `port` is the port that ssh is told.
fn server_by(settings: &str, port: Option<u16>) -> Option<String> {
    let value = |name: &str| {
        let mut values = settings.lines().filter_map(|line| line.split_once(' ').filter(|(key, _)| *key == name));
        values.next().map(|(_, value)| value.trim()).filter(|value| !value.is_empty() && *value != "none")
    };
    if let Some(jumps) = value("proxyjump") {
        // All that follow are reached through the first one.
        return Some(format!("jump {}", jumps.split(',').next().unwrap_or(jumps)));
    }
    // This is how a jump host was written before ProxyJump. It is the same for all hosts behind it.
    if let Some(command) = value("proxycommand").filter(|command| command.split(' ').any(|word| word == "-W")) {
        return Some(format!("proxy {command}"));
    }
    let port = port.map_or_else(|| value("port").unwrap_or("22").to_owned(), |port| port.to_string());
    Some(format!("{}:{port}", value("hostname")?.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_the_first_jump_host_or_where_the_name_leads() {
        let by = |settings: &str| server_by(settings, None).unwrap_or_default();
        assert_eq!(by("host web1\nuser x\nhostname 10.0.0.1\nport 22\n"), "10.0.0.1:22");
        assert_eq!(by("hostname Web1\nport 2222\nproxyjump none\nproxycommand none\n"), "web1:2222");
        assert_eq!(by("hostname web1\nport 22\nproxyjump me@j1:22,j2\n"), by("hostname web2\nproxyjump me@j1:22\n"));
        let old = "proxycommand ssh -W %h:%p j1\n";
        assert_eq!(by(&format!("hostname a\n{old}")), by(&format!("hostname b\n{old}")));
        assert_eq!(by("hostname a\nport 1\nproxycommand nc -X 5 %h %p\n"), "a:1");
        assert_eq!(by("hostname a\nport 1\n"), "a:1");
        assert_eq!(server_by("hostname a\nport 1\n", Some(7)).unwrap(), "a:7");
        assert_eq!(server_by("nothing of the kind\n", None), None);
    }
}
