//! `offshoot completions`: scripts for shells. A script asks `offshoot __complete` for what can follow, so that it
//! also knows hosts and groups.
//!
//! - `line`: the words of a line that is being typed
//! - `candidates`: what can follow; `names`: the names of hosts, groups and functions

mod candidates;
mod line;
mod names;

use clap::CommandFactory;

use crate::cli::args::Cli;
use crate::cli::args::about::{CompleteArgs, CompletionsArgs, Shell};
use crate::cli::completions::candidates::candidates;
use crate::cli::completions::line::words_of;
use crate::cli::completions::names::OfConfig;
use crate::cli::exit::Exit;
use crate::cli::print;

const BASH: &str = include_str!("completions/offshoot.bash");
const ZSH: &str = include_str!("completions/offshoot.zsh");
const FISH: &str = include_str!("completions/offshoot.fish");

/// Prints the script for a shell.
pub(crate) fn completions(args: &CompletionsArgs) -> Exit {
    let script = match args.shell {
        Shell::Bash => BASH,
        Shell::Zsh => ZSH,
        Shell::Fish => FISH,
    };
    print(script.as_bytes())
}

/// Prints what can stand at the cursor, one candidate a line. For `words`, a tab and a description follow.
pub(crate) fn complete(args: &CompleteArgs) -> Exit {
    let given: Vec<String> = args.words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let (words, replaced) = match given.split_first() {
        Some((kind, [line, replaced])) if kind == "bash" => (words_of(line), Some(replaced.as_str())),
        Some((kind, words)) if kind == "words" => (words.to_vec(), None),
        _ => (Vec::new(), None),
    };
    let mut tool = Cli::command();
    tool.build();
    let typed = words.last().cloned().unwrap_or_default();
    let mut text = String::new();
    for (candidate, description) in candidates(&tool, &words, &mut OfConfig::new(&words)) {
        // Each line is a candidate.
        if [&candidate, &description].iter().any(|text| text.contains(char::is_control)) {
            continue;
        }
        match replaced {
            Some(replaced) if !is_plain(candidate.strip_prefix(&typed).unwrap_or(&candidate), replaced) => continue,
            Some(replaced) => text.push_str(rest_of(&candidate, &typed, replaced)),
            None => {
                text.push_str(&candidate);
                text.push('\t');
                text.push_str(&description);
            }
        }
        text.push('\n');
    }
    print(text.as_bytes())
}

/// Whether bash takes a text as it is behind what was typed. It puts it into the line without quotes of its own, and names
/// come from files that others have written.
fn is_plain(added: &str, replaced: &str) -> bool {
    let acts = match replaced.chars().next() {
        Some('\'') => "'",
        Some('"') => "\"\\$`!",
        _ => return added.chars().all(|c| c.is_alphanumeric() || "._-+@%=:,/[]".contains(c)),
    };
    !added.contains(|c| acts.contains(c))
}

/// The part of a candidate that bash puts in place of `replaced`. bash divides words at `:`, `=` and `@`, too, so
/// it replaces only the end of what was typed.
fn rest_of<'a>(candidate: &'a str, typed: &str, replaced: &str) -> &'a str {
    let replaced = replaced.trim_start_matches(['\'', '"']);
    // Of a separator that ends the word, bash says that it is the word.
    let replaced = if matches!(replaced, ":" | "=") { "" } else { replaced };
    let kept = typed.strip_suffix(replaced).unwrap_or_default();
    candidate.strip_prefix(kept).unwrap_or(candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bash_gets_what_it_replaces() {
        assert_eq!(rest_of("web1", "we", "we"), "web1");
        assert_eq!(rest_of("web1", "", ""), "web1");
        assert_eq!(rest_of("deploy@web1", "deploy@we", "we"), "web1");
        assert_eq!(rest_of("--color=auto", "--color=", "="), "auto");
        assert_eq!(rest_of("@web,@db", "@web,@d", "'@web,@d"), "@web,@db");
        assert_eq!(rest_of("a,docker:", "a,do", "a,do"), "a,docker:");
    }

    #[test]
    fn bash_gets_nothing_on_which_it_would_act() {
        for name in ["@web-1.b", "amy@[::1]", "a/docker:b", "sité", "--color=auto"] {
            assert!(is_plain(name, ""), "{name}");
        }
        for name in
            ["@$(touch x)", "`x`", "a;b", "a b", "a&b", "a|b", ">x", "~root", "a'b", "a\\b", "a*", "{a,b}", "a!b", "#a"]
        {
            assert!(!is_plain(name, ""), "{name}");
        }
        assert!(is_plain("$(touch x)", "'@") && !is_plain("'$(touch x)", "'@"));
        assert!(is_plain("a b;c", "\"@") && !is_plain("$(touch x)", "\"@") && !is_plain("\"b", "\"@"));
    }
}
