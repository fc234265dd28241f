//! `quipu-sim`: runs the simulator over many seeds.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use quipu_sim::{Failure, Plant, Trace, run_seed, run_seeds};

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
    L0(L0),
}

#[derive(Debug, Args)]
struct L0 {
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
    plant: Option<Plant>,
}

fn main() -> ExitCode {
    let Layer::L0(l0) = Cli::parse().layer;
    let found = match (l0.trace, l0.seeds) {
        (false, _) => run(&l0),
        (true, 1) => show(l0.from, l0.plant),
        (true, _) => return usage("--trace shows one seed: add --seeds 1"),
    };
    match found {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&failure.to_string());
            ExitCode::from(1)
        }
    }
}

fn run(l0: &L0) -> Result<(), Failure> {
    let bar = ProgressBar::new(l0.seeds);
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} seeds, {per_sec}, {eta} left");
    bar.set_style(style.expect("the template is right"));
    let seeds = l0.from..l0.from.saturating_add(l0.seeds);
    let found = run_seeds(seeds, l0.jobs, l0.plant, &|| bar.inc(1));
    bar.finish_and_clear();
    if found.is_ok() {
        say(&format!("{} seeds from {}: nothing found", l0.seeds, l0.from));
    }
    found
}

fn show(seed: u64, plant: Option<Plant>) -> Result<(), Failure> {
    let trace = Trace::readable();
    let found = run_seed(seed, &trace, plant);
    say(trace.text().trim_end());
    found.map(|passed| say(&format!("passed: {} events, hash {:016x}", passed.events, passed.hash)))
}

fn usage(words: &str) -> ExitCode {
    say(words);
    ExitCode::from(2)
}

/// Prints; a reader that went away needs no more words.
fn say(words: &str) {
    let _ = writeln!(io::stdout(), "{words}");
}
