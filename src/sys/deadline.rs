//! When time limits end.

use std::time::{Duration, Instant};

/// The longest limit that is kept: some thirty years. The clock cannot represent every later time.
pub(crate) const LONGEST: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// When a limit ends that begins now. A longer one than [`LONGEST`] ends as that one does.
pub(crate) fn deadline(limit: Duration) -> Instant {
    Instant::now() + limit.min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_limit_is_too_long() {
        let far = deadline(Duration::MAX);
        assert!(far > Instant::now() + LONGEST / 2);
        assert!(deadline(Duration::from_secs(1)) < far);
    }
}
