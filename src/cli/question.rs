//! The question whether to run on many hosts.

use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, IsTerminal, Write};

use crate::cli::hosts::fold::fold;
use crate::cli::hosts::path::HostPath;
use crate::cli::output::visible;

/// A run on more hosts is asked about: it is easily more than was meant, as by a wrong group.
const MANY: usize = 50;

/// Whether the run may begin. Asks if there are many hosts and a person to ask: stdin is a terminal.
pub(super) fn agreed(hosts: &[HostPath]) -> bool {
    if hosts.len() <= MANY || !io::stdin().is_terminal() {
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
    fn only_a_yes_is_a_yes() {
        assert!(is_yes("y\n") && is_yes(" yes \r\n"));
        assert!(!["", "\n", "n\n", "no", "yeah", "yy"].into_iter().any(is_yes));
    }
}
