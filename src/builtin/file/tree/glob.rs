//! Patterns of names that are left out of a copy. No I/O.
//!
//! `*` stands for any characters but `/`, `**` for any at all, `?` for one, `[a-z]` and `[!a-z]` for one of a set,
//! and `\` makes the next character plain. A pattern without `/` is compared with each name, another one with the end of
//! the path below the root, and one that begins with `/` with all of that path. A `/` at the end of a pattern makes it match
//! directories only.

/// Patterns that leave out what one of them matches.
#[derive(Debug, Default)]
pub(crate) struct Globs(Vec<Glob>);

#[derive(Debug)]
struct Glob {
    pattern: Vec<u8>,
    is_path: bool,
    is_directory: bool,
}

impl Globs {
    pub(crate) fn new(patterns: &[String]) -> Self {
        let glob = |pattern: &String| {
            let bytes = pattern.as_bytes();
            let (bytes, is_directory) = bytes.strip_suffix(b"/").map_or((bytes, false), |bytes| (bytes, true));
            let is_path = bytes.contains(&b'/');
            // It begins at the root, or behind any slash.
            let begin: &[u8] = if is_path && !bytes.starts_with(b"/") { b"**/" } else { b"" };
            Glob { pattern: [begin, bytes].concat(), is_path, is_directory }
        };
        Self(patterns.iter().map(glob).collect())
    }

    /// Whether the entry of this name, at this path, is left out.
    pub(crate) fn match_entry(&self, path: &[u8], name: &[u8], is_directory: bool) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let path = [b"/", path].concat();
        self.0.iter().any(|glob| {
            (is_directory || !glob.is_directory) && matches(&glob.pattern, if glob.is_path { &path } else { name })
        })
    }
}

/// Where a star has begun: the pattern after it, the text that it has not taken, and whether it takes `/`.
type Star<'a> = (&'a [u8], &'a [u8], bool);

/// Whether the pattern stands for all of the text. Takes time in proportion to the product of their lengths at most,
/// for each kind of star: a star that has failed is not tried again when a later one fails.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut pattern, mut text) = (pattern, text);
    // The last star of each kind. If all attempts of a narrow one fail, the wide one before it goes on.
    let (mut narrow, mut wide): (Option<Star<'_>>, Option<Star<'_>>) = (None, None);
    loop {
        if let Some(rest) = pattern.strip_prefix(b"*") {
            match rest.strip_prefix(b"*") {
                Some(rest) => {
                    (pattern, narrow, wide) = (rest, None, Some((rest, text, true)));
                }
                None => (pattern, narrow) = (rest, Some((rest, text, false))),
            }
            continue;
        }
        match (one(pattern, text), pattern, text) {
            (Some(rest), ..) => {
                pattern = rest;
                text = &text[1..];
                continue;
            }
            (None, [], []) => return true,
            _ => {}
        }
        let again = |star: Option<Star<'_>>| {
            star.is_some_and(|(_, text, wide)| text.first().is_some_and(|b| wide || *b != b'/'))
        };
        let star = if again(narrow) {
            &mut narrow
        } else if again(wide) {
            narrow = None;
            &mut wide
        } else {
            return false;
        };
        if let Some((rest, left, _)) = star {
            *left = &left[1..];
            (pattern, text) = (*rest, *left);
        }
    }
}

/// The rest of the pattern, if its front stands for the first byte of the text.
fn one<'a>(pattern: &'a [u8], text: &[u8]) -> Option<&'a [u8]> {
    let byte = *text.first()?;
    match pattern {
        [b'?', rest @ ..] if byte != b'/' => Some(rest),
        [b'?', ..] => None,
        [b'\\', plain, rest @ ..] => (*plain == byte).then_some(rest),
        [b'[', set @ ..] => match in_set(set, byte) {
            Some((is_in, rest)) => (is_in && byte != b'/').then_some(rest),
            // A bracket that is not closed stands for itself.
            None => (byte == b'[').then_some(set),
        },
        [plain, rest @ ..] => (*plain == byte).then_some(rest),
        [] => None,
    }
}

/// Whether a byte is in the set, and what follows the set. `None` if it is not closed.
fn in_set(set: &[u8], byte: u8) -> Option<(bool, &[u8])> {
    let (set, is_inverse) = match set {
        [b'!' | b'^', rest @ ..] => (rest, true),
        _ => (set, false),
    };
    // A bracket in front is a member.
    let end = 1 + set.get(1..)?.iter().position(|byte| *byte == b']')?;
    let (mut members, rest) = (&set[..end], &set[end + 1..]);
    let mut is_in = false;
    while let [first, after @ ..] = members {
        let (last, after) = match after {
            [b'-', last, after @ ..] => (last, after),
            _ => (first, after),
        };
        is_in |= (*first..=*last).contains(&byte);
        members = after;
    }
    Some((is_in != is_inverse, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, yes, no) in [
            ("*.o", &["a.o", ".o", "a.b.o"][..], &["a.c", "a/b.o", "o"][..]),
            ("a?c", &["abc"], &["ac", "a/c", "abbc"]),
            ("[a-c]x", &["ax", "cx"], &["dx", "x", "/x"]),
            ("[!a-c]x", &["dx"], &["ax"]),
            ("[]a]", &["]", "a"], &["b", "[]a]"]),
            ("[a", &["[a"], &["a"]),
            ("\\*", &["*"], &["a"]),
            ("a*b*c", &["abc", "aXbYc", "abbc"], &["ab", "a/bc", "acb"]),
            ("**/x", &["a/x", "a/b/x"], &["x", "a/xy"]),
            ("a/**", &["a/b", "a/b/c"], &["a", "b/a/c"]),
            ("a**c/*d", &["a/b/c/xd", "ac/d", "ac/c/d"], &["a/c/x/e", "ac/x/d/"]),
            ("", &[""], &["a"]),
        ] {
            for text in yes {
                assert!(matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
            }
            for text in no {
                assert!(!matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
            }
        }
    }

    #[test]
    fn a_pattern_with_a_slash_is_about_the_path() {
        let excluded = |pattern: &str, path: &str, is_directory| {
            let name = path.rsplit('/').next().unwrap();
            Globs::new(&[pattern.into()]).match_entry(path.as_bytes(), name.as_bytes(), is_directory)
        };
        assert!(excluded("*.tmp", "a/b.tmp", false) && excluded("a/b", "a/b", false) && excluded("/a", "a", false));
        assert!(!excluded("/a", "b/a", false) && !excluded("/b/c", "a/b/c", false));
        assert!(
            excluded("b/c", "a/b/c", false) && excluded("b/*/c", "a/b/x/c", false) && !excluded("b/c", "ab/c", false)
        );
        assert!(excluded("cache/", "x/cache", true) && !excluded("cache/", "x/cache", false));
    }

    #[test]
    fn a_malicious_pattern_does_not_take_long() {
        let pattern = "*a".repeat(2000) + "b" + &"**a".repeat(2000);
        assert!(!matches(pattern.as_bytes(), &[b'a'; 4000]));
    }
}
