//! Random numbers that can be reproduced.

use std::time::Duration;

/// The number of rounds of a random trial: `usual`, or the value of the variable `OFS_ROUNDS`.
pub(crate) fn rounds(usual: u32) -> u32 {
    std::env::var("OFS_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(usual)
}

/// SplitMix64.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// Seeds from the variable `OFS_SEED`, or else from the clock. The text says how to get the same numbers
    /// again.
    pub(crate) fn new(what: &str) -> (Self, String) {
        let given = std::env::var("OFS_SEED").ok().and_then(|seed| seed.parse().ok());
        let clock = || std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_micros() as u64 % 1_000_000_007;
        let seed = given.unwrap_or_else(clock);
        // Trials that run side by side with one seed get different numbers.
        let salt = what.bytes().fold(0_u64, |salt, byte| salt.wrapping_mul(31).wrapping_add(byte.into()));
        (Self(seed ^ (salt << 32)), format!("OFS_SEED={seed}"))
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit.max(1)
    }

    /// A time of at most `limit`.
    pub(crate) fn time(&mut self, limit: Duration) -> Duration {
        Duration::from_micros(self.below(limit.as_micros() as u64 + 1))
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}
