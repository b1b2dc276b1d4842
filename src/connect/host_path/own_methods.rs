//! The methods of the user's own, which the tool's configuration names. There is one configuration in a process, and
//! paths are read without it, so they are kept for the whole process.

use std::sync::OnceLock;

use crate::api::router::Router;
use crate::connect::methods::{AnyMethod, Connect, Passes, TARGET};
use crate::wire::codec::Secret;
use crate::wire::error::ConnectErrorKind;

/// Most methods of the user's own.
pub(crate) const MAX: usize = 100;

static ALL: OnceLock<Vec<OwnMethod>> = OnceLock::new();

/// A method of the user's own; see [`Router::launcher`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OwnMethod {
    pub(crate) name: String,
    pub(crate) argv: Vec<String>,
    /// What takes the place of `{user}`.
    pub(crate) user: Option<Vec<String>>,
    pub(crate) passes: Passes,
    /// Parts of questions, and what answers them.
    pub(crate) prompts: Vec<(String, Asks)>,
    /// Parts of messages, what kind of failure they report, and what to do.
    pub(crate) texts: Vec<(String, ConnectErrorKind, String)>,
}

/// What a question asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asks {
    /// The password for ssh.
    Login,
    /// The password for sudo, su and doas.
    Become,
    /// This text.
    Answer(String),
}

/// The methods.
pub(crate) fn all() -> &'static [OwnMethod] {
    ALL.get().map_or(&[], Vec::as_slice)
}

/// Sets the methods. Those that were set before stay.
pub(crate) fn set(methods: Vec<OwnMethod>) {
    // The tool reads one configuration.
    let _ = ALL.set(methods);
}

impl OwnMethod {
    /// Whether a hop has to name a target.
    pub(super) fn needs_target(&self) -> bool {
        self.argv.iter().any(|word| word.contains(TARGET))
    }

    /// Whether a hop may name a user.
    pub(super) fn takes_user(&self) -> bool {
        self.argv.iter().any(|word| word.contains("{user"))
    }

    /// The connect for a hop. `secret` has the passwords.
    pub(crate) fn connect(
        &self,
        router: &Router,
        target: &str,
        user: Option<&String>,
        secret: impl Fn(&Asks) -> Option<Secret>,
    ) -> Connect<AnyMethod> {
        let mut connect = router.launcher(self.argv.iter().cloned()).called(self.name.as_str()).target(target);
        connect = connect.passes(self.passes);
        if let Some(user) = user {
            connect = connect.username(user);
        }
        if let Some(words) = &self.user {
            connect = connect.user_args(words.iter().cloned());
        }
        for (words, asks) in &self.prompts {
            let answer = match asks {
                Asks::Answer(text) => Some(Secret::from(text.as_str())),
                asks => secret(asks),
            };
            connect = connect.prompt(words, answer);
        }
        for (words, kind, advice) in &self.texts {
            connect = connect.text(words, *kind, advice);
        }
        connect.boxed()
    }
}
