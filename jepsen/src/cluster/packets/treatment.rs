//! What happens to a packet, drawn from a seed.

use std::time::{Duration, Instant};

use quipu_runtime::Rng;

/// A delay: 100 ms, give or take 50.
const DELAY_MS: (u64, u64) = (50, 150);
/// How long a packet is overtaken.
const OVERTAKEN_MS: (u64, u64) = (2, 40);
/// One packet of so many is overtaken.
const OVERTAKEN_OF: u64 = 4;
/// One packet of so many is spoiled.
const SPOILED_OF: u64 = 60;

/// What is done to packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Treatment {
    /// All are late, in their order.
    Delay,
    /// Some are overtaken by others.
    Reorder,
    /// In some a bit is flipped, and the checksum of TCP made to fit.
    Spoil,
}

/// What happens to one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fate {
    /// When it goes on.
    pub(super) due: Instant,
    /// Whether a bit of what it carries is flipped.
    pub(super) is_spoiled: bool,
}

impl Treatment {
    /// Decides on a packet that came at `now`; none that came before goes on later than `last`.
    pub(super) fn decide(self, rng: &mut Rng, now: Instant, last: Instant) -> Fate {
        let on_time = Fate { due: now, is_spoiled: false };
        match self {
            Self::Delay => Fate { due: (now + between(rng, DELAY_MS)).max(last), ..on_time },
            Self::Reorder if rng.below(OVERTAKEN_OF) == 0 => {
                Fate { due: now + between(rng, OVERTAKEN_MS), ..on_time }
            }
            Self::Reorder => on_time,
            Self::Spoil => Fate { is_spoiled: rng.below(SPOILED_OF) == 0, ..on_time },
        }
    }
}

fn between(rng: &mut Rng, (least, most): (u64, u64)) -> Duration {
    Duration::from_millis(least + rng.below(most - least))
}

#[cfg(test)]
mod tests {
    use quipu_runtime::Clock;

    use super::*;

    fn fates(treatment: Treatment, seed: u64) -> (Instant, Vec<Fate>) {
        let now = Clock::thread_instant();
        let (mut rng, mut last, mut fates) = (Rng::seeded(seed), now, Vec::new());
        for place in 0..1000 {
            let fate = treatment.decide(&mut rng, now + Duration::from_millis(place), last);
            last = last.max(fate.due);
            fates.push(fate);
        }
        (now, fates)
    }

    #[test]
    fn delayed_packets_keep_their_order_and_are_late() {
        let (now, fates) = fates(Treatment::Delay, 3);
        assert!(fates.is_sorted_by_key(|fate| fate.due));
        assert!(fates.iter().all(|fate| fate.due >= now + Duration::from_millis(50)));
        assert!(fates.iter().all(|fate| !fate.is_spoiled));
    }

    #[test]
    fn reordered_packets_overtake_each_other_and_most_are_on_time() {
        let (now, fates) = fates(Treatment::Reorder, 3);
        assert!(!fates.is_sorted_by_key(|fate| fate.due));
        let arrivals = (0..).map(|place| now + Duration::from_millis(place));
        let late = fates.iter().zip(arrivals).filter(|(fate, came)| fate.due > *came).count();
        assert!((200..300).contains(&late), "{late} are late");
    }

    #[test]
    fn few_packets_are_spoiled_and_a_seed_says_which() {
        let spoiled = |seed| -> Vec<usize> {
            let (_, fates) = fates(Treatment::Spoil, seed);
            (0..fates.len()).filter(|place| fates[*place].is_spoiled).collect()
        };
        assert!((5..40).contains(&spoiled(3).len()));
        assert_eq!(spoiled(3), spoiled(3));
        assert_ne!(spoiled(3), spoiled(4));
    }
}
