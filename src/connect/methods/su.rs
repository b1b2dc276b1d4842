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
pub(super) fn interpret(lines: &[String]) -> Option<Diagnosis> {
    let signs = [
        ("does not exist", CHECK_NAME),
        ("unknown user", CHECK_NAME),
        ("No passwd entry", CHECK_NAME),
        (
            "This account is currently not available",
            "give it a login shell there (chsh), or use sudo, which needs none",
        ),
        ("must be run from a terminal", "see what su says by hand there"),
        ("Permission denied", MAY_NOT),
        ("must be suid", MAY_NOT),
        ("Authentication failure", MAY_NOT),
    ];
    let (line, advice) = signs
        .iter()
        .find_map(|(sign, advice)| Some((lines.iter().rev().find(|line| line.contains(sign))?, *advice)))?;
    Some(Diagnosis::new(ConnectErrorKind::Auth, format!("su refuses: {}", line.trim_end_matches('.')), advice))
}

/// Advice about a user who is not known.
const CHECK_NAME: &str = "check the name of the user (`getent passwd` there lists them)";
/// Advice about a su that may not do it.
const MAY_NOT: &str = "see who may use su there (pam_wheel in /etc/pam.d/su), and that su is setuid root";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_output_of_su_is_understood() {
        let said = "su: user bob does not exist or the user entry does not contain all the required fields";
        let diagnosis = interpret(&[said.to_owned()]).unwrap();
        assert_eq!((diagnosis.kind, &diagnosis.advice[..]), (ConnectErrorKind::Auth, CHECK_NAME));
        assert_eq!(interpret(&["hello".to_owned()]), None);
    }
}
