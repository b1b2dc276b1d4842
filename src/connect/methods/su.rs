//! `su`: another user on the same machine, by that user's password.
//!
//! It runs the user's login shell. Some kinds of su ask on the terminal,
//! others on stderr or stdout and read the answer from stdin.

use serde::{Deserialize, Serialize};

use crate::connect::methods::account::{Account, ToAccount};
use crate::connect::methods::remote_command::{RemoteCommand, check_user};
use crate::connect::methods::{AnyMethod, Connect, Plan, Variant};
use crate::wire::error::StreamErrorKind;

/// How to become another user by su; see
/// [`Router::su`](crate::Router::su).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Su(Account);

impl From<Su> for AnyMethod {
    fn from(su: Su) -> Self {
        Self(Variant::Su(su))
    }
}

impl ToAccount for Su {
    fn account(&mut self) -> &mut Account {
        &mut self.0
    }
}

impl Connect<Su> {
    /// The program to run. Default: `su`.
    pub fn su_path(mut self, path: impl Into<String>) -> Self {
        self.method.0.path = Some(path.into());
        self
    }
}

const INCORRECT: [&str; 4] =
    ["su: sorry", "su: authentication failure", "su: incorrect password", "authentication is denied"];

impl Su {
    pub(super) fn name(&self) -> String {
        format!("su.{}", self.0.user())
    }

    pub(super) fn is_direct(&self) -> bool {
        self.0.is_direct()
    }

    pub(super) fn plan(&self, errand: &RemoteCommand) -> Result<Plan, String> {
        let argv = self.argv(errand)?;
        let mut prompts = self.0.prompts("su", &INCORRECT);
        prompts.by_stdin = true;
        Ok(Plan::on_terminal(argv, prompts, interpret))
    }

    fn argv(&self, errand: &RemoteCommand) -> Result<Vec<String>, String> {
        check_user("su", self.0.user())?;
        let su = self.0.tool("su");
        Ok(vec![su, self.0.user().into(), "-c".into(), errand.line()])
    }
}

/// What the last lines of su mean.
fn interpret(lines: &[String]) -> Option<(StreamErrorKind, String)> {
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
    Some((StreamErrorKind::Auth, format!("su refuses: {}", line.trim_end_matches('.'))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::methods::remote_command::for_tests;

    #[test]
    fn the_command_is_one_line_for_the_login_shell() {
        assert_eq!(Su::default().argv(&for_tests()).unwrap(), ["su", "root", "-c", "B x"]);
        let other = Su(Account::of("bob", "/opt/su"));
        assert_eq!(other.argv(&for_tests()).unwrap(), ["/opt/su", "bob", "-c", "B x"]);
        assert_eq!(other.name(), "su.bob");
        assert!(Su(Account::of("-c", "su")).argv(&for_tests()).is_err());
    }

    #[test]
    fn recorded_output_of_su_is_understood() {
        let said = "su: user bob does not exist or the user entry does not contain all the required fields";
        assert_eq!(interpret(&[said.to_owned()]).unwrap().0, StreamErrorKind::Auth);
        assert_eq!(interpret(&["hello".to_owned()]), None);
    }
}
