//! Seeds that found something once: they run for ever.
//!
//! To add one, take the number that `quipu-sim` printed and say what it found; if the fault can be
//! planted again (`quipu_sim::Plant`), name it, and the seed must still find it. A change of what
//! the simulator draws gives the numbers another meaning: then look for another seed with
//! `quipu-sim l0 --plant NAME`. A cluster's seed has another meaning with every message more: what
//! it found has a test of its own.

use std::path::Path;

use quipu_sim::{Plant, Trace, l1, run_seed};

/// The seed, the fault it finds when planted, and what it was.
const FOUND: [(u64, Option<Plant>, &str); 1] = [(
    731,
    Some(Plant::InstallAheadOfJournal),
    "a snapshot was durable before the truncation of the log that conflicts with it",
)];

/// The same of clusters.
const FOUND_IN_CLUSTERS: [(u64, &str); 2] = [
    (
        10_230,
        "a leader took a step that had been confirmed four terms before; others had led since, and \
         had called the move done (l1::scripted goes that way)",
    ),
    (
        10_548,
        "the leader of the metadata group refused a change of members while the cluster was set \
         up: it had heard too little of the others",
    ),
];

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

#[test]
fn what_was_found_once_in_a_cluster_is_found_no_more() {
    let program = Path::new(env!("CARGO_BIN_EXE_quipu-sim"));
    for (seed, what) in FOUND_IN_CLUSTERS {
        if let Err(failure) = l1::run_seeds(program, seed..seed + 1, 1, None, &|| {}) {
            panic!("{failure}\nonce it was: {what}");
        }
    }
}
