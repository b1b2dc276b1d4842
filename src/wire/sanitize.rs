//! Makes foreign text safe to show. A terminal acts on some characters instead
//! of showing them: they move the cursor, change the title, or hide and reorder
//! what stands beside them. All text that comes from another process passes here
//! before it is shown, logged, or written as JSON.

/// Whether a terminal may act on a character: C0 and C1 controls, DEL, line and
/// paragraph separators, what changes the direction of writing, and what is not seen and can only mislead. Joiners
/// are part of words and pictures.
pub(crate) fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{200b}' | '\u{2060}'..='\u{2064}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
        || matches!(c, '\u{e0000}'..='\u{e007f}')
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{206f}')
}

/// Appends a character to `shown`. An unsafe one is appended as its escape, such as `\u{1b}`. Tabs
/// stay.
pub(crate) fn push(c: char, shown: &mut String) {
    if is_unsafe(c) && c != '\t' { shown.extend(c.escape_default()) } else { shown.push(c) }
}

/// A text with its unsafe characters as escapes.
pub(crate) fn printable(text: &str) -> String {
    escape(text, '\t')
}

/// Does the same as [`printable`] for a text that may have several lines.
pub(crate) fn printable_lines(text: &str) -> String {
    escape(text, '\n')
}

fn escape(text: &str, allowed: char) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c == allowed { shown.push(c) } else { push(c, &mut shown) }
    }
    shown
}

/// A line of another program without terminal sequences, without unsafe characters, and without
/// space at its end. So colours do not hide words that the caller looks for.
pub(crate) fn stripped(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut chars = text.chars().peekable();
    let mut line = String::with_capacity(text.len());
    while let Some(char) = chars.next() {
        match char {
            '\t' => line.push(' '),
            '\x1b' => match chars.next_if(|next| matches!(next, '[' | ']')) {
                // A control sequence ends with the first of `@` to `~`.
                Some('[') => while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {},
                // A title or link ends with BEL or ESC.
                Some(_) => while chars.next().is_some_and(|c| c != '\x07' && c != '\x1b') {},
                None => {}
            },
            _ if is_unsafe(char) => {}
            _ => line.push(char),
        }
    }
    line.truncate(line.trim_end().len());
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each kind.
    const UNSAFE: &str = "\x1b\u{7f}\u{9b}\u{61c}\u{200e}\u{2028}\u{202e}\u{2066}\u{2069}";

    #[test]
    fn what_is_not_seen_is_shown_as_an_escape() {
        for c in ['\u{feff}', '\u{200b}', '\u{ad}', '\u{2060}', '\u{fff9}', '\u{e0001}', '\u{e0041}', '\u{e007f}'] {
            assert_eq!(printable(&format!("a{c}b")), format!("a\\u{{{:x}}}b", u32::from(c)));
            assert_eq!(stripped(format!("a{c}b").as_bytes()), "ab");
        }
    }

    #[test]
    fn what_a_terminal_acts_on_is_shown_as_an_escape() {
        assert_eq!(printable(UNSAFE), "\\u{1b}\\u{7f}\\u{9b}\\u{61c}\\u{200e}\\u{2028}\\u{202e}\\u{2066}\\u{2069}");
        assert_eq!(printable("a\tb\r\n"), "a\tb\\r\\n");
        assert_eq!(printable_lines("a\tb\r\n"), "a\tb\\r\n");
    }

    #[test]
    fn ordinary_text_is_left_alone() {
        for text in ["häß €😀", "مرحبا", "👨\u{200d}👩", "می\u{200c}خواهم", ""] {
            assert_eq!((printable(text), stripped(text.as_bytes())), (text.to_owned(), text.to_owned()));
        }
    }

    #[test]
    fn a_stripped_line_has_neither_escapes_nor_unsafe_characters() {
        assert_eq!(stripped(b"\x1b[1;31mred\x1b[0m \x1b]0;title\x07a\x07b\tc\x7f\r\n"), "red ab c");
        assert_eq!(stripped("\u{202e}txt.exe \u{9b}2J".as_bytes()), "txt.exe 2J");
        assert_eq!(stripped(b"\xff\xfe"), "\u{fffd}\u{fffd}");
        assert_eq!(stripped(b"\x1b["), "");
        assert_eq!(stripped(UNSAFE.as_bytes()), "");
    }
}
