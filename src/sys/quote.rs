//! Quoting of words for a shell.

/// Quotes a word so that every login shell reads it unchanged: as it is, or between single quotes.
pub(crate) fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-+=./:,@%".contains(c);
    // zsh expands a word that begins with `=`.
    if !word.is_empty() && word.chars().all(plain) && !word.starts_with('=') {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_when_they_must_be() {
        for word in ["a=b", "user@web1:/srv/%d,x+1", "-v"] {
            assert_eq!(quote(word), word);
        }
        for word in ["", "=x", "a b", "$x", "~", "*", "#", "a;b", "a!b", "[1]"] {
            assert_eq!(quote(word), format!("'{word}'"));
        }
        assert_eq!(quote("it's"), r"'it'\''s'");
    }
}
