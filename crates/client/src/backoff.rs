//! Pauses between attempts: doubling, bounded, spread so that clients do not come back together.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(20);
/// Short enough that an election is noticed soon after it ended.
const LONGEST: Duration = Duration::from_millis(500);

/// The pause before attempt `failures + 1`: 20 ms doubling to 500 ms, at least `at_least`, times a
/// random factor between 0.8 and 1.2.
pub(crate) fn pause(failures: u32, at_least: Duration) -> Duration {
    let doubled = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(LONGEST);
    spread(doubled.max(at_least))
}

/// A pause times a random factor between 0.8 and 1.2.
pub(crate) fn spread(pause: Duration) -> Duration {
    let spread = 800 + random() % 401;
    pause.saturating_mul(u32::try_from(spread).expect("at most 1200")) / 1000
}

/// A random number from the process's hash seed: good enough to spread pauses and partitions.
pub(crate) fn random() -> u64 {
    RandomState::new().hash_one(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_respect_the_server() {
        let none = Duration::ZERO;
        for _ in 0..100 {
            assert!((16..=24).contains(&pause(1, none).as_millis()));
            assert!((64..=96).contains(&pause(3, none).as_millis()));
            assert!((400..=600).contains(&pause(40, none).as_millis()));
            assert!(pause(1, Duration::from_secs(2)) >= Duration::from_millis(1600));
        }
    }
}
