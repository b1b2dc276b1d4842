//! Wildcards over the names of known hosts: `web*`, `db?`.

use crate::cli::hosts::expression_error::{Fault, Span};
use crate::cli::hosts::pattern::enclosed;

/// Whether a character stands for others.
fn is_wild(c: char) -> bool {
    matches!(c, '*' | '?')
}

/// Whether a word has a wildcard, outside of braces and brackets.
pub(super) fn is_in(word: &str) -> bool {
    if !word.contains(is_wild) {
        return false;
    }
    let mut close = None;
    word.chars().any(|c| match (c, close) {
        (c, Some(end)) => {
            if c == end {
                close = None;
            }
            false
        }
        ('{', None) => {
            close = Some('}');
            false
        }
        ('[', None) => {
            close = Some(']');
            false
        }
        (c, None) => is_wild(c),
    })
}

/// A part of a path.
pub(super) enum Segment<'a> {
    /// `@*`, all hosts.
    All,
    /// `@SOURCE:*`, all hosts of a source of groups; the name without `@`.
    AllOf(&'a str),
    /// A pattern for names.
    Wild(&'a str),
    /// A hop or a group.
    Other(&'a str),
}

/// Splits a word at its slashes. Each part comes with its place in the line.
pub(super) fn segments(word: &str, base: usize) -> Result<Vec<(Segment<'_>, Span)>, Fault> {
    let mut segments = Vec::new();
    let mut at = 0;
    loop {
        let mut end = at;
        while let Some(c) = word[end..].chars().next() {
            match c {
                '/' => break,
                '[' | '{' => end += enclosed(&word[end..], base + end)?.len() + 2,
                c => end += c.len_utf8(),
            }
        }
        let (text, span) = (&word[at..end], Span::new(base + at, end - at));
        segments.push((segment(text, span)?, span));
        if end == word.len() {
            return Ok(segments);
        }
        at = end + 1;
    }
}

fn segment(text: &str, span: Span) -> Result<Segment<'_>, Fault> {
    if text == "@*" {
        return Ok(Segment::All);
    }
    if let Some(group) = text.strip_prefix('@').filter(|group| group.ends_with(":*"))
        && group.matches(|c| "*?[{".contains(c)).count() == 1
    {
        return Ok(Segment::AllOf(group));
    }
    if !is_in(text) {
        return Ok(Segment::Other(text));
    }
    let what = match text.chars().find(|c| "@:[{".contains(*c)) {
        None => return Ok(Segment::Wild(text)),
        Some('@') if text.starts_with('@') => "a wildcard stands for hosts; name a group whole, or write @* for all",
        Some('@' | ':') => "a wildcard stands for the names of known hosts only; -l names the user, and -p the port",
        Some(_) => "a word has either wildcards or numbers in brackets; write two, as in web*&web[1-9]",
    };
    Err(Fault::syntax(span, what))
}

/// Whether a name is one that a pattern stands for. `*` stands for any characters, `?` for one. Adds to `compared` how many
/// characters were compared.
pub(crate) fn matches(pattern: &str, name: &str, compared: &mut u64) -> bool {
    let (mut pattern, mut name) = (pattern.chars(), name.chars());
    // Where to go on if what follows the last star does not match here.
    let mut again: Option<(std::str::Chars<'_>, std::str::Chars<'_>)> = None;
    loop {
        *compared += 1;
        match (pattern.next(), name.clone().next()) {
            (Some('*'), _) => again = Some((pattern.clone(), name.clone())),
            (Some(wanted), Some(c)) if wanted == '?' || wanted == c => drop(name.next()),
            (None, None) => return true,
            _ => {
                let Some((after, from)) = &mut again else { return false };
                if from.next().is_none() {
                    return false;
                }
                (pattern, name) = (after.clone(), from.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_stand_for_characters() {
        for (pattern, name, is_one) in [
            ("*", "web1", true),
            ("*", "", true),
            ("web*", "web1", true),
            ("web*", "web", true),
            ("web*", "aweb", false),
            ("web?", "web1", true),
            ("web?", "web", false),
            ("web?", "web12", false),
            ("*.example.com", "a.b.example.com", true),
            ("w*b*1", "wxbxb1", true),
            ("w*b*1", "wxbxb12", false),
            ("**", "ab", true),
            ("h\u{e4}?", "h\u{e4}\u{df}", true),
        ] {
            assert_eq!(matches(pattern, name, &mut 0), is_one, "{pattern} {name}");
        }
    }

    #[test]
    fn a_wildcard_counts_outside_of_braces_and_brackets_only() {
        for (word, expected) in
            [("web*", true), ("docker:{a*}", false), ("{a}*", true), ("web[1-3]", false), ("a?", true)]
        {
            assert_eq!(is_in(word), expected, "{word}");
        }
    }

    #[test]
    fn a_word_is_cut_at_its_slashes() {
        let show = |word: &str| -> Vec<String> {
            let segments = segments(word, 5).unwrap().into_iter();
            segments
                .map(|(segment, span)| match segment {
                    Segment::All => format!("all {}", span.at),
                    Segment::AllOf(text) => format!("all of {text} {}", span.at),
                    Segment::Wild(text) => format!("wild {text} {}", span.at),
                    Segment::Other(text) => format!("{text} {}", span.at),
                })
                .collect()
        };
        assert_eq!(show("bastion/web*/sudo"), ["bastion 5", "wild web* 13", "sudo 18"]);
        assert_eq!(show("@roles:*"), ["all of roles:* 5"]);
        assert_eq!(show("@*/docker:{a/b}"), ["all 5", "docker:{a/b} 8"]);
        for word in ["web[1-3]*", "amy@web*", "web*:22", "@web*", "docker:w*", "{a}*"] {
            assert!(segments(word, 0).is_err(), "{word}");
        }
    }
}
