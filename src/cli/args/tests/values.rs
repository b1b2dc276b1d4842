//! What is said of a wrong value of each option: which option it is, and what is accepted.

use std::collections::BTreeSet;

use clap::CommandFactory;

use super::*;

const TIME: &str = "write 30s";
const NUMBER: &str = "write a number from ";

/// An option of a command, a wrong value, and what the message says of it.
const WRONG: [(&str, &str, &str, &str); 57] = [
    ("run", "--timeout", "soon", TIME),
    ("run", "-t", "5x", TIME),
    ("run", "--env", "1A=b", "write NAME=VALUE, or NAME"),
    ("run", "--pick", "x", "write a number from 1 on"),
    ("run", "--pick", "0", "write a number from 1 on"),
    ("run", "--fanout", "x", "write a number from 1 to 10000"),
    ("run", "-f", "0", "write a number from 1 to 10000"),
    ("run", "-f", "+5", "write a number from 1 to 10000"),
    ("run", "-f", "99999999999999999999", "write a number from 1 to 10000"),
    ("run", "--connect-timeout", "never", TIME),
    ("run", "--become", "-x", "not the name of a user"),
    ("run", "--become-method", "runas", "[possible values: sudo, su, doas]"),
    ("run", "--become-pass-file", "-", "by --pass-fd or --become-pass-fd"),
    ("run", "--become-pass-fd", "x", "write a number from 0 to "),
    ("run", "--pass-file", "-", "by --pass-fd or --become-pass-fd"),
    ("run", "--pass-fd", "-1", "write a number from 0 to "),
    ("run", "--cache", "maybe", "true|false"),
    ("run", "--keep", "long", TIME),
    ("run", "--allow", "no_such", "write commands, files, sockets, children, or the name of a function"),
    ("sudoers", "--as", "-x", "not the name of a user"),
    ("run", "--port", "x", "write a number from 1 to 65535"),
    ("run", "-p", "65536", "write a number from 1 to 65535"),
    ("run", "--batch", "few", "write 3 or 10%, or a list such as 1,10%,rest"),
    ("run", "--batch", "rest,1", "no size can follow it"),
    ("run", "--max-fail", "some", "write 3 or 10%"),
    ("run", "--max-fail", "101%", "write at most 100%"),
    ("run", "--retries", "many", "write a number from 0 to 100"),
    ("run", "--retries", "101", "write a number from 0 to 100"),
    ("run", "--retry-on", "never", "[possible values: connect, all]"),
    ("run", "--deadline", "soon", TIME),
    ("run", "--ask-above", "few", "write a number of hosts, as 50, or never"),
    ("run", "--fold", "often", "[possible values: auto, always, never]"),
    ("run", "--color", "pink", "[possible values: auto, always, never]"),
    ("script", "--timeout", "x", TIME),
    ("call", "--timeout", "x", TIME),
    ("push", "--timeout", "x", TIME),
    ("push", "--batch", "few", "write 3 or 10%"),
    ("push", "--max-fail", "some", "write 3 or 10%"),
    ("push", "--retries", "many", "write a number from 0 to 100"),
    ("push", "--deadline", "x", TIME),
    ("push", "--ask-above", "few", "or never"),
    ("push", "--bwlimit", "fast", "write bytes in a second, as 65536, 500K or 10M"),
    ("pull", "--bwlimit", "0", "write bytes in a second"),
    ("hosts", "--split", "x", "write a number from 1 on"),
    ("hosts", "--split", "0", "write a number from 1 on"),
    ("doctor", "--connect-timeout", "x", TIME),
    ("doctor", "--cache", "maybe", "true|false"),
    ("shell", "--escape", "ab", "one character"),
    ("shell", "--cache", "maybe", "true|false"),
    ("shell", "--connect-timeout", "x", TIME),
    ("forward", "-L", "80", "PORT"),
    ("forward", "--port", "x", NUMBER),
    ("rsh", "-p", "x", "write a number from 1 to 65535"),
    ("rsh", "-W", "web1", "HOST:PORT"),
    ("completions", "", "tcsh", "[possible values: bash, zsh, fish]"),
    ("kept", "", "stop", "[possible values: end]"),
    ("cache", "", "list", "ls|purge"),
];

/// Options that take any text. What is wrong with it is told when it is used, or by ssh.
const ANY: [&str; 18] = [
    "shell",
    "chdir",
    "hosts",
    "except",
    "exclude",
    "inventory",
    "via",
    "binary",
    "ssh-config",
    "ssh-option",
    "jump",
    "login",
    "identity",
    "outdir",
    "output",
    "config",
    "program",
    "user",
];
const COMMANDS: [&str; 2] = ["pass-command", "become-pass-command"];

/// A command line that is well formed but for the option.
fn line(command: &str, option: &str, value: &str) -> Vec<String> {
    let mut words = vec!["offshoot".to_owned(), command.to_owned()];
    if option.is_empty() {
        words.push(value.to_owned());
    } else if option.starts_with("--") {
        words.push(format!("{option}={value}"));
    } else {
        words.extend([option.to_owned(), value.to_owned()]);
    }
    let rest: &[&str] = match command {
        "run" | "script" | "call" => &["-w", "a", "x"],
        "push" | "pull" => &["-w", "a", "x", "y"],
        "cache" => &["-w", "a"],
        "rsh" => &["a", "x"],
        "forward" => &["a", "-L", "1:b:2"],
        "completions" | "kept" => &[],
        "sudoers" => &["--allow", "x"],
        _ => &["a"],
    };
    words.extend(rest.iter().map(|word| (*word).to_owned()));
    words
}

#[test]
fn a_wrong_value_is_told_with_its_option_and_what_is_accepted() {
    for (command, option, value, says) in WRONG {
        let mut words = line(command, option, value);
        if option == "--retry-on" {
            words.splice(2..2, ["--retries".to_owned(), "1".to_owned()]);
        }
        let error = Cli::try_parse_from(&words).unwrap_err();
        assert_eq!(exit_of(error.kind()), Exit::Usage, "{words:?}: {error}");
        let text = error.to_string();
        assert!(text.contains(says), "{words:?}: {text}");
        let long = option.strip_prefix("--").unwrap_or_default();
        assert!(text.contains(value) && text.contains(long) && (long.is_empty() || text.contains("for '--")), "{text}");
    }
}

#[test]
fn every_option_with_a_value_is_tried_or_takes_any_text() {
    let mut tool = Cli::command();
    tool.build();
    let mut untried = BTreeSet::new();
    for command in tool.get_subcommands().filter(|command| !command.is_hide_set()) {
        let options = command.get_arguments().filter(|arg| arg.get_action().takes_values() && !arg.is_hide_set());
        for long in options.filter_map(clap::Arg::get_long) {
            let is_tried = WRONG.iter().any(|(_, option, ..)| option.strip_prefix("--") == Some(long));
            // -L has a long name, too.
            if !is_tried && !ANY.contains(&long) && !COMMANDS.contains(&long) && long != "listen" {
                untried.insert(format!("{} --{long}", command.get_name()));
            }
        }
    }
    assert!(untried.is_empty(), "{untried:?}");
}
