//! The question whether to run on many hosts.

use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, IsTerminal, Write};

use crate::cli::hosts::fold::fold;
use crate::cli::hosts::path::HostPath;
use crate::cli::output::visible;

/// Which runs are asked about: those on more hosts than this. They are easily more than were meant, as by a wrong group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AskAbove {
    Hosts(usize),
    Never,
}

impl Default for AskAbove {
    fn default() -> Self {
        Self::Hosts(50)
    }
}

impl AskAbove {
    /// Reads a number, or `never`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(hosts) if is_number => Ok(Self::Hosts(hosts)),
            _ if text == "never" => Ok(Self::Never),
            _ => Err("write a number of hosts, as 50, or never".into()),
        }
    }

    fn includes(self, hosts: usize) -> bool {
        match self {
            Self::Hosts(most) => hosts > most,
            Self::Never => false,
        }
    }
}

/// Whether the run may begin. Asks if there are many hosts and a person to ask: stdin is a terminal.
pub(super) fn agreed(hosts: &[HostPath], above: AskAbove) -> bool {
    if !above.includes(hosts.len()) || !io::stdin().is_terminal() {
        return true;
    }
    let names: Vec<&str> = hosts.iter().map(|host| host.text.as_str()).collect();
    ask(&format!("run on {} hosts, {}? [y/N] ", hosts.len(), visible::word(&fold(&names)))).unwrap_or(false)
}

fn ask(question: &str) -> io::Result<bool> {
    let mut tty = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
    tty.write_all(format!("offshoot: {question}").as_bytes())?;
    let mut answer = String::new();
    BufReader::new(tty).read_line(&mut answer)?;
    Ok(is_yes(&answer))
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim(), "y" | "Y" | "yes" | "Yes" | "YES")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_on_more_hosts_than_the_setting_are_asked_about() {
        assert!(!AskAbove::default().includes(50) && AskAbove::default().includes(51));
        assert!(AskAbove::parse("0").unwrap().includes(1) && !AskAbove::parse("never").unwrap().includes(99_999));
        for text in ["", "+1", "-1", "always", "1.5"] {
            assert!(AskAbove::parse(text).unwrap_err().contains("or never"), "{text}");
        }
    }

    #[test]
    fn only_a_yes_is_a_yes() {
        assert!(is_yes("y\n") && is_yes(" yes \r\n"));
        assert!(!["", "\n", "n\n", "no", "yeah", "yy"].into_iter().any(is_yes));
    }
}
