//! The escape character of `offshoot shell`: what is typed for the tool itself, and not for the far end.

/// The character that suspends the tool behind the escape character: Ctrl-Z.
const SUSPEND: u8 = 0x1a;

/// What a piece of typed text asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Typed {
    /// Bytes for the far end.
    Bytes(Vec<u8>),
    /// To leave the far end.
    Leave,
    /// To stop the tool until it is continued.
    Suspend,
    /// To list what can follow the escape character.
    Help,
}

/// Where the last typed byte has led.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    LineStart,
    Escaped,
    InLine,
}

/// Finds the escape character at the beginnings of lines.
#[derive(Debug)]
pub(super) struct Escape {
    /// `None` if there is no escape character.
    character: Option<u8>,
    state: State,
}

impl Escape {
    pub(super) fn new(character: Option<u8>) -> Self {
        Self { character, state: State::LineStart }
    }

    /// Takes typed bytes. Nothing comes after [`Typed::Leave`].
    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<Typed> {
        let Some(character) = self.character else { return vec![Typed::Bytes(bytes.to_vec())] };
        let (mut all, mut plain) = (Vec::new(), Vec::new());
        for &byte in bytes {
            if self.state == State::Escaped {
                self.state = State::LineStart;
                let asked = match byte {
                    b'.' => Some(Typed::Leave),
                    SUSPEND => Some(Typed::Suspend),
                    b'?' => Some(Typed::Help),
                    _ => None,
                };
                if let Some(asked) = asked {
                    let is_last = asked == Typed::Leave;
                    push(&mut all, &mut plain);
                    all.push(asked);
                    if is_last {
                        return all;
                    }
                    continue;
                }
                plain.push(character);
                // Twice means once.
                if byte == character {
                    self.state = State::InLine;
                    continue;
                }
            } else if self.state == State::LineStart && byte == character {
                self.state = State::Escaped;
                continue;
            }
            plain.push(byte);
            self.state = if matches!(byte, b'\r' | b'\n') { State::LineStart } else { State::InLine };
        }
        push(&mut all, &mut plain);
        all
    }

    /// The text of [`Typed::Help`].
    pub(super) fn help(&self) -> String {
        let Some(character) = self.character.map(shown) else { return String::new() };
        format!(
            "\r\noffshoot: at the start of a line\r\n  {character}.   leaves the shell and ends it\r\n  {character}^Z  \
             suspends the tool (Ctrl-Z)\r\n  {character}?   lists this\r\n  {character}{character}   types {character}\r\n"
        )
    }
}

fn push(all: &mut Vec<Typed>, plain: &mut Vec<u8>) {
    if !plain.is_empty() {
        all.push(Typed::Bytes(std::mem::take(plain)));
    }
}

fn shown(character: u8) -> String {
    if character < b' ' { format!("^{}", char::from(character | 0x40)) } else { char::from(character).into() }
}

/// The value of `-e`: `none`, a character, or a control character as `^X`.
pub(crate) fn character(text: &str) -> Result<Option<u8>, String> {
    match *text.as_bytes() {
        _ if text == "none" => Ok(None),
        [byte] if byte.is_ascii_graphic() => Ok(Some(byte)),
        [b'^', byte] if byte.is_ascii_alphabetic() || matches!(byte, b'[' | b'\\' | b']' | b'^' | b'_') => {
            Ok(Some(byte & 0x1f))
        }
        _ => Err("write one character, a control character as ^X, or none".into()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(text: &[u8]) -> Typed {
        Typed::Bytes(text.to_vec())
    }

    #[test]
    fn the_escape_character_counts_at_the_start_of_a_line_only() {
        for (typed, wanted) in [
            (&b"~."[..], vec![Typed::Leave]),
            (b"ls\r~.rest", vec![bytes(b"ls\r"), Typed::Leave]),
            (b"a~.b", vec![bytes(b"a~.b")]),
            (b"~~.\n~?x", vec![bytes(b"~.\n"), Typed::Help, bytes(b"x")]),
            (b"~a~.", vec![bytes(b"~a~.")]),
            (b"\n~\x1a~.", vec![bytes(b"\n"), Typed::Suspend, Typed::Leave]),
            (b"~\r~.", vec![bytes(b"~\r"), Typed::Leave]),
        ] {
            assert_eq!(Escape::new(Some(b'~')).take(typed), wanted, "{}", typed.escape_ascii());
        }
        assert_eq!(Escape::new(None).take(b"~."), [bytes(b"~.")]);
        assert_eq!(Escape::new(Some(b'%')).take(b"%."), [Typed::Leave]);
    }

    #[test]
    fn the_character_is_chosen_or_there_is_none() {
        assert_eq!(character("none"), Ok(None));
        assert_eq!(character("%"), Ok(Some(b'%')));
        assert_eq!(character("^A"), Ok(Some(1)));
        assert_eq!(character("^]"), Ok(Some(0x1d)));
        for text in ["", "ab", "\u{e4}", " ", "^1"] {
            assert!(character(text).unwrap_err().contains("none"), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_the_typed_text_is_cut(text in "[a~?.\r]{0,20}", at: prop::sample::Index) {
            let text = text.as_bytes();
            let joined = |pieces: &[&[u8]]| {
                let mut escape = Escape::new(Some(b'~'));
                let mut all: Vec<Typed> = Vec::new();
                for piece in pieces {
                    if all.last() == Some(&Typed::Leave) {
                        break;
                    }
                    for typed in escape.take(piece) {
                        match (all.last_mut(), typed) {
                            (Some(Typed::Bytes(before)), Typed::Bytes(more)) => before.extend(more),
                            (_, typed) => all.push(typed),
                        }
                    }
                }
                all
            };
            let at = at.index(text.len() + 1);
            prop_assert_eq!(joined(&[&text[..at], &text[at..]]), joined(&[text]));
        }
    }
}
