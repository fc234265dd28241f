//! Seeds that found something once: they run for ever.
//!
//! To add one, take the number that `quipu-sim` printed and say what it found; if the fault can be
//! planted again (`quipu_sim::Plant`), name it, and the seed must still find it. A change of what
//! the simulator draws gives the numbers another meaning: then look for another seed with
//! `quipu-sim l0 --plant NAME`.

use quipu_sim::{Plant, Trace, run_seed};

/// The seed, the fault it finds when planted, and what it was.
const FOUND: [(u64, Option<Plant>, &str); 1] = [(
    731,
    Some(Plant::InstallAheadOfJournal),
    "a snapshot was durable before the truncation of the log that conflicts with it",
)];

#[test]
fn what_was_found_once_is_found_no_more_unless_it_is_planted_again() {
    for (seed, plant, what) in FOUND {
        if let Err(failure) = run_seed(seed, &Trace::hashed(), None) {
            panic!("{failure}\nonce it was: {what}");
        }
        if let Some(plant) = plant {
            let found = run_seed(seed, &Trace::hashed(), Some(plant));
            assert!(found.is_err(), "seed {seed} does not find any more: {what}");
        }
    }
}
