//! Runs seeds, each in a process of its own.
//!
//! tokio counts the runtimes of a process, and draws the order in which it wakes waiters from that
//! count: only the first run of a process can be repeated.

use std::ops::Range;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

use tokio::runtime::Builder;

use super::census::Census;
use super::entropy::seed_thread;
use super::plant::{Plant, Planted};
use super::scene::Scene;
use super::world::World;
use crate::l2;
use crate::panics::caught;
use crate::seeds::{Failure, Layer, run_all};
use crate::trace::Trace;

/// Most runs take a fraction of a second; one whose tasks wake each other for ever never ends.
const ENDS_WITHIN: Duration = Duration::from_secs(300);

/// A seed that ran to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// The hash of everything that happened.
    pub hash: u64,
    /// How often what happened.
    pub census: Census,
}

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
    run_one(Layer::L1, seed, trace, plant.map(Planted::L1))
}

/// Runs one seed of a layer, here and now.
pub(crate) fn run_one(
    layer: Layer,
    seed: u64,
    trace: &Trace,
    plant: Option<Planted>,
) -> Result<Passed, Failure> {
    let (sender, answer) = mpsc::channel();
    let heard = trace.clone();
    let run = move || {
        seed_thread(seed);
        let ran = caught(|| simulate(layer, seed, heard, plant)).unwrap_or_else(Err);
        // Nobody waits any more for a run that took too long.
        let _ = sender.send(ran);
    };
    std::thread::Builder::new().spawn(run).expect("the machine has a thread");
    let ran = answer.recv_timeout(ENDS_WITHIN).unwrap_or_else(|_| {
        Err(format!("no end after {ENDS_WITHIN:?}: simulated time does not go on"))
    });
    let plant = plant.map(|plant| plant.to_string());
    ran.map(|census| Passed { hash: trace.hash(), census }).map_err(|reason| Failure {
        layer,
        seed,
        plant,
        reason,
    })
}

fn simulate(
    layer: Layer,
    seed: u64,
    trace: Trace,
    plant: Option<Planted>,
) -> Result<Census, String> {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let scene = runtime.block_on(async {
        let scene = Scene::new(trace, plant);
        match layer {
            Layer::L0 | Layer::L1 => Box::pin(World::new(seed, scene.clone()).run()).await,
            Layer::L2 => Box::pin(l2::World::new(seed, scene.clone()).run()).await,
        }
        scene
    });
    // A process that still runs ends with its runtime: nobody looks any more.
    drop(runtime);
    match scene.violation() {
        None => Ok(scene.census()),
        Some(violation) => Err(violation),
    }
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
    run_all_apart(Layer::L1, program, (seeds, jobs), plant.map(Planted::L1), passed)
}

/// Runs seeds of a layer, each in a process of its own.
pub(crate) fn run_all_apart(
    layer: Layer,
    program: &Path,
    (seeds, jobs): (Range<u64>, usize),
    plant: Option<Planted>,
    passed: &(dyn Fn() + Sync),
) -> Result<Census, Failure> {
    let all = Mutex::new(Census::default());
    let plant = plant.map(|plant| plant.to_string());
    run_all(seeds, jobs, &|seed| {
        let census = run_process(layer, program, seed, plant.as_deref()).map_err(|reason| {
            let plant = plant.clone();
            Failure { layer, seed, plant, reason }
        })?;
        all.lock().unwrap_or_else(PoisonError::into_inner).merge(&census);
        passed();
        Ok(())
    })?;
    Ok(all.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Runs one seed in a process; its answer is its output.
fn run_process(
    layer: Layer,
    program: &Path,
    seed: u64,
    plant: Option<&str>,
) -> Result<Census, String> {
    let mut command = Command::new(program);
    command.args([layer.name(), "--seeds", "1", "--from", &seed.to_string()]);
    command.args(plant.iter().flat_map(|plant| ["--plant", plant]));
    let ran = command.stderr(Stdio::inherit()).output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&ran.stdout);
    match said.trim_end().strip_prefix(PASSED) {
        Some(census) if ran.status.success() => census.parse(),
        Some(_) | None => Err(Failure::reason_in(&said).unwrap_or_else(|| {
            let (status, said) = (ran.status, said.trim_end());
            format!("the process ended with {status}: {said}")
        })),
    }
}

/// What a process says before the counts of a seed that ran to its end.
pub const PASSED: &str = "passed: ";
