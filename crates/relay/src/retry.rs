//! How often, and after which pauses, something is tried again.

use std::time::Duration;

/// Exponential backoff with jitter, for transient errors only.
///
/// ```
/// use pghaul_relay::Retry;
///
/// let retry = Retry::default();
/// let first = retry.pause(7, 1);
/// assert!(retry.first / 2 <= first && first <= retry.first);
/// assert!(retry.pause(7, 100) <= retry.limit);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in total, the first one included. One is always made.
    pub attempts: u32,
    /// The pause after the first attempt; it doubles with each further one.
    pub first: Duration,
    /// No pause is longer.
    pub limit: Duration,
}

impl Default for Retry {
    /// Five attempts within about 15 seconds, which a server needs to restart.
    fn default() -> Self {
        Self {
            attempts: 5,
            first: Duration::from_secs(1),
            limit: Duration::from_secs(30),
        }
    }
}

impl Retry {
    /// The pause after `attempt` (counted from 1), between half and all of the backoff.
    ///
    /// Different seeds spread differently, so that lanes that failed together do not return
    /// together; the same seed always gives the same pause.
    pub fn pause(&self, seed: u32, attempt: u32) -> Duration {
        let doubled = 2u32.saturating_pow(attempt.saturating_sub(1).min(31));
        let full = self.first.saturating_mul(doubled).min(self.limit);
        let spread = scatter(u64::from(seed) << 32 | u64::from(attempt)) >> 40;
        full.mul_f64(0.5 + spread as f64 / (1u64 << 25) as f64)
    }
}

/// A mixing step of splitmix64 (Steele, Lea, Flood 2014): spreads neighbours over all values.
fn scatter(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use super::Retry;

    #[test]
    fn pauses_double_up_to_the_limit_and_differ_between_parts() {
        let retry = Retry {
            attempts: 5,
            first: Duration::from_secs(1),
            limit: Duration::from_secs(4),
        };
        for (attempt, full) in [(1, 1), (2, 2), (3, 4), (4, 4), (u32::MAX, 4)] {
            let pause = retry.pause(1, attempt);
            let full = Duration::from_secs(full);
            assert!(full / 2 <= pause && pause <= full, "{attempt}: {pause:?}");
            assert_eq!(pause, retry.pause(1, attempt));
        }
        let pauses: HashSet<_> = (0..100).map(|seed| retry.pause(seed, 1)).collect();
        assert!(pauses.len() > 90);
    }
}
