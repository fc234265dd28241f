//! The curve of Quipu's own numbers: a line for every session.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};

use crate::judge::{Sample, Spread};
use crate::probe::Probe;
use crate::steering;

const HEAD: &str = "\
# Progress

One line per session of `cargo xtask bench`: Quipu alone, three nodes and the load generator on one
machine, flush before acknowledgement. K and k are CPU time of the servers per replicated batch and
per byte of payload; limits are `min(X_cpu, X_disk)` of that machine (`docs/benchmarks.md`).

| Date | Commit | Scenario | records/s | MB/s | B, KiB | F, KiB | K, µs | k, ns/B | CPU-s/GB | % of limit | Marks |
|---|---|---|---|---|---|---|---|---|---|---|---|
";

/// Appends what a session found for each scenario that saturates Quipu.
pub(crate) fn append(path: &Path, when: &str, samples: &[Sample], probe: &Probe) -> Result<()> {
    let is_new = !path.exists();
    let mut file = File::options().create(true).append(true).open(path)?;
    if is_new {
        file.write_all(HEAD.as_bytes())?;
    }
    for line in lines(when, samples, probe) {
        writeln!(file, "{line}").with_context(|| format!("append to {}", path.display()))?;
    }
    Ok(())
}

fn lines(when: &str, samples: &[Sample], probe: &Probe) -> Vec<String> {
    let ours: Vec<&Sample> =
        samples.iter().filter(|sample| steering::work(sample).is_some()).collect();
    let costs = steering::costs(&ours);
    let (fixed, per_byte) = costs.map_or_else(
        || ("".to_owned(), "".to_owned()),
        |it| (format!("{:.0}", it.per_batch_us), format!("{:.2}", it.per_byte_ns)),
    );
    let commit = commit();
    let mut keys: Vec<(&str, &str, &str)> = Vec::new();
    for sample in ours.iter().filter(|sample| !sample.outcome.is_open_loop) {
        let key = (sample.scenario.as_str(), sample.contender.as_str(), sample.step.as_str());
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let line = |(scenario, contender, step): (&str, &str, &str)| {
        let of = |sample: &&&Sample| {
            sample.scenario == scenario && sample.contender == contender && sample.step == step
        };
        let runs: Vec<&Sample> = ours.iter().filter(of).copied().collect();
        let median = |value: &dyn Fn(&Sample) -> Option<f64>| {
            Spread::of(runs.iter().filter_map(|run| value(run)).collect()).map(|it| it.median)
        };
        let shown = |value: Option<f64>, digits: usize| {
            value.map_or_else(String::new, |value| format!("{value:.digits$}"))
        };
        let work = |pick: fn(&steering::Work) -> f64| {
            median(&|run: &Sample| steering::work(run).map(|work| pick(&work)))
        };
        let marked = runs.iter().filter(|run| !run.marks.is_empty()).count();
        let marks = if marked == 0 { String::new() } else { format!("{marked} of {}", runs.len()) };
        format!(
            "| {when} | {commit} | {scenario}/{contender}/{step} | {} | {} | {} | {} | {fixed} | \
             {per_byte} | {} | {} | {marks} |",
            shown(median(&|run| Some(run.outcome.acked_per_second)), 0),
            shown(median(&|run| Some(run.outcome.acked_mb_per_second)), 1),
            shown(work(|work| work.batch_bytes / 1_024.0), 1),
            shown(work(|work| work.flush_bytes / 1_024.0), 0),
            shown(median(&|run| run.outcome.cpu_s_per_gb()), 1),
            shown(median(&|run| steering::percent_of_limit(run, probe)), 1),
        )
    };
    keys.into_iter().map(line).collect()
}

fn commit() -> String {
    let words = ["rev-parse", "--short", "HEAD"];
    let asked = crate::shell::run(std::process::Command::new("git").args(words));
    asked.map(|text| text.trim().to_owned()).unwrap_or_default()
}
