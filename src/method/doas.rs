//! `doas`: another user on the same machine, as its rules allow.

use serde::{Deserialize, Serialize};

use super::errand::{Errand, check_user};
use super::{Connect, Method, Plan};
use crate::error::StreamErrorKind;
use crate::payload::Secret;

/// How to become another user by doas; see
/// [`Router::doas`](crate::Router::doas).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Doas {
    /// User to become. Default: root.
    pub username: Option<String>,
    /// The caller's own password. Default: none.
    pub password: Option<Secret>,
    /// Default: `doas`.
    pub doas_path: Option<String>,
    /// What the question for the password contains, in any case. Default:
    /// `password:`.
    pub password_prompt: Option<String>,
    /// What it says when the password is wrong. Default: what doas says.
    pub incorrect_prompts: Option<Vec<String>>,
    /// Not to run the parent's own image as root, but to send one.
    pub indirect: bool,
}

impl From<Doas> for Method {
    fn from(doas: Doas) -> Self {
        Self::Doas(doas)
    }
}

impl Connect<Doas> {
    /// User to become. Default: `root`.
    pub fn username(mut self, user: impl Into<String>) -> Self {
        self.method.username = Some(user.into());
        self
    }

    /// The caller's own password. It goes to the machine that runs doas, over
    /// links alone. Default: none.
    pub fn password(mut self, password: impl Into<Secret>) -> Self {
        self.method.password = Some(password.into());
        self
    }

    /// The program to run. Default: `doas`.
    pub fn doas_path(mut self, path: impl Into<String>) -> Self {
        self.method.doas_path = Some(path.into());
        self
    }

    /// What the question for the password contains, in upper or lower case.
    /// Default: `password:`.
    pub fn password_prompt(mut self, words: impl Into<String>) -> Self {
        self.method.password_prompt = Some(words.into());
        self
    }

    /// What a line contains that says that the password is wrong, in upper or
    /// lower case. Default: `doas: authentication failed` and
    /// `doas: authorization failed`.
    pub fn incorrect_prompts<S: Into<String>>(mut self, lines: impl IntoIterator<Item = S>) -> Self {
        self.method.incorrect_prompts = Some(lines.into_iter().map(Into::into).collect());
        self
    }

    /// Whether root's child may be made from the parent's own image, without
    /// an upload. Default: true.
    pub fn doas_direct(mut self, on: bool) -> Self {
        self.method.indirect = !on;
        self
    }
}

const INCORRECT: [&str; 2] = ["doas: authentication failed", "doas: authorization failed"];

impl Doas {
    pub(super) fn name(&self) -> String {
        format!("doas.{}", self.user())
    }

    pub(super) fn is_direct(&self) -> bool {
        !self.indirect && super::is_root(self.user())
    }

    fn user(&self) -> &str {
        self.username.as_deref().unwrap_or("root")
    }

    pub(super) fn plan(&self, errand: &Errand) -> Result<Plan, String> {
        let argv = self.argv(errand)?;
        let prompts = super::by_words(
            super::ByWords { tool: "doas", user: self.user(), password: &self.password },
            self.password_prompt.as_deref(),
            self.incorrect_prompts.as_deref(),
            &INCORRECT,
        );
        Ok(Plan::on_terminal(argv, prompts, interpret))
    }

    fn argv(&self, errand: &Errand) -> Result<Vec<String>, String> {
        check_user("doas", self.user())?;
        let doas = self.doas_path.clone().unwrap_or_else(|| "doas".into());
        let mut argv = vec![doas, "-u".into(), self.user().into(), "--".into()];
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
    use super::super::errand::for_tests;
    use super::*;

    #[test]
    fn the_command_line_names_the_user_and_ends_its_options() {
        assert_eq!(Doas::default().argv(&for_tests()).unwrap().join(" "), "doas -u root -- B x");
        let other = Doas { username: Some("bob".into()), doas_path: Some("/opt/doas".into()), ..Doas::default() };
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
