//! Base64, for output in JSON that is not text.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Encodes with the standard alphabet and padding (RFC 4648, section 4).
pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |n: usize| u32::from(chunk.get(n).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for n in 0..4 {
            // n bytes give n + 1 characters; the rest is padding.
            let digit = (group >> (18 - 6 * n)) as usize % 64;
            text.push(if n <= chunk.len() { char::from(ALPHABET[digit]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(text: &str) -> Vec<u8> {
        let digit = |b: u8| ALPHABET.iter().position(|a| *a == b).unwrap() as u32;
        let mut bytes = Vec::new();
        for chunk in text.as_bytes().chunks(4) {
            let padding = chunk.iter().filter(|b| **b == b'=').count();
            let group = chunk.iter().fold(0, |group, b| group << 6 | if *b == b'=' { 0 } else { digit(*b) });
            bytes.extend_from_slice(&group.to_be_bytes()[1..4 - padding]);
        }
        bytes
    }

    #[test]
    fn the_examples_of_the_standard_hold() {
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(plain.as_bytes()), encoded);
        }
        assert_eq!(encode(b"\xff\xfe\xfb"), "//77");
    }

    proptest! {
        #[test]
        fn what_is_encoded_can_be_decoded(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(decode(&encode(&bytes)), bytes);
        }
    }
}
