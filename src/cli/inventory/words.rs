//! Words as a shell reads them, without anything that a shell would run.

/// Splits a line into words. Quotes and backslashes are taken away, and `#` begins a comment if `comments` is
/// set.
///
/// # Errors
///
/// If a quote is not closed.
pub(crate) fn split(line: &str, comments: bool) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '#' if comments => break,
            c if c.is_whitespace() => words.extend(word.take()),
            '\\' => word.get_or_insert_default().extend(chars.next()),
            quote @ ('\'' | '"') => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        None => return Err(format!("the quote {quote} is not closed")),
                        Some(c) if c == quote => break,
                        // Inside of double quotes, a backslash quotes these two only.
                        Some('\\') if quote == '"' => match chars.next() {
                            Some(c @ ('"' | '\\')) => word.push(c),
                            other => word.extend(['\\'].into_iter().chain(other)),
                        },
                        Some(c) => word.push(c),
                    }
                }
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_a_shell() {
        for (line, words) in [
            ("a  b\tc", &["a", "b", "c"][..]),
            (r#"x='a b' y="c d" z=e\ f"#, &["x=a b", "y=c d", "z=e f"]),
            (r#"a="\"\\\n""#, &[r#"a="\\n"#]),
            ("'' a", &["", "a"]),
            ("a # b", &["a"]),
            ("a#b c", &["a"]),
            ("", &[]),
        ] {
            assert_eq!(split(line, true).unwrap(), words, "{line}");
        }
        assert_eq!(split("a#b # c", false).unwrap(), ["a#b", "#", "c"]);
        assert!(split("a 'b", true).is_err());
    }
}
