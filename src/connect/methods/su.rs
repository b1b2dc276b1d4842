//! `su`: a child of another user on the same machine, by that user's password.
//!
//! It runs the user's login shell. Some kinds of su ask on the terminal. Others ask on stderr or stdout and
//! read the answer from stdin.

use crate::connect::bootstrap::Diagnosis;
use crate::connect::methods::account::Facts;
use crate::wire::error::ConnectErrorKind;

pub(super) const FACTS: Facts = Facts {
    tool: "su",
    refusals: &["su: sorry", "su: authentication failure", "su: incorrect password", "authentication is denied"],
    by_stdin: true,
    arguments: |user, remote| vec![user.into(), "-c".into(), remote.line()],
    interpret,
};

/// Returns what the last lines of su mean.
fn interpret(lines: &[String]) -> Option<Diagnosis> {
    let signs = [
        "does not exist",
        "unknown user",
        "No passwd entry",
        "This account is currently not available",
        "must be run from a terminal",
        "Permission denied",
        "must be suid",
        "Authentication failure",
    ];
    let line = signs.iter().find_map(|sign| lines.iter().rev().find(|line| line.contains(sign)))?;
    Some(Diagnosis::plain(ConnectErrorKind::Auth, format!("su refuses: {}", line.trim_end_matches('.'))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_output_of_su_is_understood() {
        let said = "su: user bob does not exist or the user entry does not contain all the required fields";
        assert_eq!(interpret(&[said.to_owned()]).unwrap().kind, ConnectErrorKind::Auth);
        assert_eq!(interpret(&["hello".to_owned()]), None);
    }
}
