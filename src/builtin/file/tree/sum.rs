//! The digest of content.

use std::hash::Hasher;

use sha2::{Digest as _, Sha256};
use twox_hash::XxHash64;

use super::message::Digest;

/// How content is summed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SumKind {
    /// Finds damage. An author of both contents can make them have the same digest.
    Quick,
    /// Two contents that have the same digest are the same, even if somebody has chosen them to differ. Takes several times as long.
    Sha256,
}

/// The digest of content that comes in pieces.
#[derive(Debug, Clone)]
pub(crate) enum Sum {
    Quick(XxHash64),
    Sha256(Sha256),
}

impl Sum {
    pub(crate) fn new(kind: SumKind) -> Self {
        match kind {
            SumKind::Quick => Self::Quick(XxHash64::with_seed(0)),
            SumKind::Sha256 => Self::Sha256(Sha256::new()),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Quick(hash) => hash.write(bytes),
            Self::Sha256(hash) => hash.update(bytes),
        }
    }

    /// The digest of all that has come.
    pub(crate) fn digest(&self) -> Digest {
        match self {
            Self::Quick(hash) => {
                let mut digest = Digest::default();
                digest[..8].copy_from_slice(&hash.finish().to_be_bytes());
                digest
            }
            Self::Sha256(hash) => hash.clone().finalize().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_do_not_matter_and_each_byte_does() {
        let content: Vec<u8> = (0..200).collect();
        for kind in [SumKind::Quick, SumKind::Sha256] {
            let of = |pieces: &[&[u8]]| {
                let mut sum = Sum::new(kind);
                pieces.iter().for_each(|piece| sum.update(piece));
                sum.digest()
            };
            let whole = of(&[&content]);
            for at in 0..content.len() {
                assert_eq!(of(&[&content[..at], &content[at..]]), whole);
                assert_ne!(of(&[&content[..at]]), whole);
                let mut other = content.clone();
                other[at] ^= 1;
                assert_ne!(of(&[&other]), whole);
            }
        }
    }
}
