//! `launcher`: a child by any program that runs a command somewhere, such as `nsenter` or `srun`.

use serde::{Deserialize, Serialize};

use crate::connect::bootstrap::{Answer, Ask, GIVE_ONE, Prompts, Sign};
use crate::connect::methods::remote_command::RemoteCommand;
use crate::connect::methods::{AnyMethod, Connect, Plan, Run, Variant};
use crate::wire::codec::Secret;
use crate::wire::error::ConnectErrorKind;

/// What stands for the command in the arguments.
const COMMAND: &str = "{command}";
/// What stands for the arguments that name the user, or for the user.
const USER: &str = "{user}";
/// What stands for the user and an `@`, or for nothing.
const USER_AT: &str = "{user@}";
/// What stands for the target.
pub(crate) const TARGET: &str = "{target}";

/// How a program takes the command that it has to run; see [`Router::launcher`](crate::Router::launcher).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Passes {
    /// As arguments, which it executes without a shell, as sudo does.
    #[default]
    Argv,
    /// As one text, which it passes to a shell, as ssh does.
    String,
}

/// The settings of a child by any program; see [`Router::launcher`](crate::Router::launcher).
#[derive(Clone, Debug)]
pub struct Launcher {
    argv: Vec<String>,
    user_argv: Vec<String>,
    target: String,
    username: Option<String>,
    launch: Launch,
}

/// What the context that starts the child has to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Launch {
    /// What the program is called in errors and names.
    name: String,
    target: String,
    /// The program and its arguments, with [`COMMAND`] in the place of the command.
    argv: Vec<String>,
    passes: Passes,
    /// Parts of questions, and their answers.
    prompts: Vec<(String, Option<Secret>)>,
    /// Parts of messages, what kind of failure they report, and what to do.
    texts: Vec<(String, ConnectErrorKind, String)>,
}

impl Launcher {
    pub(crate) fn new(argv: Vec<String>) -> Self {
        let name = argv.first().map_or("", |program| program.rsplit('/').next().unwrap_or_default()).to_owned();
        let (prompts, texts) = (Vec::new(), Vec::new());
        let launch = Launch { name, target: String::new(), argv: Vec::new(), passes: Passes::Argv, prompts, texts };
        Self { argv, user_argv: vec![USER.into()], target: String::new(), username: None, launch }
    }

    /// The arguments, with everything but the command filled in. If a user is needed and there is none, the
    /// place of the user stays.
    fn filled_in(&self) -> Vec<String> {
        let mut argv = Vec::new();
        for word in &self.argv {
            match (word == USER, &self.username) {
                (true, Some(_)) => argv.extend(self.user_argv.iter().map(|word| self.fill(word))),
                (true, None) => {}
                _ => argv.push(self.fill(word)),
            }
        }
        if !self.argv.iter().any(|word| word.contains(COMMAND)) {
            argv.push(COMMAND.to_owned());
        }
        argv
    }

    fn fill(&self, word: &str) -> String {
        // The target comes last: what it contains is never a place.
        let word = match &self.username {
            Some(user) => word.replace(USER_AT, &format!("{user}@")).replace(USER, user),
            None => word.replace(USER_AT, ""),
        };
        word.replace(TARGET, &self.target)
    }
}

impl From<Launcher> for AnyMethod {
    fn from(launcher: Launcher) -> Self {
        let argv = launcher.filled_in();
        let Launcher { target, launch, .. } = launcher;
        Self(Variant::Launcher(Launch { target, argv, ..launch }))
    }
}

impl Connect<Launcher> {
    /// What the method is called in names and errors. Default: the name of the program.
    pub fn called(mut self, name: impl Into<String>) -> Self {
        self.method.launch.name = name.into();
        self
    }

    /// What takes the place of `{target}`. Default: nothing.
    pub fn target(mut self, target: impl Into<String>) -> Self {
        self.method.target = target.into();
        self
    }

    /// The user, who takes the place of `{user}`, and with an `@` the place of `{user@}`. Default: none; then
    /// an argument `{user}` is left out.
    pub fn username(mut self, user: impl Into<String>) -> Self {
        self.method.username = Some(user.into());
        self
    }

    /// The arguments that take the place of the argument `{user}` if there is a user, such as
    /// `["--uid", "{user}"]`. Default: the user alone.
    pub fn user_args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.method.user_argv = args.into_iter().map(Into::into).collect();
        self
    }

    /// How the program takes the command. Default: as arguments.
    pub fn passes(mut self, how: Passes) -> Self {
        self.method.launch.passes = how;
        self
    }

    /// A question that the program asks on its terminal, and the answer. `words` are a part of the question.
    /// Upper and lower case do not matter. `None`: the connect fails when this is asked. A program without
    /// questions has no terminal.
    pub fn prompt(mut self, words: impl Into<String>, answer: Option<Secret>) -> Self {
        self.method.launch.prompts.push((words.into(), answer));
        self
    }

    /// The meaning of a message of the program that ends without a child: `words` are a part of the message,
    /// `kind` is what kind of error it is, and `advice` says what to do. Upper and lower case do not matter.
    pub fn text(mut self, words: impl Into<String>, kind: ConnectErrorKind, advice: impl Into<String>) -> Self {
        self.method.launch.texts.push((words.into(), kind, advice.into()));
        self
    }
}

impl Launch {
    pub(super) fn name(&self) -> String {
        match self.target.as_str() {
            "" => self.name.clone(),
            target => format!("{}.{target}", self.name),
        }
    }

    pub(super) fn plan(&self, remote: &RemoteCommand) -> Result<Plan, String> {
        let name = &self.name;
        if self.argv.first().is_none_or(|program| program == COMMAND) {
            return Err(format!("the method {name} has no program"));
        }
        if self.target.starts_with('-') || self.argv.iter().any(|word| word.contains('\0')) {
            return Err(format!("{name} has no target called {:?}", self.target));
        }
        let mut argv = Vec::new();
        for word in &self.argv {
            if self.passes == Passes::Argv && word == COMMAND {
                argv.extend(remote.words());
            } else if word.contains(USER) {
                return Err(format!("the method {name} needs a user"));
            } else if word.contains(COMMAND) && self.passes == Passes::Argv {
                return Err(format!("the method {name} passes arguments, so {COMMAND} stands alone"));
            } else {
                argv.push(word.replace(COMMAND, &remote.line()));
            }
        }
        let mut plan = match self.prompts.is_empty() {
            true => Plan::new(Run::Command(argv), |_| None),
            false => Plan::on_terminal(argv, self.asks(), |_| None),
        };
        plan.prompts.texts.clone_from(&self.texts);
        Ok(plan)
    }

    fn asks(&self) -> Prompts {
        let asks = self.prompts.iter().map(|(words, answer)| {
            let answer = Answer::Secret {
                secret: answer.clone(),
                missing: format!("{} asks a question that has no answer: {words}", self.name),
                give: GIVE_ONE,
                wrong: format!("{} does not take the answer to its question: {words}", self.name),
                reusable: false,
            };
            Ask::new(Sign::Within(words.to_lowercase()), answer)
        });
        Prompts::new(asks.collect(), Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::methods::remote_command::for_tests;

    fn launcher(argv: &[&str]) -> Launcher {
        let argv = argv.iter().map(|word| (*word).to_owned()).collect();
        Launcher { target: "job42".into(), ..Launcher::new(argv) }
    }

    fn argv(launcher: Launcher) -> Result<String, String> {
        let AnyMethod(Variant::Launcher(launch)) = launcher.into() else { panic!("another method") };
        match launch.plan(&for_tests())?.run {
            Run::Command(argv) => Ok(argv.join("|")),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn places_are_filled_in_and_the_command_stands_where_it_is_wanted() {
        let plain = launcher(&["srun", "--jobid={target}", "{user}", "--", "{command}", "end"]);
        assert_eq!(argv(plain.clone()).unwrap(), "srun|--jobid=job42|--|B|x|end");
        let with_user = Launcher { username: Some("amy".into()), ..plain.clone() };
        assert_eq!(argv(with_user.clone()).unwrap(), "srun|--jobid=job42|amy|--|B|x|end");
        let options = Launcher { user_argv: vec!["--uid".into(), "{user}".into()], ..with_user };
        assert_eq!(argv(options).unwrap(), "srun|--jobid=job42|--uid|amy|--|B|x|end");
        assert_eq!(argv(launcher(&["enter", "{target}"])).unwrap(), "enter|job42|B|x");
        let mut line = launcher(&["tsh", "ssh", "{user@}{target}", "exec {command}"]);
        line.launch.passes = Passes::String;
        assert_eq!(argv(line.clone()).unwrap(), "tsh|ssh|job42|exec B x");
        line.username = Some("amy".into());
        assert_eq!(argv(line).unwrap(), "tsh|ssh|amy@job42|exec B x");
        // What a target contains is no place.
        let odd = Launcher { target: "{user}".into(), ..launcher(&["x", "{target}", "{command}"]) };
        assert!(argv(odd).is_err());
    }

    #[test]
    fn what_cannot_be_started_is_refused() {
        for (launcher, says) in [
            (launcher(&[]), "has no program"),
            (launcher(&["srun", "--uid={user}"]), "needs a user"),
            (launcher(&["sh", "-c", "exec {command}"]), "stands alone"),
            (Launcher { target: "-x".into(), ..launcher(&["srun", "{target}"]) }, "no target"),
        ] {
            let error = argv(launcher).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
