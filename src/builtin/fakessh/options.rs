//! The command line of ssh.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::remote::{Remote, sent_variables, value_of};

/// Options with a value, as in the manual of ssh.
const WITH_VALUE: &[u8] = b"BbcDEeFIiJLlmOoPpQRSWw";
/// Options that are about something else than a command.
const REFUSED: &[u8] = b"DLRwfMOXYQ";

/// What a command line of ssh asks for.
#[derive(Debug)]
pub(super) enum Asked {
    Run {
        remote: Remote,
        has_stdin: bool,
        /// The names of variables that are sent along.
        variables: Vec<String>,
        terminal: Terminal,
    },
    /// To pass stdin and stdout to this address, `HOST:PORT`, or the path of a socket.
    Connect(String),
    /// To do nothing until the context or the stand-in has gone.
    Hold,
    /// Only a line of text, as the version.
    Text(String),
}

/// Whether a command gets a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Terminal {
    None,
    /// If stdin is one.
    AsHere,
    Always,
}

/// Reads the arguments. The host does not matter, nor how it is reached.
pub(super) fn parse(argv: &[OsString]) -> Result<Asked, String> {
    let (mut host, mut flags, mut variables, mut address) = (None, Vec::new(), Vec::new(), None);
    let mut line = OsString::new();
    let mut words = argv.iter();
    let mut are_options = true;
    while let Some(word) = words.next() {
        match word.as_bytes() {
            b"--" if are_options => are_options = false,
            [b'-', letters @ ..] if are_options && !letters.is_empty() => {
                for (at, letter) in letters.iter().enumerate() {
                    flags.push(*letter);
                    if WITH_VALUE.contains(letter) {
                        let rest = &letters[at + 1..];
                        let value = if rest.is_empty() {
                            words.next().map(OsString::as_os_str)
                        } else {
                            Some(OsStr::from_bytes(rest))
                        };
                        let value =
                            value.ok_or_else(|| format!("the option -{} needs a value", char::from(*letter)))?;
                        if *letter == b'o' {
                            let value = value.to_string_lossy();
                            variables.extend(sent_variables(&value).map(str::to_owned));
                            if line.is_empty()
                                && let Some(command) = value_of(&value, "RemoteCommand")
                                && !command.eq_ignore_ascii_case("none")
                            {
                                line = command.into();
                            }
                        } else if *letter == b'W' {
                            address = Some(value.to_string_lossy().into_owned());
                        }
                        break;
                    }
                }
            }
            _ if host.is_none() => host = Some(word),
            _ => {
                let line: Vec<&OsStr> = std::iter::once(word).chain(words).map(OsString::as_os_str).collect();
                return asked(&flags, host, line.join(OsStr::new(" ")), variables, address);
            }
        }
    }
    asked(&flags, host, line, variables, address)
}

fn asked(
    flags: &[u8],
    host: Option<&OsString>,
    line: OsString,
    variables: Vec<String>,
    address: Option<String>,
) -> Result<Asked, String> {
    let has = |letter: u8| flags.contains(&letter);
    if has(b'V') {
        return Ok(Asked::Text(concat!("offshoot ", env!("CARGO_PKG_VERSION"), "\n").into()));
    }
    let host = host.ok_or("no host is named")?;
    if has(b'G') {
        return Ok(Asked::Text(format!("host {}\n", host.display())));
    }
    if let Some(refused) = flags.iter().find(|flag| REFUSED.contains(flag)) {
        return Err(format!(
            "there is no -{} here: a context runs commands and makes connections",
            char::from(*refused)
        ));
    }
    if let Some(address) = address {
        return Ok(Asked::Connect(address));
    }
    if has(b'N') {
        return Ok(Asked::Hold);
    }
    // As with ssh, the last one of -t and -T holds, and -t twice forces it.
    let terminal = match flags.iter().rev().take_while(|flag| **flag != b'T').filter(|flag| **flag == b't').count() {
        _ if has(b's') => Terminal::None,
        0 => Terminal::None,
        1 => Terminal::AsHere,
        _ => Terminal::Always,
    };
    Ok(Asked::Run { remote: Remote::new(line, has(b's'))?, has_stdin: !has(b'n'), variables, terminal })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Result<Asked, String> {
        parse(&line.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn what_programs_write_is_understood() {
        for (line, wanted) in [
            ("-l amy web1 rsync --server -vlogDtpre.iLsfxCIvu . /d", "rsync --server -vlogDtpre.iLsfxCIvu . /d"),
            ("-x -oForwardAgent=no -oRequestTTY=no -l amy -s -- web1 sftp", "sftp"),
            ("web1 -p22 -lamy -qTn ls -l -- -p", "ls -l -- -p"),
            ("-tt -o ControlMaster=auto amy@web1 a", "a"),
            ("-o RemoteCommand=b web1", "b"),
            ("-oRemoteCommand=none web1", ""),
        ] {
            let Ok(Asked::Run { remote, has_stdin, .. }) = of(line) else { panic!("{line}") };
            assert_eq!(remote.line(), wanted, "{line}");
            assert_eq!(has_stdin, !line.contains("-qTn"), "{line}");
        }
        for (line, wanted) in [
            ("web1 x", Terminal::None),
            ("-t web1 x", Terminal::AsHere),
            ("-tt web1 x", Terminal::Always),
            ("-tt -T web1 x", Terminal::None),
            ("-T -t web1 x", Terminal::AsHere),
            ("-tt -s web1 sftp", Terminal::None),
        ] {
            assert!(matches!(of(line), Ok(Asked::Run { terminal, .. }) if terminal == wanted), "{line}");
        }
        assert!(matches!(of("-W db:5432 web1"), Ok(Asked::Connect(address)) if address == "db:5432"));
        assert!(matches!(of("-qN web1"), Ok(Asked::Hold)));
        let Ok(Asked::Run { variables, .. }) = of("-o SendEnv=GIT_PROTOCOL web1 x") else { panic!() };
        assert_eq!(variables, ["GIT_PROTOCOL"]);
        assert!(matches!(of("-G web1"), Ok(Asked::Text(text)) if text == "host web1\n"));
        assert!(matches!(of("-V"), Ok(Asked::Text(text)) if text.starts_with("offshoot ")));
    }

    #[test]
    fn what_is_no_command_is_refused_with_a_reason() {
        for (line, says) in [
            ("-l", "the option -l needs a value"),
            ("-x", "no host is named"),
            ("-L 1:a:1 web1 x", "no -L here"),
            ("-s web1 netconf", "there is sftp"),
        ] {
            assert!(of(line).is_err_and(|why| why.contains(says)), "{line}");
        }
    }
}
