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

/// What was simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// The storage of one node.
    L0,
    /// A cluster.
    L1,
    /// A cluster with its brokers, and clients.
    L2,
}

impl Layer {
    /// As the command calls it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::L0 => "l0",
            Self::L1 => "l1",
            Self::L2 => "l2",
        }
    }
}

/// A seed that found something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Where.
    pub layer: Layer,
    /// The seed.
    pub seed: u64,
    /// The fault that was planted.
    pub plant: Option<String>,
    /// What must not be.
    pub reason: String,
}

impl Failure {
    /// The reason in a failure's words.
    pub(crate) fn reason_in(words: &str) -> Option<String> {
        let (_, rest) = words.split_once(" failed: ")?;
        let (reason, _) = rest.rsplit_once("\nreplay with: ")?;
        Some(reason.to_owned())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { layer, seed, plant, reason } = self;
        let layer = layer.name();
        writeln!(f, "seed {seed} failed: {reason}")?;
        write!(
            f,
            "replay with: cargo run -p quipu-sim -- {layer} --from {seed} --seeds 1 --trace"
        )?;
        plant.as_ref().map_or(Ok(()), |plant| write!(f, " --plant {plant}"))
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
    let plant = plant.map(|plant| plant.to_string());
    Err(Failure { layer: Layer::L0, seed, plant, reason })
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
    run_all(seeds, jobs, &|seed| run_seed(seed, &Trace::silent(), plant).map(|_| passed()))
}

/// Runs seeds of any layer on `jobs` threads until one fails.
///
/// # Errors
/// The lowest seed that failed, of those that ran.
pub(crate) fn run_all(
    seeds: Range<u64>,
    jobs: usize,
    run: &(dyn Fn(u64) -> Result<(), Failure> + Sync),
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
                    if let Err(failure) = run(seed) {
                        is_over.store(true, Ordering::Relaxed);
                        let mut all = failures.lock().unwrap_or_else(PoisonError::into_inner);
                        all.push(failure);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    failures.into_iter().min_by_key(|failure| failure.seed).map_or(Ok(()), Err)
}
