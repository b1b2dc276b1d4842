//! Text for people: output of hosts and messages of the tool. Characters that control a terminal are shown as
//! escapes.

use crate::wire::sanitize::push;

/// Appends a line to `out`. Tabs stay. A carriage return at the end stays, too, because it belongs to the
/// newline that follows.
pub(crate) fn line(bytes: &[u8], out: &mut Vec<u8>) {
    let (body, end) = match bytes.strip_suffix(b"\r") {
        Some(body) => (body, &b"\r"[..]),
        None => (bytes, &b""[..]),
    };
    let mut shown = String::with_capacity(body.len());
    for chunk in body.utf8_chunks() {
        chunk.valid().chars().for_each(|c| push(c, &mut shown));
        // A single 0x9b byte begins a control sequence on terminals that do not use UTF-8.
        for byte in chunk.invalid() {
            shown.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out.extend_from_slice(shown.as_bytes());
    out.extend_from_slice(end);
}

/// A text that may have several lines. Each line after the first begins with `indent`.
pub(crate) fn text(text: &str, indent: &str, out: &mut Vec<u8>) {
    let mut shown = String::with_capacity(text.len());
    for (index, part) in text.trim_end().lines().enumerate() {
        if index > 0 {
            shown.push('\n');
            shown.push_str(indent);
        }
        part.chars().for_each(|c| push(c, &mut shown));
    }
    out.extend_from_slice(shown.as_bytes());
}

/// The beginning of a word of the command line. The word can be very long.
pub(crate) fn word(text: &str) -> String {
    const SHOWN: usize = 100;
    let mut shown = String::new();
    text.chars().take(SHOWN).for_each(|c| push(c, &mut shown));
    if text.chars().nth(SHOWN).is_some() {
        shown.push_str("...");
    }
    shown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        line(bytes, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn escapes_are_shown_not_done() {
        assert_eq!(shown(b"\x1b[2J\x1b]0;root@prod\x07"), "\\u{1b}[2J\\u{1b}]0;root@prod\\u{7}");
        assert_eq!(shown(b"a\x00\x7f\x08b"), "a\\u{0}\\u{7f}\\u{8}b");
        assert_eq!(shown("\u{9b}31m".as_bytes()), "\\u{9b}31m");
        assert_eq!(shown(b"\x9b31m\xff"), "\\x9b31m\\xff");
        assert_eq!(shown("a\u{202e}b".as_bytes()), "a\\u{202e}b");
    }

    #[test]
    fn ordinary_text_is_left_alone() {
        for text in ["a\tb", "häß €😀", "مرحبا", "👨\u{200d}👩", "", "crlf\r"] {
            assert_eq!(shown(text.as_bytes()), text);
        }
    }

    #[test]
    fn a_carriage_return_cannot_hide_the_host() {
        assert_eq!(shown(b"\rweb2: ok"), "\\rweb2: ok");
        assert_eq!(shown(b"a\r\r"), "a\\r\r");
    }

    #[test]
    fn further_lines_of_a_text_are_indented() {
        let mut out = Vec::new();
        text("one\ntwo\x1b\r\n three\n\n", "    ", &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "one\n    two\\u{1b}\n     three");
    }

    proptest! {
        #[test]
        fn nothing_dangerous_gets_through(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let text = shown(&bytes);
            let text = text.strip_suffix('\r').unwrap_or(&text);
            prop_assert!(!text.contains(|c: char| c.is_control() && c != '\t'));
        }
    }
}
