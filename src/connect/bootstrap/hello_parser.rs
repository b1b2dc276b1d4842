//! The first bytes of a child: token, newline, magic, version, hello.

use crate::connect::bootstrap::{Diagnosis, MAGIC, MAX_HELLO, VERSION};
use crate::wire::error::ConnectErrorKind;

/// The hello of a child, and the bytes after it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SplitHello {
    pub(super) hello: Vec<u8>,
    pub(super) rest: Vec<u8>,
}

/// Splits what follows the token's newline into the hello and the bytes after it. `Ok(None)` means that more
/// bytes are needed.
pub(super) fn split(received: &[u8]) -> Result<Option<SplitHello>, Diagnosis> {
    // Wrong bytes are refused as soon as they arrive, because the peer may never send eight.
    let magic = received.len().min(MAGIC.len());
    if received[..magic] != MAGIC[..magic] {
        return Err(wrong_magic(received));
    }
    let Some((version, rest)) = received[magic..].split_first_chunk() else {
        return Ok(None);
    };
    let version = u16::from_be_bytes(*version);
    if version != VERSION {
        let text = format!("the child speaks protocol version {version}, this program version {VERSION}");
        return Err(Diagnosis::new(ConnectErrorKind::Mismatch, text, "run the same build on both sides"));
    }
    let Some((length, rest)) = rest.split_first_chunk() else {
        return Ok(None);
    };
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if length > MAX_HELLO {
        let text = format!("the child introduces itself with {length} bytes (max {MAX_HELLO}): it is not one of ours");
        return Err(Diagnosis::plain(ConnectErrorKind::Oversize, text));
    }
    Ok(rest.split_at_checked(length).map(|(hello, rest)| SplitHello { hello: hello.to_vec(), rest: rest.to_vec() }))
}

fn wrong_magic(received: &[u8]) -> Diagnosis {
    let shown = received[..received.len().min(SHOWN)].escape_ascii();
    // The magic contains CR LF, a lone LF and an end-of-file character, so that a change by a terminal is
    // detected.
    let hint = if received.starts_with(&MAGIC[..4]) || received.starts_with(b"\tOFS") {
        "something in between, perhaps a terminal, changes bytes"
    } else {
        ""
    };
    let text = format!("the child's first bytes are not those of a handshake: received \"{shown}\"");
    Diagnosis::new(ConnectErrorKind::Corrupt, text, hint)
}

/// Appends what identifies a program to the other end: magic, version, length and hello.
pub(crate) fn append_hello(hello: &[u8], to: &mut Vec<u8>) {
    to.extend_from_slice(&MAGIC);
    to.extend_from_slice(&VERSION.to_be_bytes());
    to.extend_from_slice(&u32::try_from(hello.len()).unwrap_or(u32::MAX).to_be_bytes());
    to.extend_from_slice(hello);
}

/// Everything that a child writes before it receives the welcome.
pub(crate) fn hello_bytes(nonce: &crate::connect::bootstrap::Nonce, hello: &[u8]) -> Vec<u8> {
    let mut bytes = nonce.token().into_bytes();
    bytes.push(b'\n');
    append_hello(hello, &mut bytes);
    bytes
}

/// How many unexpected bytes an error shows.
const SHOWN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::bootstrap::Nonce;

    fn after_token(hello: &[u8]) -> Vec<u8> {
        hello_bytes(&Nonce::from_bytes([7; 16]), hello).split_off(33)
    }

    #[test]
    fn an_opening_splits_into_hello_and_the_rest() {
        let mut bytes = after_token(b"hello");
        bytes.extend_from_slice(b"frames");
        assert_eq!(split(&bytes), Ok(Some(SplitHello { hello: b"hello".to_vec(), rest: b"frames".to_vec() })));
        for end in 0..14 + 5 {
            assert_eq!(split(&bytes[..end]), Ok(None), "{end}");
        }
        assert_eq!(split(&after_token(b"")), Ok(Some(SplitHello { hello: Vec::new(), rest: Vec::new() })));
    }

    #[test]
    fn another_version_is_named_beside_ours() {
        let mut bytes = after_token(b"");
        bytes[8..10].copy_from_slice(&[1, 2]);
        let Diagnosis { kind, text, .. } = split(&bytes).unwrap_err();
        assert_eq!(kind, ConnectErrorKind::Mismatch);
        assert!(text.contains("version 258, this program version 1"), "{text}");
    }

    #[test]
    fn a_long_hello_is_refused_before_it_is_stored() {
        for length in [4097, u32::MAX] {
            let mut bytes = after_token(b"");
            bytes[10..14].copy_from_slice(&length.to_be_bytes());
            let Diagnosis { kind, text, .. } = split(&bytes).unwrap_err();
            assert_eq!(kind, ConnectErrorKind::Oversize);
            assert!(text.contains(&length.to_string()), "{text}");
        }
        assert_eq!(split(&after_token(&[1; 4096])).unwrap().unwrap().hello.len(), 4096);
    }

    #[test]
    fn wrong_magic_is_shown_escaped() {
        let Diagnosis { kind, text, .. } = split(b"Segmentation\x1b[0m fault\n").unwrap_err();
        assert_eq!(kind, ConnectErrorKind::Corrupt);
        assert!(text.ends_with(r#"received "Segmentation\x1b[0m fault\n""#), "{text}");
        // A terminal changes LF to CR LF.
        let advice = split(b"\x89OFS\r\r\n\x1a\r\n").unwrap_err().advice;
        assert!(advice.contains("terminal"), "{advice}");
    }
}
