//! A cluster under faults: nothing is found, and what was planted is.

use std::path::Path;
use std::process::Command;

use quipu_sim::l1::{Event, Plant, run_seeds};

/// CI runs more with the program.
const SEEDS: u64 = 200;
/// A planted fault must show within so many.
const SEEDS_TO_FIND: u64 = 200;

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_quipu-sim"))
}

/// One walk over all seeds serves both: nothing may be found, and a run that does nothing finds
/// nothing.
#[test]
fn nothing_that_was_promised_is_lost_while_everything_happens_often() {
    let census = run_seeds(program(), 0..SEEDS, 1, None, &|| {});
    let census = census.unwrap_or_else(|failure| panic!("{failure}"));
    println!("{census}");
    for (event, least) in [
        (Event::Applied, 20_000),
        (Event::Acknowledged, 5_000),
        (Event::Unknown, 200),
        (Event::Refused, 200),
        (Event::Repeated, 100),
        (Event::Read, 800),
        (Event::Elected, 500),
        (Event::HandedOver, 30),
        (Event::Checkpointed, 2_000),
        (Event::Purged, 100),
        (Event::Installed, 30),
        (Event::Truncated, 15),
        (Event::Killed, 400),
        (Event::PowerCut, 800),
        (Event::Stopped, 60),
        (Event::Blackout, 150),
        (Event::DiskFailed, 60),
        (Event::Partitioned, 500),
        (Event::Disconnected, 1_500),
        (Event::Paused, 300),
        (Event::Slowed, 300),
        (Event::Compared, 2_000),
        (Event::MoveBegun, 200),
        (Event::MovedBack, 20),
        (Event::MoveDone, 100),
        (Event::ReplicaAdded, 100),
        (Event::ReplicaRemoved, 100),
        (Event::ReplicaReplaced, 20),
        (Event::FreshFed, 50),
        (Event::FeedCutShort, 3),
        (Event::Evicted, 100),
    ] {
        let found = census.of(event);
        assert!(found >= least, "{event:?} happened {found} times, wanted are {least}");
    }
}

#[test]
fn one_seed_gives_one_trace() {
    let trace = |seed: u64| {
        let mut command = Command::new(program());
        command.args(["l1", "--trace", "--seeds", "1", "--from", &seed.to_string()]);
        command.output().expect("the program runs").stdout
    };
    let mut traces: Vec<Vec<u8>> = (0..50)
        .map(|seed| {
            let first = trace(seed);
            assert!(trace(seed) == first, "seed {seed} has two traces");
            first
        })
        .collect();
    traces.sort_unstable();
    traces.dedup();
    assert_eq!(traces.len(), 50, "seeds differ from each other");
}

/// Those that few seeds are enough for; the program finds the others.
#[test]
fn planted_faults_are_found() {
    let missed: Vec<Plant> = Plant::QUICK
        .into_iter()
        .filter(|plant| {
            let found = run_seeds(program(), 0..SEEDS_TO_FIND, 1, Some(*plant), &|| {});
            match &found {
                Err(failure) => println!("{plant}: {failure}\n"),
                Ok(_) => println!("{plant}: missed"),
            }
            found.is_ok()
        })
        .collect();
    assert!(missed.is_empty(), "not found within {SEEDS_TO_FIND} seeds: {missed:?}");
}
