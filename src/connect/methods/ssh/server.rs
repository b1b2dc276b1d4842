//! Which server ssh dials to reach a host: the host itself, another name or address of it, or a jump host. The tool
//! paces the logins to each of them.

use std::time::Duration;

use crate::connect::Connect;
use crate::connect::methods::ssh::keepalive::{ANSWER, DEFAULT, default_by};
use crate::connect::methods::ssh::{DEFAULT_PORT, SshOptions};

impl Connect<SshOptions> {
    /// The name of the hop, as it is in errors.
    pub(crate) fn hop_name(&self) -> String {
        self.method.name()
    }

    /// The server that ssh dials, as a text that identifies it. Also finds out the default of the keepalive, by the
    /// same question to ssh. `limit` bounds the time that this takes.
    pub(crate) async fn server(mut self, limit: Duration) -> (Self, String) {
        let ssh = &mut self.method;
        let mentions = ssh.mentions().await;
        let asks = mentions.any || mentions.servers || ssh.ssh_args.iter().any(|arg| is_about_servers(arg));
        let settings = match asks {
            true => tokio::time::timeout(limit.min(ANSWER), ssh.settings()).await.ok().flatten(),
            false => None,
        };
        ssh.is_asked = true;
        if ssh.keepalive.is_none() {
            ssh.keepalive = match &settings {
                _ if !mentions.any => Some(DEFAULT),
                Some(settings) => default_by(settings).filter(|_| !mentions.off),
                None => None,
            };
        }
        let server = settings.as_deref().and_then(server_by).unwrap_or_else(|| {
            format!("{}:{}", ssh.destination().to_ascii_lowercase(), ssh.port.unwrap_or(DEFAULT_PORT))
        });
        (self, server)
    }
}

/// Whether an argument for ssh may say which server it dials.
fn is_about_servers(arg: &str) -> bool {
    ["-o", "-J", "-p"].iter().any(|option| arg.starts_with(option))
}

/// The server that is dialled, from the output of `ssh -G`.
fn server_by(settings: &str) -> Option<String> {
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
    Some(format!("{}:{}", value("hostname")?.to_ascii_lowercase(), value("port").unwrap_or("22")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_the_first_jump_host_or_where_the_name_leads() {
        let by = |settings: &str| server_by(settings).unwrap_or_default();
        assert_eq!(by("host web1\nuser x\nhostname 10.0.0.1\nport 22\n"), "10.0.0.1:22");
        assert_eq!(by("hostname Web1\nport 2222\nproxyjump none\nproxycommand none\n"), "web1:2222");
        assert_eq!(by("hostname web1\nport 22\nproxyjump me@j1:22,j2\n"), by("hostname web2\nproxyjump me@j1:22\n"));
        let old = "proxycommand ssh -W %h:%p j1\n";
        assert_eq!(by(&format!("hostname a\n{old}")), by(&format!("hostname b\n{old}")));
        assert_eq!(by("hostname a\nport 1\nproxycommand nc -X 5 %h %p\n"), "a:1");
        assert_eq!(server_by("nothing of the kind\n"), None);
    }
}
