//! Accounts: other users of the same machine, by su or doas. These tools ask for passwords in their own words.

use serde::{Deserialize, Serialize};

use crate::connect::bootstrap::{Answer, Ask, GIVE_ONE, Interpret, Prompts, Sign};
use crate::connect::methods::remote_command::{RemoteCommand, check_user};
use crate::connect::methods::{AnyMethod, Connect, Plan, Variant, doas, su};
use crate::wire::codec::Secret;

/// What differs between the tools.
pub(super) struct Facts {
    /// Name of the tool.
    pub(super) tool: &'static str,
    /// Parts of its messages about a wrong password, in lower case.
    pub(super) refusals: &'static [&'static str],
    /// Whether it may ask on stdout and read the answer from stdin.
    pub(super) by_stdin: bool,
    /// Its arguments to run a command as a user.
    pub(super) arguments: fn(&str, &RemoteCommand) -> Vec<String>,
    /// Returns what its last lines mean.
    pub(super) interpret: Interpret,
}

/// A method for each tool.
macro_rules! tools {
    ($($name:ident $path:ident $word:literal $facts:expr;)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        enum Tool {
            $($name,)*
        }

        impl Tool {
            fn facts(self) -> &'static Facts {
                match self {
                    $(Self::$name => &$facts,)*
                }
            }
        }

        $(
            #[doc = concat!("How to become another user by ", $word, "; see")]
            #[doc = concat!("[`Router::", $word, "`](crate::Router::", $word, ").")]
            #[derive(Clone, Debug, PartialEq, Eq)]
            pub struct $name(Account);

            impl Default for $name {
                fn default() -> Self {
                    Self(Account::new(Tool::$name))
                }
            }

            impl From<$name> for AnyMethod {
                fn from(method: $name) -> Self {
                    Self(Variant::Account(method.0))
                }
            }

            impl ToAccount for $name {
                fn account(&mut self) -> &mut Account {
                    &mut self.0
                }
            }

            impl Connect<$name> {
                #[doc = concat!("The program to run. Default: `", $word, "`.")]
                pub fn $path(mut self, path: impl Into<String>) -> Self {
                    self.method.0.path = Some(path.into());
                    self
                }
            }
        )*
    };
}

tools! {
    Su su_path "su" su::FACTS;
    Doas doas_path "doas" doas::FACTS;
}

/// The settings of a method: the user, and the answers for the tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[doc(hidden)]
pub struct Account {
    tool: Tool,
    username: Option<String>,
    password: Option<Secret>,
    /// Path of the tool; `None` to find it by its name.
    path: Option<String>,
    password_prompt: Option<String>,
    incorrect_prompts: Option<Vec<String>>,
    /// Whether to send an image instead of running the parent's own image as root.
    indirect: bool,
}

/// The methods that become another user by su or doas.
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

    /// The password to type: su asks for the password of that user, doas for the caller's own. It is sent over
    /// links only, to the machine that runs the tool. Default: none.
    pub fn password(mut self, password: impl Into<Secret>) -> Self {
        self.method.account().password = Some(password.into());
        self
    }

    /// Part of the question for the password. Upper and lower case do not matter. Default: `password:`.
    pub fn password_prompt(mut self, words: impl Into<String>) -> Self {
        self.method.account().password_prompt = Some(words.into());
        self
    }

    /// Parts of the lines that report a wrong password. Upper and lower case do not matter. Default, for su:
    /// `su: sorry`, `su: authentication failure`, `su: incorrect password`, `authentication is denied`; for
    /// doas: `doas: authentication failed`, `doas: authorization failed`.
    pub fn incorrect_prompts<S: Into<String>>(mut self, lines: impl IntoIterator<Item = S>) -> Self {
        self.method.account().incorrect_prompts = Some(lines.into_iter().map(Into::into).collect());
        self
    }

    /// Whether root's child may run the parent's own image, without an upload. Default: true.
    pub fn direct(mut self, on: bool) -> Self {
        self.method.account().indirect = !on;
        self
    }
}

impl Account {
    fn new(tool: Tool) -> Self {
        let (username, password, path) = (None, None, None);
        let (password_prompt, incorrect_prompts, indirect) = (None, None, false);
        Self { tool, username, password, path, password_prompt, incorrect_prompts, indirect }
    }

    fn user(&self) -> &str {
        self.username.as_deref().unwrap_or("root")
    }

    pub(super) fn name(&self) -> String {
        format!("{}.{}", self.tool.facts().tool, self.user())
    }

    pub(super) fn is_direct(&self) -> bool {
        !self.indirect && is_root(self.user())
    }

    pub(super) fn indirect(&mut self) -> &mut bool {
        &mut self.indirect
    }

    pub(super) fn plan(&self, remote: &RemoteCommand) -> Result<Plan, String> {
        Ok(Plan::on_terminal(self.argv(remote)?, self.prompts(), self.tool.facts().interpret))
    }

    pub(super) fn argv(&self, remote: &RemoteCommand) -> Result<Vec<String>, String> {
        let Facts { tool, arguments, .. } = self.tool.facts();
        check_user(tool, self.user())?;
        let mut argv = vec![self.path.clone().unwrap_or_else(|| (*tool).to_owned())];
        argv.extend(arguments(self.user(), remote));
        Ok(argv)
    }

    /// The questions of the tool, and its messages about a wrong password.
    fn prompts(&self) -> Prompts {
        let facts = self.tool.facts();
        let password = Answer::Secret {
            secret: self.password.clone(),
            missing: password_text(facts.tool, "is required", self.user()),
            give: GIVE_ONE,
            wrong: password_text(facts.tool, "is incorrect", self.user()),
            reusable: false,
        };
        let refusals = match &self.incorrect_prompts {
            Some(lines) => lines.iter().map(|line| line.to_lowercase()).collect(),
            None => facts.refusals.iter().map(|line| (*line).to_owned()).collect(),
        };
        let prompt = self.password_prompt.as_deref().unwrap_or("password:");
        let mut prompts = Prompts::new(vec![Ask::new(Sign::Within(prompt.to_lowercase()), password)], refusals);
        prompts.by_stdin = facts.by_stdin;
        prompts
    }
}

pub(super) fn is_root(user: &str) -> bool {
    matches!(user, "root" | "#0" | "0")
}

/// The error text `TOOL password WHAT`, with the user and the place.
pub(super) fn password_text(tool: &str, what: &str, user: &str) -> String {
    let (me, host) = crate::connect::handshake::whoami();
    format!("{tool} password {what}, for {me} to become {user} on {host}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::methods::remote_command::for_tests;

    fn account(tool: Tool, username: &str, path: &str) -> Account {
        Account { username: Some(username.into()), path: Some(path.into()), ..Account::new(tool) }
    }

    #[test]
    fn the_command_line_names_the_user_and_ends_the_options() {
        let argv = |account: Account| account.argv(&for_tests()).map(|argv| argv.join(" "));
        assert_eq!(Account::new(Tool::Su).argv(&for_tests()).unwrap(), ["su", "root", "-c", "B x"]);
        assert_eq!(account(Tool::Su, "bob", "/opt/su").argv(&for_tests()).unwrap(), ["/opt/su", "bob", "-c", "B x"]);
        assert_eq!(argv(Account::new(Tool::Doas)).unwrap(), "doas -u root -- B x");
        assert_eq!(argv(account(Tool::Doas, "bob", "/opt/doas")).unwrap(), "/opt/doas -u bob -- B x");
        assert!(argv(account(Tool::Su, "-c", "su")).is_err());
    }

    #[test]
    fn a_context_is_called_by_its_tool_and_its_user() {
        assert_eq!(Account::new(Tool::Su).name(), "su.root");
        assert_eq!(account(Tool::Doas, "bob", "doas").name(), "doas.bob");
    }
}
