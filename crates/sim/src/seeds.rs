//! Runs seeds, one after another or several at a time.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::panics::caught;
use crate::plant::Plant;
use crate::stop::Stop;
use crate::trace::Trace;
use crate::world::World;

/// A seed that ran to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// The hash of everything that happened.
    pub hash: u64,
    /// How many events there were.
    pub events: u64,
}

/// A seed that found something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// The fault that was planted.
    pub plant: Option<Plant>,
    /// What must not be.
    pub reason: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, plant, reason } = self;
        writeln!(f, "seed {seed} failed: {reason}")?;
        write!(f, "replay with: cargo run -p quipu-sim -- l0 --from {seed} --seeds 1 --trace")?;
        plant.map_or(Ok(()), |plant| write!(f, " --plant {plant}"))
    }
}

/// Runs one seed; `trace` hears everything.
///
/// # Errors
/// What the seed found.
pub fn run_seed(seed: u64, trace: &Trace, plant: Option<Plant>) -> Result<Passed, Failure> {
    let ran = caught(|| World::new(seed, trace.clone(), plant).run());
    let reason = match ran {
        Ok(Ok(())) => return Ok(Passed { hash: trace.hash(), events: trace.events() }),
        Ok(Err(Stop::Violation(reason))) => reason,
        Ok(Err(Stop::Fault)) => "a fault ended the run, not a life".to_owned(),
        Err(panic) => panic,
    };
    Err(Failure { seed, plant, reason })
}

/// Runs seeds on `jobs` threads until one fails; `passed` is called after each that did not.
///
/// # Errors
/// The lowest seed that failed, of those that ran.
pub fn run_seeds(
    seeds: Range<u64>,
    jobs: usize,
    plant: Option<Plant>,
    passed: &(dyn Fn() + Sync),
) -> Result<(), Failure> {
    let next = AtomicU64::new(seeds.start);
    let is_over = AtomicBool::new(false);
    let failures: Mutex<Vec<Failure>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    match run_seed(seed, &Trace::hashed(), plant) {
                        Ok(_) => passed(),
                        Err(failure) => {
                            is_over.store(true, Ordering::Relaxed);
                            let mut all = failures.lock().unwrap_or_else(PoisonError::into_inner);
                            all.push(failure);
                        }
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    failures.into_iter().min_by_key(|failure| failure.seed).map_or(Ok(()), Err)
}
