//! The words of a line that is being typed.

/// The words of the first command's arguments in a line of shell, without the name of the command. The last one is
/// the word at the cursor; it is empty behind a space. Quotes may be open. What a shell would replace stays as it
/// is.
pub(super) fn words_of(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut is_word, mut quote) = (String::new(), false, None);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, '\'' | '"') => (quote, is_word) = (Some(c), true),
            (Some(open), c) if open == c => quote = None,
            (None | Some('"'), '\\') => {
                word.extend(chars.next());
                is_word = true;
            }
            (None, ' ' | '\t' | '\n') => {
                if is_word {
                    words.push(std::mem::take(&mut word));
                }
                is_word = false;
            }
            (None, ';' | '|' | '&' | '(') => {
                // Another command begins.
                words.clear();
                word.clear();
                is_word = false;
            }
            (_, c) => {
                word.push(c);
                is_word = true;
            }
        }
    }
    words.push(word);
    // Assignments may stand before the command.
    let name = words.iter().position(|word| !is_assignment(word)).unwrap_or_default();
    words.split_off((name + 1).min(words.len()))
}

fn is_assignment(word: &str) -> bool {
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    word.split_once('=').is_some_and(|(name, _)| is_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_as_a_shell_would_take_them() {
        for (line, words) in [
            ("offshoot ", &[""][..]),
            ("offshoot ru", &["ru"]),
            ("offshoot run -w 'web[1-3],d", &["run", "-w", "web[1-3],d"]),
            ("offshoot run -w \"a b\"c x\\ y ", &["run", "-w", "a bc", "x y", ""]),
            ("cd /; LANG=C offshoot hosts ''", &["hosts", ""]),
            ("true | offshoot hosts -", &["hosts", "-"]),
            ("offshoot", &[]),
            ("", &[]),
            ("'", &[]),
        ] {
            assert_eq!(words_of(line), words, "{line}");
        }
    }
}
