//! `quipu-sim`: runs the simulator over many seeds.

use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use quipu_sim::{Failure, Plant, Trace, l1, l2, run_seed, run_seeds};

/// Simulates Quipu under faults. Exit codes: 0 nothing found, 1 a seed failed, 2 wrong usage.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    layer: Layer,
}

#[derive(Debug, Subcommand)]
enum Layer {
    /// The storage of one node: power cuts, lost and torn writes, failed flushes, a full disk.
    L0(Runs<Plant>),
    /// A cluster: kills, power cuts, partitions, slow disks, under load.
    L1(Runs<l1::Plant>),
    /// A cluster with brokers, producers and consumer groups: all of that, members that die, stand
    /// still and come back late, old records that go, clocks that jump.
    ///
    /// Example: `quipu-sim l2 --seeds 200 --from 0`, and with a fault that must be found
    /// `quipu-sim l2 --seeds 200 --plant commits-are-unfenced`. One seed with everything that
    /// happens: `quipu-sim l2 --from 17 --seeds 1 --trace`.
    #[command(verbatim_doc_comment)]
    L2(Runs<l2::Plant>),
}

#[derive(Debug, Args)]
struct Runs<P: ValueEnum + Send + Sync + 'static> {
    /// How many seeds.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Seeds at a time.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Print everything that happens; one seed only.
    #[arg(long)]
    trace: bool,
    /// Plant a fault, to see it found.
    #[arg(long)]
    plant: Option<P>,
}

fn main() -> ExitCode {
    let ended = match Cli::parse().layer {
        Layer::L0(runs) => l0(&runs),
        Layer::L1(runs) => apart(&runs, l1::run_seed, l1::run_seeds),
        Layer::L2(runs) => apart(&runs, l2::run_seed, l2::run_seeds),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(End::Found(failure)) => {
            say(&failure.to_string());
            ExitCode::from(1)
        }
        Err(End::Usage(words)) => {
            say(&words);
            ExitCode::from(2)
        }
    }
}

/// Why nothing good is to be said.
enum End {
    Found(Failure),
    Usage(String),
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        Self::Found(failure)
    }
}

fn l0(runs: &Runs<Plant>) -> Result<(), End> {
    if runs.trace {
        return show(runs, |trace| run_seed(runs.from, trace, runs.plant).map(drop));
    }
    runs.with_bar(|passed| run_seeds(runs.range(), runs.jobs, runs.plant, passed))?;
    say(&format!("{} seeds from {}: nothing found", runs.seeds, runs.from));
    Ok(())
}

/// Runs many seeds, in a process each.
type Many<P> =
    fn(&Path, Range<u64>, usize, Option<P>, &(dyn Fn() + Sync)) -> Result<l1::Census, Failure>;

/// Runs one seed here, or many in a process each.
fn apart<P: ValueEnum + Copy + Send + Sync>(
    runs: &Runs<P>,
    one: fn(u64, &Trace, Option<P>) -> Result<l1::Passed, Failure>,
    many: Many<P>,
) -> Result<(), End> {
    if runs.trace {
        return show(runs, |trace| one(runs.from, trace, runs.plant).map(drop));
    }
    if runs.seeds == 1 {
        let passed = one(runs.from, &Trace::silent(), runs.plant)?;
        say(&format!("{}{}", l1::PASSED, passed.census));
        return Ok(());
    }
    let program = std::env::current_exe().map_err(|error| End::Usage(error.to_string()))?;
    let census =
        runs.with_bar(|passed| many(&program, runs.range(), runs.jobs, runs.plant, passed))?;
    say(&format!("{} seeds from {}: nothing found in\n{census}", runs.seeds, runs.from));
    Ok(())
}

impl<P: ValueEnum + Send + Sync> Runs<P> {
    fn range(&self) -> Range<u64> {
        self.from..self.from.saturating_add(self.seeds)
    }

    /// Runs with a bar that grows with each seed that passed.
    fn with_bar<T>(&self, run: impl FnOnce(&(dyn Fn() + Sync)) -> T) -> T {
        let bar = ProgressBar::new(self.seeds);
        let template = "{bar:40} {pos}/{len} seeds, {per_sec}, {eta} left";
        bar.set_style(ProgressStyle::with_template(template).expect("the template is right"));
        let ran = run(&|| bar.inc(1));
        bar.finish_and_clear();
        ran
    }
}

/// Prints everything that happens under one seed.
fn show<P: ValueEnum + Send + Sync>(
    runs: &Runs<P>,
    run: impl FnOnce(&Trace) -> Result<(), Failure>,
) -> Result<(), End> {
    if runs.seeds != 1 {
        return Err(End::Usage("--trace shows one seed: add --seeds 1".to_owned()));
    }
    let trace = Trace::readable();
    let found = run(&trace);
    say(trace.text().trim_end());
    found?;
    say(&format!("passed: {} events, hash {:016x}", trace.events(), trace.hash()));
    Ok(())
}

/// Prints; a reader that went away needs no more words.
fn say(words: &str) {
    let _ = writeln!(io::stdout(), "{words}");
}
