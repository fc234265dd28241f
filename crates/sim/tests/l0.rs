//! The storage of one node under faults: nothing is found, and what was planted is.

use quipu_sim::{Plant, Trace, run_seed, run_seeds};

/// CI runs more with the program.
const SEEDS: u64 = 10_000;
/// A planted fault must show within so many.
const SEEDS_TO_FIND: u64 = 2_000;

#[test]
fn nothing_that_was_promised_is_lost_and_nothing_is_invented() {
    if let Err(failure) = run_seeds(0..SEEDS, 1, None, &|| {}) {
        panic!("{failure}");
    }
}

#[test]
fn one_seed_gives_one_trace() {
    let hash = |seed| run_seed(seed, &Trace::hashed(), None).unwrap();
    let mut hashes: Vec<u64> = (0..50)
        .map(|seed| {
            let first = hash(seed);
            assert_eq!(hash(seed), first, "seed {seed}");
            first.hash
        })
        .collect();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 50, "seeds differ from each other");
}

/// A run that does nothing finds nothing.
#[test]
fn every_kind_of_event_happens_often() {
    let mut text = String::new();
    for seed in 0..150 {
        let trace = Trace::readable();
        run_seed(seed, &trace, None).unwrap();
        text += &trace.text();
    }
    for (event, least) in [
        (" appends ", 1_000),
        (" applied ", 2_000),
        (" checkpoints ", 500),
        (" purges to ", 100),
        (" truncates after ", 100),
        (" votes in ", 300),
        (" installed ", 100),
        (" drops its log", 1),
        ("\nPowerCut", 300),
        ("\nKill", 100),
        ("\nclose", 50),
        ("the power is cut", 300),
        ("Input/output error", 50),
        ("no storage space", 10),
        ("/partitions/generation-1/", 1_000),
        (".timeindex", 1_000),
    ] {
        let found = text.matches(event).count();
        assert!(found >= least, "{event:?} happened {found} times, wanted are {least}");
    }
}

#[test]
fn each_planted_fault_is_found() {
    let missed: Vec<Plant> = Plant::HARMFUL
        .into_iter()
        .filter(|plant| {
            let found = run_seeds(0..SEEDS_TO_FIND, 1, Some(*plant), &|| {});
            match &found {
                Err(failure) => println!("{plant}: {failure}\n"),
                Ok(()) => println!("{plant}: missed"),
            }
            found.is_ok()
        })
        .collect();
    assert!(missed.is_empty(), "not found within {SEEDS_TO_FIND} seeds: {missed:?}");
}

/// Indexes are derived: a start builds them again.
#[test]
fn indexes_that_never_reach_the_disk_do_no_harm() {
    if let Err(failure) = run_seeds(0..500, 1, Some(Plant::IndexFlushLies), &|| {}) {
        panic!("{failure}");
    }
}
