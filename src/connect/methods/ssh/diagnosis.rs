//! The meaning of ssh's messages.

use crate::connect::bootstrap::Diagnosis;
use crate::connect::bootstrap::tool_words::{cannot_fork, lacks_command};
use crate::wire::error::{ConnectCause, ConnectErrorKind};

/// Returns what the last lines of ssh mean and what to do about it.
///
/// `None` if their meaning is not known.
pub(crate) fn interpret(lines: &[String]) -> Option<Diagnosis> {
    // Messages that name a cause come before messages that only report an end.
    let rules =
        [configuration, master, host_key, authentication, network, jump, exchange, forwarding, account, no_shell, lost];
    rules.iter().find_map(|rule| rule(lines))
}

type Reading = Option<Diagnosis>;

fn configuration(lines: &[String]) -> Reading {
    if line_with(lines, "Cannot execute command-line and remote command.").is_some() {
        let text = "ssh refuses to run our command, as ssh_config has a RemoteCommand for this host";
        return Some(Diagnosis::new(ConnectErrorKind::Start, text, "give -o RemoteCommand=none"));
    }
    if let Some(line) = line_with(lines, "No user exists for uid ") {
        let text = format!("ssh does not run here: {line}");
        let advice = "give this user an entry in /etc/passwd, or run as one that has one";
        return Some(Diagnosis::new(ConnectErrorKind::Start, text, advice));
    }
    let line = lines.iter().find(|line| {
        line.contains(": Bad configuration option: ")
            || line.starts_with("command-line line 0: ")
            || [
                "Bad owner or permissions on ",
                "Can't open user config file ",
                "unknown option -- ",
                "Bad port '",
                "hostname contains invalid characters",
            ]
            .iter()
            .any(|start| line.starts_with(start))
    })?;
    let text = format!("ssh refuses its configuration or arguments: {line}");
    Some(Diagnosis::new(ConnectErrorKind::Start, text, "correct ⟨-o, or the file that -F names|what ssh_args() gives⟩"))
}

/// The socket of a shared connection (ControlMaster) cannot be made.
fn master(lines: &[String]) -> Reading {
    // ssh prints the same about a forwarded socket, and then what the socket was for.
    if line_with(lines, "Could not request local forwarding.").is_some() {
        return None;
    }
    let line = line_with(lines, "ControlPath too long (")
        .or_else(|| line_with(lines, "unix_listener: path \""))
        .or_else(|| line_with(lines, "unix_listener: cannot bind to path "))?;
    let text = format!("ssh cannot make the socket that ControlPath names: {line}");
    let advice =
        "name a short path in a directory that is there, as -o ControlPath=~/.ssh/%C, or give -o ControlPath=none";
    Some(Diagnosis::new(ConnectErrorKind::Start, text, advice))
}

/// A forwarding of ssh_config has failed, under `ExitOnForwardFailure`.
fn forwarding(lines: &[String]) -> Reading {
    let line = line_with(lines, "Error: remote port forwarding failed for listen p")
        .or_else(|| line_with(lines, "Could not request local forwarding."))
        .or_else(|| line_with(lines, "Could not request tunnel forwarding."))?;
    let text = format!("ssh gives up as ssh_config has it forward what it cannot: {}", line.trim_end_matches('.'));
    Some(Diagnosis::new(ConnectErrorKind::Eof, text, "give -o ClearAllForwardings=yes"))
}

fn host_key(lines: &[String]) -> Reading {
    line_with(lines, "Host key verification failed.")?;
    let strict = " and you have requested strict checking.";
    let changed = between(lines, "Host key for ", " has changed and you have requested strict checking.");
    let unknown = between(lines, " host key is known for ", strict);
    let revoked = after(lines, "Host key ").and_then(|rest| rest.split_once(" revoked by file "));
    Some(match (changed, revoked) {
        (Some(host), _) => bad_host_key(
            &format!("the host key of {host} has changed"),
            format!(
                "if that is expected run ssh-keygen{} -R '{host}', if not, somebody may be reading along",
                known_hosts_option(lines),
            ),
        ),
        (None, Some((key, _))) => {
            bad_host_key(&format!("the host key {key} has been revoked"), "do not use this host".into())
        }
        (None, None) => unknown_host_key(&unknown.map_or_else(String::new, |host| format!(" of {host}"))),
    })
}

fn bad_host_key(text: &str, advice: String) -> Diagnosis {
    let seen = "host key checking is enabled, and SSH reported an unrecognized or mismatching host key";
    Diagnosis::new(ConnectErrorKind::HostKey, format!("{seen}: {text}"), advice)
}

/// `whose` is empty, or ` of` and a host.
pub(super) fn unknown_host_key(whose: &str) -> Diagnosis {
    let advice = "connect to it once by hand with ssh, or give \
                  ⟨-o StrictHostKeyChecking=accept-new|check_host_keys(CheckHostKeys::Accept)⟩";
    bad_host_key(&format!("the host key{whose} is not known yet"), advice.into())
}

/// The option for ssh-keygen that names the file to correct, if ssh has named one.
fn known_hosts_option(lines: &[String]) -> String {
    after(lines, "Offending ")
        .and_then(|rest| rest.split_once(" key in ")?.1.rsplit_once(':'))
        .map_or_else(String::new, |(file, _)| format!(" -f '{file}'"))
}

fn authentication(lines: &[String]) -> Reading {
    if line_with(lines, "Received disconnect from ")
        .is_some_and(|line| line.ends_with(": Too many authentication failures"))
    {
        let text = "SSH authentication is incorrect: the server gave up before the right key was tried";
        let advice = "⟨name it with -i and give -o IdentitiesOnly=yes|name it with identity_file()⟩, \
                      or unload keys from the agent";
        return Some(Diagnosis::new(ConnectErrorKind::Auth, text, advice));
    }
    let (who, methods) = lines.iter().find_map(|line| denial(line))?;
    let who = who.map_or_else(String::new, |who| format!(" for {who}"));
    if let Some((cause, advice)) = lines.iter().find_map(|line| unusable_key(line)) {
        let text = format!("SSH authentication is incorrect: {cause}");
        return Some(Diagnosis::new(ConnectErrorKind::Auth, text, advice));
    }
    if methods.contains("password") || methods.contains("keyboard-interactive") {
        // Behind a key that it has accepted, a server that wants a password as well takes no keys.
        let refused = match methods.contains("publickey") {
            true => format!("no key was accepted{who}, and the server would take"),
            false => "the server takes".to_owned(),
        };
        let text = format!("SSH password was requested, but none specified: {refused} {methods}");
        return Some(Diagnosis::new(ConnectErrorKind::Password, text, GIVE_PASSWORD));
    }
    let text = format!("SSH authentication is incorrect: no key was accepted{who}, and the server takes {methods}");
    Some(Diagnosis::new(ConnectErrorKind::Auth, text, "check the user name, ssh-add -l, and authorized_keys there"))
}

/// Why a key cannot be used, and what to do.
fn unusable_key(line: &str) -> Option<(String, &'static str)> {
    let line = line.trim_end_matches('.');
    if line.starts_with("Permissions ") && line.ends_with(" are too open") {
        return Some((format!("ssh ignores the key: {line}"), "run chmod 600 on it"));
    }
    ["Load key ", "Warning: Identity file "]
        .iter()
        .any(|start| line.starts_with(start))
        .then(|| (format!("ssh cannot use the key: {line}"), "name another with ⟨-i|identity_file()⟩, or mend it"))
}

fn network(lines: &[String]) -> Reading {
    if let Some(rest) = after(lines, "ssh: Could not resolve hostname ") {
        let text = format!("the name cannot be resolved: {rest}");
        let advice = "check its spelling, DNS, and Host entries in ssh_config";
        return Some(Diagnosis::new(ConnectErrorKind::Eof, text, advice));
    }
    if let Some(rest) = after(lines, "ssh: connect to host ") {
        let (place, reason) = rest.rsplit_once(": ").unwrap_or((rest, "no reason given"));
        let place = place.replace(" port ", ":");
        return Some(match reason {
            "Connection refused" => {
                let text = format!("connection refused: no sshd listens on {place}");
                Diagnosis::new(ConnectErrorKind::Eof, text, LISTENS)
            }
            "Connection timed out" | "Operation timed out" => {
                let text =
                    format!("connection timed out: the machine is off, or a firewall drops what is sent to {place}");
                Diagnosis::new(ConnectErrorKind::Timeout, text, LISTENS)
            }
            "No route to host" | "Network is unreachable" | "Host is down" => {
                let text = format!("{place} cannot be reached from here ({reason})");
                Diagnosis::new(ConnectErrorKind::Eof, text, "it may need a jump host")
            }
            _ => Diagnosis::new(ConnectErrorKind::Eof, format!("connection to {place} failed: {reason}"), LISTENS),
        });
    }
    if line_with(lines, "Connection timed out during banner exchange").is_some() {
        let text = "connection timed out: something accepts connections there but does not speak ssh in time";
        let advice = "is the machine overloaded, or the port another service's?";
        return Some(Diagnosis::new(ConnectErrorKind::Timeout, text, advice));
    }
    None
}

fn jump(lines: &[String]) -> Reading {
    line_with(lines, "stdio forwarding failed")?;
    let text = "the jump host cannot reach the target, or does not allow forwarding";
    Some(Diagnosis::new(ConnectErrorKind::Eof, text, "try ssh from there"))
}

/// Failures between the connection and the login.
fn exchange(lines: &[String]) -> Reading {
    let (text, advice) = if let Some(rest) = EXCHANGE.iter().find_map(|start| after(lines, start)) {
        if let Some(failed) = proxy_command(lines) {
            let text = format!("the ProxyCommand, through which ssh should reach the server, has failed: {failed}");
            return Some(Diagnosis::new(ConnectErrorKind::Eof, text, "correct it (-o ProxyCommand, or ssh_config)"));
        }
        // With `-v`, ssh prints what the server says instead of its version.
        if lines.iter().any(|line| line.contains(": banner line ") && line.ends_with(BANNED)) {
            let text = "the server refuses this address for now (PerSourcePenalties), as logins from it have failed or \
                        were broken off";
            let advice = "wait some minutes, and find what fails to log in from here, as with a wrong key; or add this \
                          address to PerSourcePenaltyExemptList there";
            let diagnosis = Diagnosis::new(ConnectErrorKind::Eof, text, advice);
            return Some(Diagnosis { cause: ConnectCause::Banned, ..diagnosis });
        }
        if !rest.contains("invalid characters") {
            const BUSY: &str = "too many logins at once (MaxStartups, PerSourcePenalties), or a ban";
            // ssh calls the other end of a proxy so. The proxy does not say whether it or the server has failed.
            let (text, advice) = if lines.iter().any(|line| line.contains(" UNKNOWN port ")) {
                let text = format!(
                    "the connection through a proxy (ProxyCommand, ProxyJump) ended before the login ({rest}): the proxy \
                     has failed; or, at the server behind it, {BUSY}"
                );
                (text, "try the proxy by hand; if it works, try fewer hosts at a time")
            } else {
                let text = format!("the server closed the connection before the login ({rest}): {BUSY}");
                (text, "try fewer at a time")
            };
            let diagnosis = Diagnosis::new(ConnectErrorKind::Eof, text, advice);
            return Some(Diagnosis { cause: ConnectCause::TurnedAway, ..diagnosis });
        }
        (format!("what listens there is not an ssh server ({rest})"), "check the port")
    } else if let Some(rest) = after(lines, "Unable to negotiate with ") {
        (format!("ssh and the server have no algorithm in common: {rest}"), "add what they offer in ssh_config")
    } else {
        let versions = after(lines, "Protocol major versions differ: ")?;
        (format!("the server speaks only version 1 of the ssh protocol ({versions})"), "it takes a newer server")
    };
    Some(Diagnosis::new(ConnectErrorKind::Eof, text, advice))
}

/// What the shell has said of a ProxyCommand that it could not start. ssh gives it to the user's shell, with `exec` in
/// front. So it is not the login that has failed, and trying again does not help.
fn proxy_command(lines: &[String]) -> Option<&str> {
    let at = lines.iter().position(|line| EXCHANGE.iter().any(|start| line.starts_with(start)))?;
    let is_of_shell =
        |line: &str| !["Load key ", "no such identity: ", "debug"].iter().any(|start| line.starts_with(start));
    let says = |line: &&String| {
        let is_missing = line.ends_with(": No such file or directory") || line.ends_with(": Permission denied");
        lacks_command(line) || is_missing && is_of_shell(line)
    };
    lines[..at].iter().rev().find(says).map(String::as_str)
}

/// Accounts that may log in but not run a command.
fn account(lines: &[String]) -> Reading {
    if let Some(line) = line_with(lines, "Your account has expired") {
        let text = format!("the account has expired: {}", line.trim_end_matches('.'));
        return Some(Diagnosis::new(ConnectErrorKind::Auth, text, "use another, or have it extended (chage -E there)"));
    }
    if line_with(lines, "Password change required but no TTY available.").is_some() {
        let text = "the account's password has expired, and the server wants it to be changed first";
        return Some(Diagnosis::new(ConnectErrorKind::Auth, text, "log in once by hand with ssh and change it"));
    }
    if let Some(line) = lines.iter().find(|line| line.to_ascii_lowercase().contains("too many logins for '")) {
        let text = format!("the account has as many sessions as it may have: {}", line.trim_end_matches('.'));
        return Some(Diagnosis::new(ConnectErrorKind::Auth, text, "end some, or raise maxlogins in limits.conf there"));
    }
    if let Some(line) = line_with(lines, "channel 0: open failed: ") {
        let text = format!("the server lets the account in and gives it no session: {line}");
        return Some(Diagnosis::new(ConnectErrorKind::Auth, text, "see MaxSessions in sshd_config there"));
    }
    if let Some(line) = line_with(lines, "subsystem request failed on channel ") {
        let text = format!("ssh was told to start a subsystem instead of our command: {line}");
        return Some(Diagnosis::new(ConnectErrorKind::Start, text, "give -o SessionType=default"));
    }
    if let Some(line) = line_with(lines, "exec request failed on channel ") {
        let text = format!("the server lets the account in and runs no command for it: {line}");
        let advice = "see what sshd logs there: the account may start too few processes (`ulimit -u`), \
                      or PermitOpen, a subsystem or a plug-in forbids commands";
        return Some(Diagnosis::new(ConnectErrorKind::Auth, text, advice));
    }
    if let Some(line) = cannot_fork(lines) {
        return Some(Diagnosis::no_processes(line));
    }
    // These messages come on stdout.
    let (text, advice) = if line_with(lines, "This account is currently not available.").is_some() {
        ("the account has no login shell (nologin)", "use another, or give it one with chsh -s /bin/sh")
    } else if line_with(lines, "fatal: unrecognized command '").is_some()
        || line_with(lines, "fatal: Interactive git shell is not enabled.").is_some()
    {
        ("the account's shell is git-shell, which runs git alone", "use another account")
    } else {
        line_with(lines, "This service allows sftp connections only.")?;
        ("the account is for sftp only (ForceCommand internal-sftp)", "use another one")
    };
    Some(Diagnosis::new(ConnectErrorKind::Auth, text, advice))
}

/// Only the last line counts, because profiles print such lines, too, and go on.
fn no_shell(lines: &[String]) -> Reading {
    let last = lines.last().filter(|last| lacks_command(last))?;
    if let Some(file) = start_up_file(last) {
        let text =
            format!("a start-up file of the login shell executes another program (`exec`), which is not there: {last}");
        let advice = format!("let {file} do so in interactive shells only");
        return Some(Diagnosis::new(ConnectErrorKind::Eof, text, advice));
    }
    let text = format!("the login shell did not find the command it was given: {last}");
    let diagnosis = Diagnosis::new(ConnectErrorKind::Eof, text, "name a POSIX shell that is there");
    Some(Diagnosis { cause: ConnectCause::NoShell, ..diagnosis })
}

/// The file of `FILE: line 1: exec: PROGRAM: not found` and its like. The command that a login shell gets has no `exec`
/// in front.
fn start_up_file(said: &str) -> Option<&str> {
    let (file, _) = said.split_once(": ").filter(|(_, rest)| rest.contains("exec: "))?;
    file.contains('/').then_some(file)
}

fn lost(lines: &[String]) -> Reading {
    if let Some(rest) = after(lines, "Timeout, server ") {
        let text =
            format!("the connection was lost: server {rest} (ServerAliveInterval x ServerAliveCountMax has passed)");
        return Some(Diagnosis::new(ConnectErrorKind::Timeout, text, LOST));
    }
    if let Some(refusal) = refused_aloud(lines) {
        return Some(refusal);
    }
    let line = lines.iter().rev().find(|line| {
        let closed = line.starts_with("Connection to ") && line.contains(" closed by remote host");
        closed
            || [
                "Connection closed by ",
                "Connection reset by ",
                "Received disconnect from ",
                "client_loop: send disconnect: ",
            ]
            .iter()
            .any(|start| line.starts_with(start))
    })?;
    let text = format!("the connection was lost: {}", line.trim_end_matches('.'));
    Some(Diagnosis { cause: ConnectCause::Unexplained, ..Diagnosis::new(ConnectErrorKind::Eof, text, LOST) })
}

/// A server that sends a message of its own and closes the connection before any command runs, as with
/// /etc/nologin. ssh prints the message unless it is told to be quiet.
fn refused_aloud(lines: &[String]) -> Reading {
    let mut said = lines.iter().rev().filter(|line| !line.is_empty());
    let (last, said) = (said.next()?, said.next()?);
    let is_close = last.starts_with("Connection closed by ") && last.contains(" port ");
    let is_of_ssh = SAYS_SSH.iter().any(|start| said.starts_with(start));
    (is_close && !is_of_ssh).then(|| {
        let text = format!(
            "the server closed the connection before the login was complete, after these words: {}",
            said.trim_end_matches('.')
        );
        let advice =
            "it lets others in, or nobody now: see /etc/nologin, AllowUsers, access.conf and what sshd logs there";
        Diagnosis::new(ConnectErrorKind::Eof, text, advice)
    })
}

/// Parses `user@host: Permission denied (methods).` Some versions leave out the first part. Shells and banners
/// use the same words in the middle of a line, or without the methods. The name of a user may contain any
/// character. The host may be an IPv6 address.
fn denial(line: &str) -> Option<(Option<&str>, &str)> {
    let (who, rest) = match line.rsplit_once(": Permission denied (") {
        Some((who, rest)) if is_account(who) => (Some(who), rest),
        _ => (None, line.strip_prefix("Permission denied (")?),
    };
    Some((who, rest.strip_suffix(").")?))
}

/// Whether this is `user@host`, as opposed to the beginning of a sentence.
fn is_account(who: &str) -> bool {
    who.rsplit_once('@').is_some_and(|(user, host)| {
        let of_name = |c: char| c.is_ascii_alphanumeric() || "-._:%[]".contains(c);
        !host.is_empty() && host.chars().all(of_name) && !user.is_empty() && !user.contains(": ")
    })
}

fn line_with<'a>(lines: &'a [String], start: &str) -> Option<&'a str> {
    lines.iter().map(String::as_str).find(|line| line.starts_with(start))
}

fn after<'a>(lines: &'a [String], start: &str) -> Option<&'a str> {
    lines.iter().find_map(|line| line.strip_prefix(start))
}

fn between<'a>(lines: &'a [String], start: &str, end: &str) -> Option<&'a str> {
    lines.iter().find_map(|line| Some(line.strip_suffix(end)?.split_once(start)?.1))
}

const LISTENS: &str = "see that sshd runs there and listens on that port, and what `ssh -v` says";
const GIVE_PASSWORD: &str = "give a password (⟨--ask-pass|password()⟩), or install a key there";
const LOST: &str = "try again; if it stays so, see what `ssh -v HOST true` prints";
/// The beginnings of lines that ssh itself prints before the connection is closed.
const SAYS_SSH: [&str; 3] = ["Warning: ", "debug", "Received disconnect from "];
/// What sshd says instead of its version to an address that it refuses for a while, since 9.8.
const BANNED: &str = "Not allowed at this time";
const EXCHANGE: [&str; 2] = ["kex_exchange_identification: ", "ssh_exchange_identification: "];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::error::{Reader, joined};
    use ConnectErrorKind::{Auth, Eof, HostKey, Password, Start, Timeout};

    /// Printed by OpenSSH 9.2p1 of Debian 12 in each of these situations, with the original names of hosts and
    /// users, and by the shells and PAM 1.5.2 of that system. [`FROM_SOURCES`] has the messages of other
    /// versions and systems.
    #[test]
    fn recorded_output_of_ssh_is_understood() {
        for (said, kind, parts) in RECORDED.iter().chain(FROM_SOURCES) {
            let found = read(said).unwrap_or_else(|| panic!("not understood: {said}"));
            let text = joined(&found.text, &found.advice);
            let words = [Reader::Tool, Reader::Program].map(|reader| reader.words(&text));
            assert!(!words[0].contains("()"), "a method for who uses the tool: {words:?}");
            let text = words.join(" / ");
            assert_eq!(found.kind, *kind, "{said}: {text}");
            for part in *parts {
                assert!(text.contains(part), "{text:?} lacks {part:?}");
            }
            assert!(!text.ends_with('.') && !text.contains("  ") && !found.advice.is_empty(), "{text}");
            assert_eq!(found.cause == ConnectCause::TurnedAway, text.contains("MaxStartups"), "{text}");
        }
    }

    #[test]
    fn unreachable_hosts_and_jump_hosts_are_told_apart() {
        let jump = "ssh: connect to host 127.0.0.1 port 2399: Connection refused\n\
                    kex_exchange_identification: Connection closed by remote host\n";
        assert_eq!(read(jump).unwrap().text, "connection refused: no sshd listens on 127.0.0.1:2399");
    }

    #[test]
    fn similar_words_of_others_mean_nothing() {
        for said in [
            "",
            "Welcome to web1\n",
            "bash: /root/x: Permission denied\n",
            "Permission denied to all\n",
            "note: user@host: Permission denied (publickey).\n",
            "I said: Host key verification failed.\n",
            "bash: line 3: foo: command not found\nSegmentation fault\n",
        ] {
            assert_eq!(read(said), None, "{said}");
        }
        // A host whose changed key was ignored, and whose shell was then missing.
        let Diagnosis { kind, .. } =
            read(&format!("{CHANGED_BANNER}This account is currently not available.\n")).unwrap();
        assert_eq!(kind, Auth);
    }

    fn read(said: &str) -> Option<Diagnosis> {
        let lines: Vec<String> = said.lines().map(|line| line.trim_end().to_owned()).collect();
        interpret(&lines)
    }

    const CHANGED_BANNER: &str = "@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@\r\n\
        @    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r\n\
        @@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@\r\n\
        IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!\r\n\
        Offending ED25519 key in /home/op/.ssh/known_hosts:1\r\n";

    #[rustfmt::skip]
    const FROM_SOURCES: &[(&str, ConnectErrorKind, &[&str])] = &[
        ("Too many logins for 'rec_user'.\n", Auth, &["maxlogins"]),
        ("There were too many logins for 'rec_user'.\nConnection to 127.0.0.1 closed by remote host.\r\n", Auth, &["maxlogins"]),
        ("a b@127.0.0.1: Permission denied (publickey).\r\n", Auth, &["for a b@127.0.0.1"]),
        ("DOM\\bob@x@web1: Permission denied (publickey).\r\nConnection closed by 127.0.0.1 port 22\r\n", Auth, &["for DOM\\bob@x@web1"]),
        ("bob@::1: Permission denied (publickey).\r\n", Auth, &["for bob@::1"]),
    ];

    #[rustfmt::skip]
    const RECORDED: &[(&str, ConnectErrorKind, &[&str])] = &[
        ("ssh: Could not resolve hostname nosuch.invalid: Name or service not known\r\n", Eof, &["cannot be resolved: nosuch.invalid"]),
        ("ssh: Could not resolve hostname 127.0.0.1: Address family for hostname not supported\r\n", Eof, &["Address family"]),
        ("ssh: connect to host 127.0.0.1 port 2399: Connection refused\r\n", Eof, &["no sshd listens on 127.0.0.1:2399"]),
        ("ssh: connect to host 10.9.0.1 port 22: Connection timed out\r\n", Timeout, &["10.9.0.1:22", "firewall"]),
        ("ssh: connect to host 10.8.0.1 port 22: No route to host\r\n", Eof, &["10.8.0.1:22 cannot be reached from here (No route to host)"]),
        ("ssh: connect to host 10.255.255.1 port 22: Network is unreachable\r\n", Eof, &["(Network is unreachable)"]),
        ("ssh: connect to host 10.7.0.1 port 22: Permission denied\r\n", Eof, &["connection to 10.7.0.1:22 failed: Permission denied"]),
        ("Connection timed out during banner exchange\r\n", Timeout, &["does not speak ssh in time"]),
        ("kex_exchange_identification: read: Connection reset by peer\r\n", Eof, &["too many logins at once (MaxStartups"]),
        ("kex_exchange_identification: Connection closed by remote host\r\n", Eof, &["MaxStartups"]),
        ("kex_exchange_identification: Connection closed by remote host\r\nConnection closed by UNKNOWN port 65535\r\n", Eof, &["the proxy has failed", "MaxStartups"]),
        ("debug1: identity file /root/.ssh/id_rsa type -1\r\ndebug1: kex_exchange_identification: banner line 0: Exceeded MaxStartups\r\nkex_exchange_identification: Connection closed by remote host\r\n", Eof, &["MaxStartups"]),
        ("debug1: key_load_public: No such file or directory\r\ndebug1: kex_exchange_identification: banner line 0: Not allowed at this time\r\nkex_exchange_identification: Connection closed by remote host\r\nConnection closed by 127.0.0.1 port 2222\r\n", Eof, &["refuses this address for now (PerSourcePenalties)", "PerSourcePenaltyExemptList"]),
        ("kex_exchange_identification: banner line contains invalid characters\r\n", Eof, &["not an ssh server"]),
        ("Protocol major versions differ: 2 vs. 1\r\n", Eof, &["version 1"]),
        ("Unable to negotiate with 127.0.0.1 port 2309: no matching key exchange method found. Their offer: diffie-hellman-group14-sha256,kex-strict-s-v00@openssh.com\r\n", Eof, &["no algorithm in common", "diffie-hellman-group14-sha256"]),
        ("rec_user@127.0.0.1: Permission denied (publickey).\r\n", Auth, &["SSH authentication is incorrect", "for rec_user@127.0.0.1", "takes publickey"]),
        ("Permission denied (publickey).\r\n", Auth, &["SSH authentication is incorrect: no key was accepted, and"]),
        ("Your password is precious\nPermission denied to all\nrec_user@127.0.0.1: Permission denied (publickey).\r\n", Auth, &["takes publickey"]),
        ("rec_user@127.0.0.1: Permission denied (publickey,password).\r\n", Password, &["SSH password was requested, but none specified"]),
        ("rec_user@127.0.0.1: Permission denied (publickey,password,keyboard-interactive).\r\n", Password, &["publickey,password,keyboard-interactive"]),
        ("@         WARNING: UNPROTECTED PRIVATE KEY FILE!          @\r\nPermissions 0644 for 'loose' are too open.\r\nIt is required that your private key files are NOT accessible by others.\r\nThis private key will be ignored.\r\nLoad key \"loose\": bad permissions\r\nrec_user@127.0.0.1: Permission denied (publickey).\r\n", Auth, &["Permissions 0644 for 'loose' are too open", "chmod 600"]),
        ("Warning: Identity file nosuchfile not accessible: No such file or directory.\nrec_user@127.0.0.1: Permission denied (publickey).\r\n", Auth, &["Identity file nosuchfile not accessible"]),
        ("Load key \"badkey\": error in libcrypto\r\nrec_user@127.0.0.1: Permission denied (publickey,password).\r\n", Auth, &["Load key \"badkey\": error in libcrypto"]),
        ("Received disconnect from 127.0.0.1 port 2305:2: Too many authentication failures\r\nDisconnected from 127.0.0.1 port 2305\r\n", Auth, &["-i and give -o IdentitiesOnly=yes", "identity_file"]),
        ("No ED25519 host key is known for [127.0.0.1]:2301 and you have requested strict checking.\r\nHost key verification failed.\r\n", HostKey, &["unrecognized or mismatching host key: the host key of [127.0.0.1]:2301 is not known yet", "-o StrictHostKeyChecking=accept-new"]),
        ("fatal: unrecognized command 'sh -c 'A=0 B=1''\n", Auth, &["git-shell"]),
        ("Host key verification failed.\r\n", HostKey, &["the host key is not known yet"]),
        ("@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r\nAdd correct host key in /tmp/kh to get rid of this message.\r\nOffending ED25519 key in /tmp/kh:1\r\n  remove with:\r\n  ssh-keygen -f \"/tmp/kh\" -R \"[127.0.0.1]:2301\"\r\nHost key for [127.0.0.1]:2301 has changed and you have requested strict checking.\r\nHost key verification failed.\r\n", HostKey, &["the host key of [127.0.0.1]:2301 has changed", "ssh-keygen -f '/tmp/kh' -R '[127.0.0.1]:2301'"]),
        ("Host key ED25519 SHA256:8xqfZBHZFqJ/8xsc+MpsiWsvGJPUeP8Nfyz+qokApeQ revoked by file /tmp/hk.pub\r\nHost key verification failed.\r\n", HostKey, &["revoked"]),
        ("command-line: line 0: Bad configuration option: nonsense\r\n", Start, &["nonsense", "correct -o, or the file that -F names", "ssh_args"]),
        ("command-line line 0: Bad port 'ninety'.\r\n", Start, &["ninety"]),
        ("badconf: line 1: Bad configuration option: hostt\r\nbadconf: terminating, 1 bad configuration options\r\n", Start, &["badconf: line 1"]),
        ("Can't open user config file nofile: No such file or directory\r\n", Start, &["nofile"]),
        ("Bad owner or permissions on /home/rec_user/.ssh/config\r\n", Start, &["/home/rec_user/.ssh/config"]),
        ("unknown option -- Z\r\nusage: ssh [-46AaCfGgKkMNnqsTtVvXxYy] [-B bind_interface]\n", Start, &["-- Z"]),
        ("Bad port '99999'\r\n", Start, &["99999"]),
        ("hostname contains invalid characters\r\n", Start, &["invalid characters"]),
        ("Cannot execute command-line and remote command.\r\n", Start, &["RemoteCommand=none"]),
        ("This account is currently not available.\n", Auth, &["nologin"]),
        ("This service allows sftp connections only.\n", Auth, &["sftp only"]),
        ("stdio forwarding failed\r\nkex_exchange_identification: Connection closed by remote host\r\n", Eof, &["jump host"]),
        ("ssh: Could not resolve hostname nosuch.invalid: Name or service not known\r\nkex_exchange_identification: Connection closed by remote host\r\n", Eof, &["nosuch.invalid"]),
        ("/bin/bash: line 1: exec: no-such-connect: not found\nkex_exchange_identification: Connection closed by remote host\r\n", Eof, &["the ProxyCommand", "has failed: /bin/bash: line 1: exec: no-such-connect: not found", "-o ProxyCommand"]),
        ("/bin/bash: line 1: /no/such/connect: No such file or directory\r\nkex_exchange_identification: Connection closed by remote host\r\n", Eof, &["the ProxyCommand", "/no/such/connect"]),
        ("/home/op/.bashrc: line 1: exec: screen: not found\n", Eof, &["a start-up file of the login shell executes another program", "let /home/op/.bashrc do so in interactive shells only"]),
        ("bash: line 1: nosuch: command not found\n", Eof, &["did not find", "nosuch"]),
        ("dash: 1: nosuch: not found\n", Eof, &["did not find"]),
        ("zsh:1: command not found: nosuch\n", Eof, &["did not find"]),
        ("E: mksh: nosuch: inaccessible or not found\n", Eof, &["did not find"]),
        ("ksh93: nosuch: not found\n", Eof, &["did not find"]),
        ("yash: no such command `nosuch'\n", Eof, &["did not find"]),
        ("nosuch: Command not found.\n", Eof, &["did not find"]),
        ("fish: Unknown command: nosuch\n", Eof, &["did not find"]),
        ("WARNING: Your password has expired.\nPassword change required but no TTY available.\n", Auth, &["password has expired", "change it"]),
        ("Error: remote port forwarding failed for listen port 2978\r\n", Eof, &["listen port 2978", "-o ClearAllForwardings=yes"]),
        ("bind [127.0.0.1]:2977: Address already in use\r\nchannel_setup_fwd_listener_tcpip: cannot listen to port: 2977\r\nCould not request local forwarding.\r\n", Eof, &["-o ClearAllForwardings=yes"]),
        ("unix_listener: cannot bind to path /nonexistent/y: No such file or directory\r\nCould not request local forwarding.\r\n", Eof, &["-o ClearAllForwardings=yes"]),
        ("ControlPath too long ('/tmp/xxxxxxxx' >= 108 bytes)\r\n", Start, &["ControlPath too long", "-o ControlPath=none"]),
        ("unix_listener: cannot bind to path /nonexistent/x.AQWEQU97FTYsyblc: No such file or directory\r\n", Start, &["/nonexistent/x", "-o ControlPath=none"]),
        ("unix_listener: path \"/tmp/xxxxxxxx.pe6DFvf9CNDnxIlH\" too long for Unix domain socket\r\n", Start, &["too long for Unix domain socket", "-o ControlPath=none"]),
        ("No user exists for uid 54321\r\n", Start, &["No user exists for uid 54321", "/etc/passwd"]),
        ("channel 0: open failed: connect failed: open failed\r\n", Auth, &["gives it no session", "MaxSessions"]),
        ("Your account has expired; please contact your system administrator.\nConnection closed by 127.0.0.34 port 2222\r\n", Auth, &["the account has expired", "chage -E"]),
        ("Closed until the new disks are in.\n\nConnection closed by 127.0.0.17 port 2222\r\n", Eof, &["after these words: Closed until the new disks are in", "/etc/nologin"]),
        ("exec request failed on channel 0\r\n", Auth, &["exec request failed on channel 0", "ulimit -u"]),
        ("subsystem request failed on channel 0\r\n", Start, &["a subsystem instead of our command", "-o SessionType=default"]),
        ("permitted by applicable law.\nThere were too many logins for 'ofs-too-many'.\n", Auth, &["too many logins for 'ofs-too-many'", "maxlogins"]),
        ("bash: fork: retry: Resource temporarily unavailable\nbash: fork: Resource temporarily unavailable\n", Start, &["no more processes", "ulimit -u"]),
        ("sh: 1: Cannot fork\n", Start, &["no more processes"]),
        ("Timeout, server 127.0.0.1 not responding.\r\n", Timeout, &["server 127.0.0.1 not responding"]),
        ("Connection to 127.0.0.1 closed by remote host.\r\n", Eof, &["the connection was lost"]),
    ];
}
