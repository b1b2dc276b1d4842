//! `doas`: a child of another user on the same machine, as the rules of doas allow.

use crate::connect::bootstrap::Diagnosis;
use crate::connect::methods::account::Facts;
use crate::wire::error::ConnectErrorKind;

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
fn interpret(lines: &[String]) -> Option<Diagnosis> {
    let line = lines.iter().rev().find(|line| line.starts_with("doas: "))?;
    Some(if line.contains("not permitted") {
        let text = "doas policy: no rule in doas.conf permits a shell as this user (Operation not permitted)";
        Diagnosis::new(ConnectErrorKind::Auth, text, "add one")
    } else if line.contains("not installed setuid") || line.contains("not enabled") {
        Diagnosis::plain(ConnectErrorKind::Start, format!("doas does not work here: {line}"))
    } else {
        Diagnosis::plain(ConnectErrorKind::Auth, format!("doas refuses: {line}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Printed by opendoas 6.8.
    #[test]
    fn recorded_output_of_doas_is_understood() {
        for (said, part) in [
            ("doas: Operation not permitted", "no rule in doas.conf"),
            ("doas: Authentication required", "refuses: doas: Authentication required"),
            ("doas: unknown user", "unknown user"),
        ] {
            let Diagnosis { kind, text, .. } = interpret(&[said.to_owned()]).unwrap();
            assert_eq!(kind, ConnectErrorKind::Auth);
            assert!(text.contains(part), "{text}");
        }
    }
}
