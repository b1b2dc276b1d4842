//! Commands that only a shell can carry out.

use std::ffi::{OsStr, OsString};

use crate::cli::output::visible::word as visible;
use crate::cli::quote;

/// Words that a shell carries out itself and that are seldom programs. A host may have programs of these names all the
/// same, so that only a word that could not be started there is looked up here.
const BUILT_IN: [&str; 24] = [
    ".", ":", "alias", "bg", "cd", "command", "declare", "eval", "exec", "exit", "export", "fg", "hash", "jobs",
    "read", "set", "shopt", "source", "type", "ulimit", "umask", "unalias", "unset", "wait",
];

/// What to do about a command that could not be started, if its first word belongs to a shell.
pub(super) fn advice(argv: &[OsString]) -> Option<String> {
    let (first, rest) = argv.split_first()?;
    let first = first.to_str()?;
    let what = match first.split_once('=') {
        Some((name, _)) if is_name(name) => "sets a variable only in a shell; write -e for it, or",
        _ if BUILT_IN.contains(&first) => "belongs to the shell and is no program;",
        _ => return None,
    };
    Some(format!(
        "`{}` {what} for a line of shell write -s {}",
        visible(first),
        visible(&quote::quote(&line(first, rest)))
    ))
}

/// The words as a line of shell. Quotes would take away the meaning of the first word.
fn line(first: &str, rest: &[OsString]) -> OsString {
    let first = match first.split_once('=') {
        Some((name, value)) => format!("{name}={}", quote::quote(OsStr::new(value))),
        None => first.to_owned(),
    };
    let rest = rest.iter().map(|word| quote::quote(word));
    std::iter::once(first).chain(rest).collect::<Vec<_>>().join(" ").into()
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_a_shell_can_do_is_written_as_a_line_of_shell() {
        for (words, says) in [
            (&["cd", "/tmp"][..], "write -s 'cd /tmp'"),
            (&["ulimit", "-a"], "write -s 'ulimit -a'"),
            (&["FOO=1", "env"], "write -s 'FOO=1 env'"),
            (&["A=b c", "env"], r"write -s 'A='\''b c'\'' env'"),
            (&["jobs"], "write -s jobs"),
            (&["source", "a b"], r#"-s 'source '\''a b'\'''"#),
        ] {
            let argv: Vec<OsString> = words.iter().map(OsString::from).collect();
            let advice = advice(&argv).unwrap();
            assert!(advice.contains(says), "{advice}");
        }
        for words in [&["uptime"][..], &["./cd"], &["1A=b"], &["=x"], &["a-b=c"], &[]] {
            let argv: Vec<OsString> = words.iter().map(OsString::from).collect();
            assert_eq!(advice(&argv), None, "{words:?}");
        }
    }
}
