//! What ssh does on a host: a command, or the server of sftp.

use std::ffi::OsString;

use crate::api::context::Context;
use crate::builtin::process::{Command, Stdin};

/// Begins in the home and has the login shell read the line, as sshd does. Without a line, that shell reads its stdin. An
/// account that has no shell still runs commands, because it was not reached by its login.
const IN_LOGIN_SHELL: &str = r#"cd 2>/dev/null || cd /
case ${SHELL:-} in '' | */nologin | */false) SHELL=/bin/sh ;; esac
command -v "$SHELL" >/dev/null 2>&1 || SHELL=/bin/sh
[ -n "$1" ] || exec "$SHELL" -l
exec "$SHELL" -c "$1""#;

/// Finds the server of sftp where systems have it. With the second argument `look`, it only looks.
const SFTP_SERVER: &str = r#"cd 2>/dev/null || cd /
for server in /usr/lib/openssh/sftp-server /usr/libexec/openssh/sftp-server /usr/libexec/sftp-server \
    /usr/lib/ssh/sftp-server /usr/lib/misc/sftp-server /usr/lib/sftp-server /usr/libexec/ssh/sftp-server \
    /usr/local/libexec/sftp-server
do
    if [ -x "$server" ]; then [ "$2" != look ] || exit 0; exec "$server"; fi
done
if command -v sftp-server >/dev/null 2>&1; then [ "$2" != look ] || exit 0; exec sftp-server; fi
echo 'offshoot: no sftp-server is found on the host; write scp -O, which needs none' >&2
exit 255"#;

/// A script for `sh`, and the line of the command for it.
#[derive(Debug)]
pub(crate) struct Remote {
    script: &'static str,
    line: OsString,
}

impl Remote {
    /// # Errors
    ///
    /// If there is no such subsystem.
    pub(crate) fn new(line: OsString, is_subsystem: bool) -> Result<Self, String> {
        let script = match (is_subsystem, line.as_encoded_bytes()) {
            (true, b"sftp") => SFTP_SERVER,
            (true, _) => return Err(format!("the subsystem {} is not known; there is sftp", line.display())),
            (false, _) => IN_LOGIN_SHELL,
        };
        Ok(Self { script, line })
    }

    #[cfg(test)]
    pub(super) fn line(&self) -> &std::ffi::OsStr {
        &self.line
    }

    pub(crate) fn command(&self, context: &Context, has_stdin: bool) -> Command {
        let stdin = if has_stdin { Stdin::piped() } else { Stdin::null() };
        let [shell, words @ ..] = self.argv();
        context.command(shell).args(words).stdin(stdin).with_whole_output()
    }

    /// What is a success on a host that has a server of sftp, if this is one.
    #[cfg(feature = "cli")]
    pub(crate) fn look_for_server(&self) -> [OsString; 6] {
        let [shell, option, script, name, line] = self.argv();
        [shell, option, script, name, line, "look".into()]
    }

    /// What runs on the host.
    pub(crate) fn argv(&self) -> [OsString; 5] {
        ["/bin/sh".into(), "-c".into(), self.script.into(), "sh".into(), self.line.clone()]
    }
}

/// The value of an option `-o NAME=VALUE`, if it has this name. As in the configuration of ssh, blanks or one `=`, which may
/// have blanks around it, are between them.
pub(crate) fn value_of<'a>(option: &'a str, name: &str) -> Option<&'a str> {
    let (typed, value) = option.trim().split_once(|c: char| c == '=' || c.is_whitespace())?;
    let value = if option.trim()[typed.len()..].starts_with('=') { value } else { skip_equals(value) };
    typed.eq_ignore_ascii_case(name).then(|| value.trim())
}

fn skip_equals(value: &str) -> &str {
    let value = value.trim_start();
    value.strip_prefix('=').unwrap_or(value)
}

/// The names of variables in the value of an option `-o SendEnv=NAME`. Patterns are not looked up.
pub(crate) fn sent_variables(option: &str) -> impl Iterator<Item = &str> {
    let list = value_of(option, "SendEnv").unwrap_or_default();
    list.split_whitespace().filter(|name| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
}

#[cfg(test)]
mod tests {
    use super::value_of;

    #[test]
    fn an_option_is_read_as_ssh_reads_it() {
        for option in ["Port=22", "port 22", "PORT = 22", " Port\t22 ", "Port=  22", "port   =22"] {
            assert_eq!(value_of(option, "Port"), Some("22"), "{option:?}");
        }
        assert_eq!(value_of("RemoteCommand = a = b", "remotecommand"), Some("a = b"));
        assert_eq!(value_of("RemoteCommand==a", "remotecommand"), Some("=a"));
        for option in ["Port", "Ports=22", ""] {
            assert_eq!(value_of(option, "Port"), None, "{option:?}");
        }
    }
}
