//! Accounts: other users of the same machine, and what su and doas ask before
//! one becomes them.

use serde::{Deserialize, Serialize};

use crate::connect::bootstrap::{Answer, Ask, Prompts, Sign};
use crate::connect::methods::Connect;
use crate::wire::codec::Secret;

/// Whom to become, and how a tool that asks in words of its own is answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    username: Option<String>,
    password: Option<Secret>,
    /// The tool, if it is not to be found by its name.
    pub(super) path: Option<String>,
    password_prompt: Option<String>,
    incorrect_prompts: Option<Vec<String>>,
    /// Not to run the parent's own image as root, but to send one.
    pub(super) indirect: bool,
}

/// The methods that have one.
pub trait ToAccount {
    #[doc(hidden)]
    fn account(&mut self) -> &mut Account;
}

impl<M: ToAccount> Connect<M> {
    /// User to become. Default: `root`.
    pub fn username(mut self, user: impl Into<String>) -> Self {
        self.method.account().username = Some(user.into());
        self
    }

    /// What su or doas asks for: su for the password of that user, doas for
    /// the caller's own. It goes to the machine that runs the tool, over links
    /// alone. Default: none.
    pub fn password(mut self, password: impl Into<Secret>) -> Self {
        self.method.account().password = Some(password.into());
        self
    }

    /// What the question for the password contains, in upper or lower case.
    /// Default: `password:`.
    pub fn password_prompt(mut self, words: impl Into<String>) -> Self {
        self.method.account().password_prompt = Some(words.into());
        self
    }

    /// What a line contains that says that the password is wrong, in upper or
    /// lower case. Default, for su: `su: sorry`, `su: authentication failure`,
    /// `su: incorrect password`, `authentication is denied`; for doas:
    /// `doas: authentication failed`, `doas: authorization failed`.
    pub fn incorrect_prompts<S: Into<String>>(mut self, lines: impl IntoIterator<Item = S>) -> Self {
        self.method.account().incorrect_prompts = Some(lines.into_iter().map(Into::into).collect());
        self
    }

    /// Whether root's child may be made from the parent's own image, without
    /// an upload. Default: true.
    pub fn direct(mut self, on: bool) -> Self {
        self.method.account().indirect = !on;
        self
    }
}

impl Account {
    pub(super) fn user(&self) -> &str {
        self.username.as_deref().unwrap_or("root")
    }

    pub(super) fn is_direct(&self) -> bool {
        !self.indirect && is_root(self.user())
    }

    /// The program to run.
    pub(super) fn tool(&self, name: &str) -> String {
        self.path.clone().unwrap_or_else(|| name.to_owned())
    }

    /// What it may ask, and `refusals`, in lower case, by which it says that
    /// the password is wrong.
    pub(super) fn prompts(&self, tool: &str, refusals: &[&str]) -> Prompts {
        let password = Answer::Secret {
            secret: self.password.clone(),
            missing: password_text(tool, "is required", self.user()),
            wrong: password_text(tool, "is incorrect", self.user()),
            reusable: false,
        };
        let refusals = match &self.incorrect_prompts {
            Some(lines) => lines.iter().map(|line| line.to_lowercase()).collect(),
            None => refusals.iter().map(|line| (*line).to_owned()).collect(),
        };
        let prompt = self.password_prompt.as_deref().unwrap_or("password:");
        Prompts::new(vec![Ask::new(Sign::Within(prompt.to_lowercase()), password)], refusals)
    }
}

pub(super) fn is_root(user: &str) -> bool {
    matches!(user, "root" | "#0" | "0")
}

/// `sudo password is required`, and for whom and where.
pub(super) fn password_text(tool: &str, what: &str, user: &str) -> String {
    let (me, host) = crate::connect::handshake::whoami();
    let remedy = if what == "is required" { "; give one" } else { "" };
    format!("{tool} password {what}, for {me} to become {user} on {host}{remedy}")
}

#[cfg(test)]
impl Account {
    pub(super) fn of(username: &str, path: &str) -> Self {
        Self { username: Some(username.into()), path: Some(path.into()), ..Self::default() }
    }
}
