//! What can stand at the cursor, by the definitions of the commands and options.

use clap::{Arg, Command};

use crate::cli::allowed;
use crate::cli::hosts::path::Method;

/// A candidate, and what it is.
pub(super) type Candidate = (String, String);

/// Most candidates. More would not help anybody to choose.
const MAX: usize = 1_000;

/// Where names come from that are not part of the tool.
pub(super) trait Names {
    /// Known hosts.
    fn hosts(&mut self) -> Vec<String>;
    /// Groups of hosts, without `@`.
    fn groups(&mut self) -> Vec<String>;
    /// Functions that `call` can call.
    fn functions(&mut self) -> Vec<String>;
    /// Commands of the configuration, each with its line.
    fn commands(&mut self) -> Vec<Candidate>;
    /// Topics of `offshoot help`, each with its title.
    fn topics(&mut self) -> Vec<Candidate>;
}

/// What can stand in place of the last word. No candidates: a file, or anything.
pub(super) fn candidates(tool: &Command, words: &[String], names: &mut dyn Names) -> Vec<Candidate> {
    let Some((typed, before)) = words.split_last() else { return Vec::new() };
    let mut at = Position::new(tool);
    for word in before {
        at.pass(word);
    }
    let mut all = at.candidates(typed, names);
    all.retain(|(candidate, _)| candidate.starts_with(typed.as_str()));
    all.truncate(MAX);
    all
}

/// Where in a command line the cursor is.
struct Position<'a> {
    command: &'a Command,
    /// The option whose value comes next.
    option: Option<&'a Arg>,
    /// How many words that are no options the command has.
    words: usize,
    /// `--` has come.
    only_words: bool,
    /// The command for the hosts has begun.
    is_theirs: bool,
}

impl<'a> Position<'a> {
    fn new(command: &'a Command) -> Self {
        Self { command, option: None, words: 0, only_words: false, is_theirs: false }
    }

    /// Goes on behind a word.
    fn pass(&mut self, word: &str) {
        if self.option.take().is_some() || self.is_theirs {
            return;
        }
        if !self.only_words {
            if word == "--" {
                self.only_words = true;
                self.is_theirs = self.positional().is_some_and(Arg::is_trailing_var_arg_set);
                return;
            }
            if let Some(long) = word.strip_prefix("--") {
                let found = self.command.get_arguments().find(|arg| arg.get_long() == Some(long));
                self.option = found.filter(|arg| takes_next(arg));
                return;
            }
            if let Some(cluster) = word.strip_prefix('-').filter(|cluster| !cluster.is_empty()) {
                self.cluster(cluster);
                return;
            }
        }
        match self.command.find_subcommand(word) {
            Some(command) => *self = Self::new(command),
            None => {
                self.is_theirs = self.positional().is_some_and(Arg::is_trailing_var_arg_set);
                self.words += 1;
            }
        }
    }

    /// Flags, and at their end an option that may have its value in the next word.
    fn cluster(&mut self, cluster: &str) {
        for (nth, letter) in cluster.char_indices() {
            let found = self.command.get_arguments().find(|arg| arg.get_short() == Some(letter));
            let Some(arg) = found.filter(|arg| takes_next(arg)) else { continue };
            let is_last = nth + letter.len_utf8() == cluster.len();
            self.option = is_last.then_some(arg);
            return;
        }
    }

    /// What the next word that is no option means.
    fn positional(&self) -> Option<&'a Arg> {
        let all: Vec<&Arg> = self.command.get_positionals().collect();
        // The last one takes all that follow, or there is no more.
        all.get(self.words).or_else(|| all.last()).copied()
    }

    fn candidates(&self, typed: &str, names: &mut dyn Names) -> Vec<Candidate> {
        if self.is_theirs {
            return Vec::new();
        }
        if let Some(option) = self.option {
            return values(option, typed, names);
        }
        if !self.only_words && typed.starts_with('-') {
            if let Some((name, value)) = typed.split_once('=') {
                let option = self.command.get_arguments().find(|arg| arg.get_long() == name.strip_prefix("--"));
                let values = option.map_or_else(Vec::new, |option| values(option, value, names));
                return values.into_iter().map(|(value, what)| (format!("{name}={value}"), what)).collect();
            }
            return options(self.command);
        }
        if self.command.has_subcommands() {
            let shown = self.command.get_subcommands().filter(|command| !command.is_hide_set());
            let mut all: Vec<Candidate> =
                shown.map(|command| (command.get_name().to_owned(), plain(command.get_about()))).collect();
            all.extend(names.commands());
            return all;
        }
        self.positional().map_or_else(Vec::new, |arg| values(arg, typed, names))
    }
}

/// Whether the value of an option can be the next word.
fn takes_next(arg: &Arg) -> bool {
    arg.get_action().takes_values() && !arg.is_require_equals_set() && !arg.is_positional()
}

fn options(command: &Command) -> Vec<Candidate> {
    let shown = command.get_arguments().filter(|arg| !arg.is_positional() && !arg.is_hide_set());
    shown.filter_map(|arg| Some((format!("--{}", arg.get_long()?), plain(arg.get_help())))).collect()
}

/// The first line of a help text.
fn plain(help: Option<&clap::builder::StyledStr>) -> String {
    let text = help.map(ToString::to_string).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

/// What the value of an option, or a word, can be.
fn values(arg: &Arg, typed: &str, names: &mut dyn Names) -> Vec<Candidate> {
    let bare = |names: Vec<String>| names.into_iter().map(|name| (name, String::new())).collect();
    match arg.get_id().as_str() {
        "hosts" | "except" | "expressions" | "host" | "via" => hosts(typed, names),
        "function" => bare(names.functions()),
        "allow" => bare(allowed::sets().map(str::to_owned).into_iter().chain(names.functions()).collect()),
        "topic" => names.topics(),
        _ => bare(arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect()),
    }
}

/// Hosts and groups in place of the last name in an expression; behind a hop, methods too.
fn hosts(typed: &str, names: &mut dyn Names) -> Vec<Candidate> {
    let begin = typed.rfind([',', '!', '&', '/']).map_or(0, |at| at + 1);
    let (kept, name) = typed.split_at(begin);
    let mut all = Vec::new();
    if name.starts_with('@') {
        all.extend(names.groups().into_iter().map(|group| (format!("@{group}"), "group".to_owned())));
        all.push(("@failed".into(), "where the last run failed".into()));
    } else {
        // A user may stand before the host.
        let user = name.rfind('@').map_or("", |at| &name[..=at]);
        all.extend(names.hosts().into_iter().map(|host| (format!("{user}{host}"), "host".to_owned())));
        if kept.ends_with('/') {
            all.extend(Method::all().map(|method| {
                let colon = if method.default_target().is_some() { "" } else { ":" };
                (format!("{method}{colon}"), "method".to_owned())
            }));
        }
    }
    all.retain(|(candidate, _)| candidate.starts_with(name));
    all.into_iter().map(|(candidate, what)| (format!("{kept}{candidate}"), what)).collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::args::Cli;

    struct Few;

    impl Names for Few {
        fn hosts(&mut self) -> Vec<String> {
            ["web1", "web2", "db1"].map(str::to_owned).to_vec()
        }

        fn groups(&mut self) -> Vec<String> {
            ["web", "all"].map(str::to_owned).to_vec()
        }

        fn functions(&mut self) -> Vec<String> {
            vec!["host_facts".into()]
        }

        fn commands(&mut self) -> Vec<Candidate> {
            vec![("up".into(), "uptime".into())]
        }

        fn topics(&mut self) -> Vec<Candidate> {
            vec![("paths".into(), "Paths".into())]
        }
    }

    fn at(words: &[&str]) -> Vec<String> {
        let mut tool = Cli::command();
        tool.build();
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        candidates(&tool, &words, &mut Few).into_iter().map(|(candidate, _)| candidate).collect()
    }

    #[test]
    fn what_may_be_allowed_is_offered() {
        assert_eq!(at(&["run", "--allow", "c"]), ["commands", "children"]);
        assert_eq!(at(&["sudoers", "--allow", "h"]), ["host_facts"]);
    }

    #[test]
    fn commands_and_options_are_completed() {
        assert_eq!(at(&["ru"]), ["run"]);
        assert_eq!(at(&["u"]), ["up"]);
        assert_eq!(at(&["run", "--fano"]), ["--fanout"]);
        assert_eq!(at(&["--color", "al"]), ["always"]);
        assert_eq!(at(&["run", "--color=n"]), ["--color=never"]);
        assert_eq!(at(&["run", "--become-method", ""]), ["sudo", "su", "doas"]);
        assert_eq!(at(&["completions", ""]), ["bash", "zsh", "fish"]);
        assert_eq!(at(&["help", "pa"]), ["paths"]);
        assert_eq!(at(&["call", "host"]), ["host_facts"]);
        assert!(!at(&[""]).contains(&"__complete".to_owned()));
    }

    #[test]
    fn hosts_and_groups_are_completed_inside_an_expression() {
        assert_eq!(at(&["run", "-w", "w"]), ["web1", "web2"]);
        assert_eq!(at(&["run", "-vKw", "db1,w"]), ["db1,web1", "db1,web2"]);
        assert_eq!(at(&["hosts", "@w"]), ["@web"]);
        assert_eq!(at(&["run", "-w", "@all!d"]), ["@all!db1"]);
        assert_eq!(at(&["doctor", "amy@web2/sud"]), ["amy@web2/sudo"]);
        assert_eq!(at(&["run", "-x", "amy@d"]), ["amy@db1"]);
        assert_eq!(at(&["run", "--via", "db"]), ["db1"]);
        assert_eq!(at(&["hosts", "web1/docker"]), ["web1/docker:"]);
    }

    #[test]
    fn the_command_for_the_hosts_is_not_ours() {
        for words in
            [&["run", "-w", "a", "ls", "--col"][..], &["run", "-w", "a", "--", ""], &["run", "-w", "a", "-s", ""]]
        {
            assert_eq!(at(words), [""; 0], "{words:?}");
        }
    }
}
