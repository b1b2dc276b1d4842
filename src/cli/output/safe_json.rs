//! JSON as compact as serde_json's. Characters that control a terminal are escaped as `\uXXXX`.
//!
//! They are escaped for every destination: an escape means the same to every reader, and a file may be shown on
//! a terminal later.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

use crate::wire::sanitize::is_unsafe;

/// Writes a value as JSON.
///
/// # Errors
///
/// If `out` cannot be written.
pub(crate) fn write(value: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    Ok(value.serialize(&mut Serializer::with_formatter(out, Escaping))?)
}

/// Returns a value as a line of JSON.
pub(crate) fn line(value: &impl Serialize) -> Vec<u8> {
    let mut json = Vec::new();
    // Strings, numbers and options in memory can always be serialised.
    if write(value, &mut json).is_err() {
        json.clear();
    }
    json.push(b'\n');
    json
}

struct Escaping;

impl Formatter for Escaping {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        escaped(fragment, out)
    }

    /// Writes JSON that was made elsewhere. Such characters occur only in its strings.
    fn write_raw_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        escaped(fragment, out)
    }
}

fn escaped<W: ?Sized + Write>(text: &str, out: &mut W) -> io::Result<()> {
    let mut done = 0;
    for (at, c) in text.char_indices().filter(|(_, c)| is_unsafe(*c)) {
        out.write_all(&text.as_bytes()[done..at])?;
        for unit in c.encode_utf16(&mut [0; 2]) {
            write!(out, "\\u{unit:04x}")?;
        }
        done = at + c.len_utf8();
    }
    out.write_all(&text.as_bytes()[done..])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;
    use serde_json::value::RawValue;

    use super::*;

    fn shown(value: &impl Serialize) -> String {
        String::from_utf8(line(value)).unwrap()
    }

    #[test]
    fn what_a_terminal_acts_on_is_escaped() {
        let text = "\x1b\u{7f}\u{9b}\u{202e}\u{2066}\u{2028}";
        let escapes = "\"\\u001b\\u007f\\u009b\\u202e\\u2066\\u2028\"\n";
        assert_eq!(shown(&text), escapes);
        let raw = RawValue::from_string(format!("[\"{}\"]", &text[1..])).unwrap();
        assert_eq!(shown(&raw), "[\"\\u007f\\u009b\\u202e\\u2066\\u2028\"]\n");
        assert_eq!(shown(&"häß €😀\t\"\\"), "\"häß €😀\\t\\\"\\\\\"\n");
    }

    proptest! {
        #[test]
        fn a_reader_gets_the_same_text(text in any::<String>()) {
            let json = shown(&text);
            prop_assert!(!json.trim_end_matches('\n').contains(is_unsafe));
            prop_assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), Value::String(text));
        }
    }
}
