//! Clients of a cluster under faults: nothing is found, and what was planted is.

use std::path::Path;
use std::process::Command;

use quipu_sim::l2::{Event, Plant, run_seeds};

/// CI runs more with the program.
const SEEDS: u64 = 40;
/// A planted fault must show within so many; each does within forty.
const SEEDS_TO_FIND: u64 = 200;
/// Seeds that are run twice.
const SEEDS_TWICE: u64 = 4;

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_quipu-sim"))
}

/// One walk over all seeds serves both: nothing may be found, and a run that does nothing finds
/// nothing.
#[test]
fn clients_are_given_what_they_are_promised_while_everything_happens_often() {
    let census = run_seeds(program(), 0..SEEDS, 1, None, &|| {});
    let census = census.unwrap_or_else(|failure| panic!("{failure}"));
    println!("{census}");
    for (event, least) in [
        (Event::Applied, 10_000),
        (Event::Elected, 120),
        (Event::HandedOver, 15),
        (Event::Installed, 15),
        (Event::Killed, 50),
        (Event::PowerCut, 100),
        (Event::Partitioned, 60),
        (Event::Paused, 30),
        (Event::Stored, 3_000),
        (Event::SentAgain, 500),
        (Event::Duplicate, 50),
        (Event::InDoubt, 100),
        (Event::Identified, 150),
        (Event::Fetched, 1_500),
        (Event::BelowStart, 80),
        (Event::Joined, 400),
        (Event::Resumed, 250),
        (Event::Taken, 250),
        (Event::LetGo, 20),
        (Event::HandedOn, 20),
        (Event::TakenAway, 100),
        (Event::Expired, 20),
        (Event::Died, 30),
        (Event::Stalled, 40),
        (Event::LeftGroup, 15),
        (Event::Handled, 6_000),
        (Event::HandledAgain, 150),
        (Event::Committed, 600),
        (Event::CommitRefused, 1),
        (Event::LateCommit, 5),
        (Event::LookedUp, 250),
        (Event::Retired, 250),
        (Event::Deleted, 35),
        (Event::Skipped, 80),
        (Event::Jumped, 70),
    ] {
        let found = census.of(event);
        assert!(found >= least, "{event:?} happened {found} times, wanted are {least}");
    }
}

#[test]
fn one_seed_gives_one_trace() {
    let trace = |seed: u64| {
        let mut command = Command::new(program());
        command.args(["l2", "--trace", "--seeds", "1", "--from", &seed.to_string()]);
        command.output().expect("the program runs").stdout
    };
    let mut traces: Vec<Vec<u8>> = (0..SEEDS_TWICE)
        .map(|seed| {
            let first = trace(seed);
            assert!(trace(seed) == first, "seed {seed} has two traces");
            first
        })
        .collect();
    traces.sort_unstable();
    traces.dedup();
    assert_eq!(u64::try_from(traces.len()), Ok(SEEDS_TWICE), "seeds differ from each other");
}

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
