//! One word of a host expression, split into hops and pieces, with numbers in brackets.

pub(crate) use crate::connect::host_path::word::{Piece, Token, cut, enclosed};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::hosts::expression_error::Span;
    use crate::cli::hosts::numbers::Numbers;

    fn pieces(word: &str) -> Vec<Vec<String>> {
        let show = |token: Token<Numbers>| match token.piece {
            Piece::Plain(text) => text,
            Piece::Quoted(text) => format!("q:{text}"),
            Piece::Address(text) => format!("a:{text}"),
            Piece::Set(numbers) => numbers.iter().collect::<Vec<_>>().join("+"),
        };
        let parts = cut::<Numbers>(word, 0, 16).unwrap();
        parts.into_iter().map(|part| part.into_iter().map(show).collect()).collect()
    }

    #[test]
    fn a_word_is_cut_at_slashes_and_brackets() {
        assert_eq!(pieces("web1"), [["web1"]]);
        assert_eq!(pieces("a/b:c"), [["a"], ["b:c"]]);
        assert_eq!(pieces("rack[1-2]n[3]"), [["rack", "1+2", "n", "3"]]);
        assert_eq!(pieces("docker:{a/b:1}x"), [["docker:", "q:a/b:1", "x"]]);
        assert_eq!(pieces("u@[fe80::1%eth0]:22"), [["u@", "a:fe80::1%eth0", ":22"]]);
        assert_eq!(pieces("[::ffff:10.0.0.1]"), [["a:::ffff:10.0.0.1"]]);
        assert_eq!(pieces("web[1-9/4]"), [["web", "1+5+9"]]);
        assert_eq!(pieces("{a b,c!d[1]}"), [["q:a b,c!d[1]"]]);
    }

    #[test]
    fn faults_say_where_and_what_to_write() {
        for (word, at, len, says) in [
            ("/a", 0, 1, "missing before"),
            ("a//b", 2, 1, "missing before"),
            ("a/", 1, 1, "missing after"),
            ("a[1", 1, 1, "`]` is missing"),
            ("a{1", 1, 1, "`}` is missing"),
            ("a]", 1, 1, "`[` is missing"),
            ("a}", 1, 1, "`{` is missing"),
            ("a{}", 1, 2, "empty braces"),
            ("a{b{c}", 1, 5, "inside braces"),
            ("web{1..3}", 3, 6, "web[1-3]"),
            ("web{01..09..2}", 3, 11, "web[01-09/2]"),
            ("web{1,2,5}", 3, 7, "web[1,2,5]"),
            ("a[]", 1, 2, "empty brackets"),
            ("a[1-x]", 4, 1, "not a number"),
            ("[g::1]", 0, 6, "not an IPv6 address"),
            ("[fe80::1%]", 0, 10, "not an IPv6 address"),
            ("[fe80::1%a b]", 0, 13, "not an IPv6 address"),
            ("[1:2]", 0, 5, "not an IPv6 address"),
            ("web[01:03]", 3, 7, "write [01-03]"),
            ("fe80::1%lo", 7, 1, "[fe80::1%lo]"),
            ("ssh://ann@web1:2222", 0, 6, "write ann@web1:2222"),
            ("ssh://web1/", 0, 6, "write web1"),
            ("docker://app", 0, 9, "write docker:app"),
            ("CORP\\ann@web1", 4, 1, "{CORP\\ann}@web1"),
            ("ann%corp@web1/sudo", 3, 1, "{ann%corp}@web1/sudo"),
            ("web[a:c]", 3, 5, "write a list: a,b,c"),
            ("10.0.0.0/24", 0, 11, "write 10.0.0.[1-254]"),
            ("10.0.0.1-10", 0, 11, "write 10.0.0.[1-10]"),
            ("web*", 3, 1, "`*` cannot stand here"),
            ("a;b", 1, 1, "`;` cannot stand here"),
            ("$(x)", 0, 1, "braces"),
            ("a\x1bb", 1, 1, "U+001B"),
            ("{a\nb}", 0, 5, "U+000A"),
            ("a\u{202e}b", 1, 3, "U+202E"),
        ] {
            let fault = cut::<Numbers>(word, 0, 16).unwrap_err();
            assert_eq!(fault.span, Span::new(at, len), "{word}: {}", fault.message);
            assert!(fault.message.contains(says), "{word}: {}", fault.message);
        }
    }

    #[test]
    fn places_are_counted_from_the_base() {
        assert_eq!(cut::<Numbers>("a]", 10, 16).unwrap_err().span.at, 11);
        assert_eq!(cut::<Numbers>("a[1-x]", 10, 16).unwrap_err().span.at, 14);
    }
}
