//! `doas`: a child of another user on the same machine, as the rules of doas allow.

use crate::connect::bootstrap::Diagnosis;
use crate::connect::methods::account::Facts;
use crate::wire::error::{ConnectCause, ConnectErrorKind};

pub(super) const FACTS: Facts = Facts {
    tool: "doas",
    refusals: &["doas: authentication failed", "doas: authorization failed"],
    by_stdin: false,
    arguments: |user, remote| {
        let mut arguments = vec!["-u".into(), user.into(), "--".into()];
        arguments.extend(remote.words());
        arguments
    },
    interpret,
};

/// Returns what the last lines of doas mean.
pub(super) fn interpret(lines: &[String]) -> Option<Diagnosis> {
    let line = lines.iter().rev().find(|line| line.starts_with("doas: "))?;
    Some(if line.contains("not permitted") {
        let text = "doas policy: no rule in doas.conf permits a shell as this user (Operation not permitted)";
        Diagnosis::new(ConnectErrorKind::Auth, text, "add one")
    } else if line.contains("not installed setuid") || line.contains("not enabled") {
        let advice =
            "write a rule into /etc/doas.conf there (`permit USER as TARGET`), and see that doas is setuid root";
        Diagnosis::new(ConnectErrorKind::Start, format!("doas does not work here: {line}"), advice)
    } else if line.ends_with(": command not found") {
        let diagnosis = Diagnosis::new(ConnectErrorKind::Start, line.clone(), "see the PATH that doas sets");
        Diagnosis { cause: ConnectCause::NoShell, ..diagnosis }
    } else {
        let advice = match line.contains("unknown user") {
            true => "check the name of the user (`getent passwd` there lists them)",
            false => "see doas.conf there, and what doas says by hand",
        };
        Diagnosis::new(ConnectErrorKind::Auth, format!("doas refuses: {line}"), advice)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Printed by opendoas 6.8.
    #[test]
    fn recorded_output_of_doas_is_understood() {
        let auth = ConnectErrorKind::Auth;
        for (said, kind, part, what_to_do) in [
            ("doas: Operation not permitted", auth, "no rule in doas.conf", "add one"),
            ("doas: Authentication required", auth, "refuses: doas: Authentication required", "see doas.conf"),
            ("doas: unknown user", auth, "unknown user", "check the name"),
            (
                "doas: doas is not enabled, /etc/doas.conf: No such file or directory",
                ConnectErrorKind::Start,
                "does not work here",
                "write a rule into /etc/doas.conf",
            ),
            ("doas: /nope: command not found", ConnectErrorKind::Start, "/nope: command not found", "PATH"),
        ] {
            let diagnosis = interpret(&[said.to_owned()]).unwrap();
            assert_eq!(diagnosis.kind, kind, "{said}");
            assert!(diagnosis.text.contains(part) && diagnosis.advice.contains(what_to_do), "{diagnosis:?}");
        }
    }
}
