//! `su`: another user on the same machine, by that user's password.
//!
//! It runs the user's login shell. Some kinds of su ask on the terminal,
//! others on stderr or stdout and read the answer from stdin.

use serde::{Deserialize, Serialize};

use super::errand::{Errand, check_user};
use super::{Connect, Method, Plan};
use crate::error::StreamErrorKind;
use crate::payload::Secret;

/// How to become another user by su; see [`Router::su`](crate::Router::su).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Su {
    /// User to become. Default: root.
    pub username: Option<String>,
    /// The password of that user. Default: none.
    pub password: Option<Secret>,
    /// Default: `su`.
    pub su_path: Option<String>,
    /// What the question for the password contains, in any case. Default:
    /// `password:`.
    pub password_prompt: Option<String>,
    /// What it says when the password is wrong. Default: what the kinds of su
    /// say in English.
    pub incorrect_prompts: Option<Vec<String>>,
    /// Not to run the parent's own image as root, but to send one.
    pub indirect: bool,
}

impl From<Su> for Method {
    fn from(su: Su) -> Self {
        Self::Su(su)
    }
}

impl Connect<Su> {
    /// User to become. Default: `root`.
    pub fn username(mut self, user: impl Into<String>) -> Self {
        self.method.username = Some(user.into());
        self
    }

    /// The password of that user. It goes to the machine that runs su, over
    /// links alone. Default: none.
    pub fn password(mut self, password: impl Into<Secret>) -> Self {
        self.method.password = Some(password.into());
        self
    }

    /// The program to run. Default: `su`.
    pub fn su_path(mut self, path: impl Into<String>) -> Self {
        self.method.su_path = Some(path.into());
        self
    }

    /// What the question for the password contains, in upper or lower case.
    /// Default: `password:`.
    pub fn password_prompt(mut self, words: impl Into<String>) -> Self {
        self.method.password_prompt = Some(words.into());
        self
    }

    /// What a line contains that says that the password is wrong, in upper or
    /// lower case. Default: `su: sorry`, `su: authentication failure`,
    /// `su: incorrect password`, `authentication is denied`.
    pub fn incorrect_prompts<S: Into<String>>(mut self, lines: impl IntoIterator<Item = S>) -> Self {
        self.method.incorrect_prompts = Some(lines.into_iter().map(Into::into).collect());
        self
    }

    /// Whether root's child may be made from the parent's own image, without
    /// an upload. Default: true.
    pub fn su_direct(mut self, on: bool) -> Self {
        self.method.indirect = !on;
        self
    }
}

const INCORRECT: [&str; 4] =
    ["su: sorry", "su: authentication failure", "su: incorrect password", "authentication is denied"];

impl Su {
    pub(super) fn name(&self) -> String {
        format!("su.{}", self.user())
    }

    pub(super) fn is_direct(&self) -> bool {
        !self.indirect && super::is_root(self.user())
    }

    fn user(&self) -> &str {
        self.username.as_deref().unwrap_or("root")
    }

    pub(super) fn plan(&self, errand: &Errand) -> Result<Plan, String> {
        let argv = self.argv(errand)?;
        let mut prompts = super::by_words(
            super::ByWords { tool: "su", user: self.user(), password: &self.password },
            self.password_prompt.as_deref(),
            self.incorrect_prompts.as_deref(),
            &INCORRECT,
        );
        prompts.by_stdin = true;
        Ok(Plan::on_terminal(argv, prompts, interpret))
    }

    fn argv(&self, errand: &Errand) -> Result<Vec<String>, String> {
        check_user("su", self.user())?;
        let su = self.su_path.clone().unwrap_or_else(|| "su".into());
        Ok(vec![su, self.user().into(), "-c".into(), errand.line()])
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
    use super::super::errand::for_tests;
    use super::*;

    #[test]
    fn the_command_is_one_line_for_the_login_shell() {
        assert_eq!(Su::default().argv(&for_tests()).unwrap(), ["su", "root", "-c", "B x"]);
        let other = Su { username: Some("bob".into()), su_path: Some("/opt/su".into()), ..Su::default() };
        assert_eq!(other.argv(&for_tests()).unwrap(), ["/opt/su", "bob", "-c", "B x"]);
        assert_eq!(other.name(), "su.bob");
        assert!(Su { username: Some("-c".into()), ..Su::default() }.argv(&for_tests()).is_err());
    }

    #[test]
    fn recorded_output_of_su_is_understood() {
        let said = "su: user bob does not exist or the user entry does not contain all the required fields";
        assert_eq!(interpret(&[said.to_owned()]).unwrap().0, StreamErrorKind::Auth);
        assert_eq!(interpret(&["hello".to_owned()]), None);
    }
}
