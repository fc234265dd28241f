//! Runs seeds, each in a process of its own, as L1 does.

use std::ops::Range;
use std::path::Path;

use super::plant::Plant;
use crate::l1::run::{run_all_apart, run_one};
use crate::l1::{Census, Passed};
use crate::seeds::{Failure, Layer};
use crate::trace::Trace;

/// Runs one seed, here and now; `trace` hears everything. One seed gives one trace in the first
/// run of a process, and a fault of the product stays planted in it.
///
/// # Errors
/// What the seed found.
///
/// # Panics
/// When the machine gives no thread.
pub fn run_seed(seed: u64, trace: &Trace, plant: Option<Plant>) -> Result<Passed, Failure> {
    if let Some(name) = plant.and_then(Plant::of_the_product) {
        quipu_failpoint::arm(&format!("{name}=return")).expect("the plant is in the table");
    }
    run_one(Layer::L2, seed, trace, plant.map(Into::into))
}

/// Runs seeds, `jobs` processes of `program` (`quipu-sim`) at a time, until one fails; `passed` is
/// called after each that did not. Gives what happened in all of them.
///
/// # Errors
/// The lowest seed that failed, of those that ran.
pub fn run_seeds(
    program: &Path,
    seeds: Range<u64>,
    jobs: usize,
    plant: Option<Plant>,
    passed: &(dyn Fn() + Sync),
) -> Result<Census, Failure> {
    run_all_apart(Layer::L2, program, (seeds, jobs), plant.map(Into::into), passed)
}
