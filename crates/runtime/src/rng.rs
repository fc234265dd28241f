//! Chance as a parameter.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// A small generator (splitmix64): for jitter, ids of no consequence and seeded tests; not for
/// secrets.
#[derive(Clone, Debug)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// The same seed gives the same numbers.
    #[must_use]
    pub const fn seeded(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Seeded by the process's own randomness.
    #[must_use]
    pub fn from_entropy() -> Self {
        Self::seeded(RandomState::new().hash_one(()))
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `0..bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.next_u64()) * u128::from(bound);
        u64::try_from(wide >> 64).expect("the high half of a 128-bit product has 64 bits")
    }

    /// `base` give or take a share of it: `jitter(1 s, 0.2)` lies in 0.8 s..1.2 s.
    pub fn jitter(&mut self, base: Duration, share: f64) -> Duration {
        let unit = f64::from(u32::try_from(self.next_u64() >> 32).expect("32 bits are left"))
            / f64::from(u32::MAX);
        base.mul_f64((1.0 + share * (2.0 * unit - 1.0)).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_sequence_within_its_bounds() {
        let (mut a, mut b) = (Rng::seeded(7), Rng::seeded(7));
        for bound in 1..1000 {
            let drawn = a.below(bound);
            assert_eq!(drawn, b.below(bound));
            assert!(drawn < bound);
        }
        assert_eq!(a.below(0), 0);
        let jittered = a.jitter(Duration::from_secs(1), 0.2);
        assert!((0.8..=1.2).contains(&jittered.as_secs_f64()), "{jittered:?}");
    }
}
