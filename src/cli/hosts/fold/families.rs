//! Names that differ in numbers only, put together.

use std::hash::{BuildHasher, Hasher};

use crate::cli::hosts::fold::MAX_PLACES;
use crate::cli::hosts::fold::parts::Pieces;

/// A name by its index, with a hash of what it has in common with its family.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Member {
    hash: u64,
    pub(super) nth: u32,
}

/// The names as members of families, those of one family side by side.
pub(super) fn members(names: &[&str]) -> Vec<Member> {
    // The hash state is random, because names may come from files of other users.
    let state = foldhash::fast::RandomState::default();
    let member = |(nth, name): (usize, &&str)| {
        let mut hasher = state.build_hasher();
        for (word, number) in Pieces::of(name, MAX_PLACES) {
            hasher.write(word.as_bytes());
            hasher.write_u8(u8::from(number.is_some()));
        }
        Member { hash: hasher.finish(), nth: nth as u32 }
    };
    let mut members: Vec<Member> = names.iter().enumerate().map(member).collect();
    members.sort_unstable();
    members
}

/// The families: the members of each, which have one hash.
pub(super) fn families(members: &[Member]) -> impl Iterator<Item = &[Member]> {
    members.chunk_by(|a, b| a.hash == b.hash)
}
