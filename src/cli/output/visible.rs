//! Makes foreign bytes safe for a terminal: what would move the cursor, change
//! the colour or the title, or hide text, is shown instead of done.

use crate::cli::hosts::expression_error::is_unprintable;

/// Appends a line to `out`. Tabs stay, and a carriage return at the end, which
/// belongs to the newline that follows.
pub(crate) fn line(bytes: &[u8], out: &mut Vec<u8>) {
    let (body, end) = match bytes.strip_suffix(b"\r") {
        Some(body) => (body, &b"\r"[..]),
        None => (bytes, &b""[..]),
    };
    for chunk in body.utf8_chunks() {
        for c in chunk.valid().chars() {
            push(c, out);
        }
        // 0x9b alone is a control sequence to terminals that are not in UTF-8.
        for byte in chunk.invalid() {
            out.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
        }
    }
    out.extend_from_slice(end);
}

/// A text that may have several lines, each after the first behind `indent`.
pub(crate) fn text(text: &str, indent: &str, out: &mut Vec<u8>) {
    for (index, part) in text.trim_end().lines().enumerate() {
        if index > 0 {
            out.push(b'\n');
            out.extend_from_slice(indent.as_bytes());
        }
        part.chars().for_each(|c| push(c, out));
    }
}

fn push(c: char, out: &mut Vec<u8>) {
    match c {
        '\t' => out.push(b'\t'),
        '\0'..='\x1f' => out.extend_from_slice(&[b'^', c as u8 + b'@']),
        '\x7f' => out.extend_from_slice(b"^?"),
        '\u{80}'..='\u{9f}' => out.extend_from_slice(format!("\\x{:02x}", c as u32).as_bytes()),
        // Zero width and soft hyphens are part of ordinary writing.
        '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}' => push_plain(c, out),
        c if is_unprintable(c) => {
            out.extend_from_slice(format!("\\u{{{:x}}}", c as u32).as_bytes());
        }
        c => push_plain(c, out),
    }
}

fn push_plain(c: char, out: &mut Vec<u8>) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
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
        assert_eq!(shown(b"\x1b[2J\x1b]0;root@prod\x07"), "^[[2J^[]0;root@prod^G");
        assert_eq!(shown(b"a\x00\x7f\x08b"), "a^@^?^Hb");
        assert_eq!(shown("\u{9b}31m".as_bytes()), "\\x9b31m");
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
        assert_eq!(shown(b"\rweb2: ok"), "^Mweb2: ok");
        assert_eq!(shown(b"a\r\r"), "a^M\r");
    }

    #[test]
    fn further_lines_of_a_text_are_indented() {
        let mut out = Vec::new();
        text("one\ntwo\x1b\r\n three\n\n", "    ", &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "one\n    two^[\n     three");
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
