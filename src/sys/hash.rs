//! Maps and sets for small keys, such as ids and handles, that are looked up several times per message.

use std::hash::{BuildHasher, Hash, Hasher};

/// A map with a quick hash function. It has a random seed, so that another process cannot choose keys that collide.
pub(crate) type HashMap<K, V> = std::collections::HashMap<K, V, QuickState>;

/// A set with the same hash function.
pub(crate) type HashSet<T> = std::collections::HashSet<T, QuickState>;

/// The secret of one map.
#[derive(Clone, Debug)]
pub(crate) struct QuickState {
    seed: u64,
    factor: u64,
}

/// Takes one step per number, as foldhash does for a key of one number. What foldhash does for longer keys makes it larger,
/// and then it is not inlined.
#[derive(Debug)]
pub(crate) struct QuickHasher {
    state: u64,
    factor: u64,
}

impl Default for QuickState {
    fn default() -> Self {
        let random = foldhash::fast::RandomState::default();
        Self { seed: random.hash_one(0), factor: random.hash_one(1) | 1 }
    }
}

impl BuildHasher for QuickState {
    type Hasher = QuickHasher;

    #[inline(always)]
    fn build_hasher(&self) -> QuickHasher {
        QuickHasher { state: self.seed, factor: self.factor }
    }

    #[inline(always)]
    #[expect(clippy::manual_hash_one, reason = "this is the method itself, which is not inlined otherwise")]
    fn hash_one<T: Hash>(&self, key: T) -> u64 {
        let mut hasher = self.build_hasher();
        key.hash(&mut hasher);
        hasher.finish()
    }
}

impl Hasher for QuickHasher {
    #[inline(always)]
    fn finish(&self) -> u64 {
        self.state
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    #[inline(always)]
    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    /// All bits of the product are used: those above the upper half as well as those below.
    #[inline(always)]
    fn write_u64(&mut self, number: u64) {
        let product = u128::from(self.state ^ number).wrapping_mul(u128::from(self.factor));
        self.state = (product >> 64) as u64 ^ product as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_of_near_numbers_differ_in_the_bits_that_tables_use() {
        let state = QuickState::default();
        for bits in [0..7, 0..12, 57..64] {
            let slot = |number: u32| state.hash_one((number, 7u32)) >> bits.start & ((1 << bits.len()) - 1);
            let count = 4 << bits.len();
            let mut full = vec![0u32; 1 << bits.len()];
            (0..count).for_each(|number| full[slot(number) as usize] += 1);
            let most = full.iter().max().copied().unwrap_or_default();
            assert!(most < 40, "{most} of {count} in one of {} places", full.len());
        }
    }

    #[test]
    fn two_maps_hash_differently_and_order_counts() {
        let (one, other) = (QuickState::default(), QuickState::default());
        assert_ne!(one.hash_one(1u32), other.hash_one(1u32));
        assert_ne!(one.hash_one((1u32, 2u32)), one.hash_one((2u32, 1u32)));
        assert_ne!(one.hash_one("ab"), one.hash_one("ba"));
    }
}
