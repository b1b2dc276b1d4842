//! `doas`: another user on the same machine, as its rules allow.

use serde::{Deserialize, Serialize};

use crate::connect::methods::account::{Account, ToAccount};
use crate::connect::methods::remote_command::{RemoteCommand, check_user};
use crate::connect::methods::{AnyMethod, Connect, Plan, Variant};
use crate::wire::error::StreamErrorKind;

/// How to become another user by doas; see
/// [`Router::doas`](crate::Router::doas).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doas(Account);

impl From<Doas> for AnyMethod {
    fn from(doas: Doas) -> Self {
        Self(Variant::Doas(doas))
    }
}

impl ToAccount for Doas {
    fn account(&mut self) -> &mut Account {
        &mut self.0
    }
}

impl Connect<Doas> {
    /// The program to run. Default: `doas`.
    pub fn doas_path(mut self, path: impl Into<String>) -> Self {
        self.method.0.path = Some(path.into());
        self
    }
}

const INCORRECT: [&str; 2] = ["doas: authentication failed", "doas: authorization failed"];

impl Doas {
    pub(super) fn name(&self) -> String {
        format!("doas.{}", self.0.user())
    }

    pub(super) fn is_direct(&self) -> bool {
        self.0.is_direct()
    }

    pub(super) fn plan(&self, errand: &RemoteCommand) -> Result<Plan, String> {
        let argv = self.argv(errand)?;
        let prompts = self.0.prompts("doas", &INCORRECT);
        Ok(Plan::on_terminal(argv, prompts, interpret))
    }

    fn argv(&self, errand: &RemoteCommand) -> Result<Vec<String>, String> {
        check_user("doas", self.0.user())?;
        let doas = self.0.tool("doas");
        let mut argv = vec![doas, "-u".into(), self.0.user().into(), "--".into()];
        argv.extend(errand.words());
        Ok(argv)
    }
}

/// What the last lines of doas mean.
fn interpret(lines: &[String]) -> Option<(StreamErrorKind, String)> {
    let line = lines.iter().rev().find(|line| line.starts_with("doas: "))?;
    Some(if line.contains("not permitted") {
        let text = "doas policy: no rule in doas.conf permits a shell as this user (Operation not permitted)";
        (StreamErrorKind::Auth, text.into())
    } else if line.contains("not installed setuid") || line.contains("not enabled") {
        (StreamErrorKind::Start, format!("doas does not work here: {line}"))
    } else {
        (StreamErrorKind::Auth, format!("doas refuses: {line}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::methods::remote_command::for_tests;

    #[test]
    fn the_command_line_names_the_user_and_ends_its_options() {
        assert_eq!(Doas::default().argv(&for_tests()).unwrap().join(" "), "doas -u root -- B x");
        let other = Doas(Account::of("bob", "/opt/doas"));
        assert_eq!(other.argv(&for_tests()).unwrap().join(" "), "/opt/doas -u bob -- B x");
        assert_eq!(other.name(), "doas.bob");
    }

    /// Printed by opendoas 6.8.
    #[test]
    fn recorded_output_of_doas_is_understood() {
        for (said, part) in [
            ("doas: Operation not permitted", "no rule in doas.conf"),
            ("doas: Authentication required", "refuses: doas: Authentication required"),
            ("doas: unknown user", "unknown user"),
        ] {
            let (kind, text) = interpret(&[said.to_owned()]).unwrap();
            assert_eq!(kind, StreamErrorKind::Auth);
            assert!(text.contains(part), "{text}");
        }
    }
}
