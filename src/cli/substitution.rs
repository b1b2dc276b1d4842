//! What differs from host to host in a command or in the name of a file: `%h`, `%n` and `%%`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::cli::output::visible;

/// What stands for a host.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Values<'a> {
    /// `%h`: the host, as in the expression.
    pub(crate) host: &'a str,
    /// `%n`: its number, from 0 on.
    pub(crate) number: usize,
}

/// Whether a text names something of the host.
pub(crate) fn names_host(text: &OsStr) -> bool {
    text.as_bytes().windows(2).any(|pair| matches!(pair, b"%h" | b"%n"))
}

/// Puts the values into a text.
///
/// # Errors
///
/// If a `%` is followed by something else.
pub(crate) fn apply(text: &OsStr, values: Values<'_>) -> Result<OsString, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|b| *b == b'%') {
        out.extend_from_slice(&rest[..at]);
        match rest.get(at + 1) {
            Some(b'h') => out.extend_from_slice(values.host.as_bytes()),
            Some(b'n') => out.extend_from_slice(values.number.to_string().as_bytes()),
            Some(b'%') => out.push(b'%'),
            _ => {
                let word = visible::word(&String::from_utf8_lossy(&rest[at..rest.len().min(at + 2)]));
                return Err(format!(
                    "`{word}` stands for nothing: write %h for the host, %n for its number, %% for a %"
                ));
            }
        }
        rest = &rest[at + 2..];
    }
    out.extend_from_slice(rest);
    Ok(OsString::from_vec(out))
}

/// Whether a shell reads this host as one plain word, also between quotes.
pub(crate) fn is_plain(host: &str) -> bool {
    host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:/@+,=%".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(text: &str) -> Result<String, String> {
        let values = Values { host: "bastion/web1", number: 7 };
        apply(text.as_ref(), values).map(|text| text.into_string().unwrap())
    }

    #[test]
    fn the_host_and_its_number_are_put_in() {
        for (text, result) in [
            ("%h", "bastion/web1"),
            ("a%h-%n.log", "abastion/web1-7.log"),
            ("%%h %n%%", "%h 7%"),
            ("plain", "plain"),
            ("", ""),
        ] {
            assert_eq!(applied(text).unwrap(), result);
        }
        let bytes = OsStr::from_bytes(b"\xff%n");
        assert_eq!(apply(bytes, Values { host: "a", number: 0 }).unwrap(), OsStr::from_bytes(b"\xff0"));
    }

    #[test]
    fn other_letters_are_refused_with_what_there_is() {
        for (text, word) in [("date +%H", "`%H`"), ("100%", "`%`"), ("%u@x", "`%u`"), ("%\x1b", "`%\\u{1b}`")] {
            let error = applied(text).unwrap_err();
            assert!(error.starts_with(word) && error.contains("%n for its number"), "{error}");
        }
    }

    #[test]
    fn words_that_a_shell_would_take_apart_are_not_plain() {
        assert!(["web1", "deploy@web1:2222", "bastion/web1/sudo:root"].into_iter().all(is_plain));
        assert!(!["a b", "$(id)", "a;b", "a'b", "docker:{a}", "ä"].into_iter().any(is_plain));
        assert!(names_host("a%hb".as_ref()) && !names_host("date +%H".as_ref()));
    }
}
