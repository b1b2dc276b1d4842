//! Command lines that can be copied from the screen into a shell.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::cli::hosts::expression_error::is_unprintable;
use crate::sys::quote;

/// The words as one line for bash, zsh or ksh. If all words are printable, any POSIX shell can read it.
pub(crate) fn line<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| quote(word.as_ref())).collect();
    words.join(" ")
}

/// Quotes one word.
pub(crate) fn quote(word: &OsStr) -> String {
    match word.to_str() {
        Some(text) if !text.contains(is_unprintable) => quote::quote(text),
        _ => ansi_c(word.as_bytes()),
    }
}

/// Quotes as `$'..'`, the only form that can hold unprintable bytes. The escapes are octal, because these have
/// a fixed length and cannot include the characters that follow.
fn ansi_c(bytes: &[u8]) -> String {
    let mut text = "$'".to_owned();
    for &byte in bytes {
        match byte {
            b'\n' => text.push_str("\\n"),
            b'\t' => text.push_str("\\t"),
            b'\\' | b'\'' => text.extend(['\\', char::from(byte)]),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\{byte:03o}")),
        }
    }
    text.push('\'');
    text
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_are_quoted_when_they_must_be() {
        assert_eq!(line(["run", "-w", "web[2,5]", "uptime"]), "run -w 'web[2,5]' uptime");
        assert_eq!(line(["a!b", "a&b", "", "it's", "$x", "~", "*", "#"]), r"'a!b' 'a&b' '' 'it'\''s' '$x' '~' '*' '#'");
        assert_eq!(line(["=x", "K=v w", "a=b"]), "'=x' 'K=v w' a=b");
        assert_eq!(line(["a\nb", "\x1b[2J"]), r"$'a\nb' $'\033[2J'");
        assert_eq!(line([OsStr::from_bytes(b"\xff1")]), r"$'\3771'");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_shell_reads_the_same_words(
            words in prop::collection::vec(prop::collection::vec(1..=255_u8, 0..12), 1..6),
            texts in prop::collection::vec("\\PC{0,12}", 0..4),
        ) {
            let words: Vec<OsString> = words
                .into_iter()
                .map(OsString::from_vec)
                .chain(texts.into_iter().map(OsString::from))
                .collect();
            let script = format!("printf '%s\\0' {}", line(&words));
            let Ok(output) = Command::new("bash").arg("-c").arg(script).env("LC_ALL", "C").output() else {
                return Ok(());
            };
            let wanted: Vec<u8> =
                words.iter().flat_map(|w| w.as_bytes().iter().copied().chain([0])).collect();
            prop_assert_eq!(output.stdout, wanted);
        }

        #[test]
        fn what_is_shown_can_be_printed(word in any::<String>()) {
            prop_assert!(!quote(OsStr::new(&word)).contains(is_unprintable));
        }
    }
}
