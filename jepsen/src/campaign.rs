//! Many runs together: what `jepsen/RESULTS.md` says.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::figures::{FaultFigures, Figures};

/// Longest reason in a table.
const CELL_BYTES_MAX: usize = 300;

/// The part of a run's `results.json` that counts here.
#[derive(Clone, Debug, Deserialize)]
struct Run {
    seed: u64,
    seconds: u64,
    report: Report,
    figures: Figures,
    deaths: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Report {
    verdict: String,
    counts_by_anomaly: BTreeMap<String, u64>,
    gaps: Vec<String>,
    counts: Counts,
}

#[derive(Clone, Debug, Deserialize)]
struct Counts {
    appends: u64,
    unclear_appends: u64,
    acked_records: u64,
    read_records: u64,
}

/// The results of many runs.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// By the directory of the run.
    runs: BTreeMap<PathBuf, Run>,
}

/// What one kind of fault did over all runs.
#[derive(Debug, Default)]
struct Tally {
    runs: BTreeSet<PathBuf>,
    times: usize,
    bit: usize,
    on_leaders: usize,
    standstill_ms: Vec<u64>,
    recovery_ms: Vec<u64>,
    never_recovered: usize,
}

impl Campaign {
    /// Finds all runs below some directories.
    ///
    /// # Errors
    /// When a directory or a `results.json` cannot be read, or there is none.
    pub fn read(dirs: &[PathBuf]) -> Result<Self> {
        let mut runs = BTreeMap::new();
        for dir in dirs {
            find(dir, &mut runs).with_context(|| dir.display().to_string())?;
        }
        ensure!(!runs.is_empty(), "there is no results.json below {dirs:?}");
        Ok(Self { runs })
    }

    /// Everything as Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        format!("{}\n{}\n{}", self.totals(), self.faults(), self.exceptions())
    }

    fn totals(&self) -> String {
        let sum = |figure: fn(&Run) -> u64| self.runs.values().map(figure).sum::<u64>();
        let verdicts = |verdict| self.runs.values().filter(|run| run.verdict() == verdict).count();
        let rows = [
            ("histories", self.runs.len().to_string()),
            ("seconds of load and faults", sum(|run| run.seconds).to_string()),
            ("valid", verdicts("valid").to_string()),
            ("unknown", verdicts("unknown").to_string()),
            ("invalid", verdicts("invalid").to_string()),
            ("appends", sum(|run| run.report.counts.appends).to_string()),
            ("appends without a clear answer", sum(unclear).to_string()),
            (
                "records acknowledged by a quorum",
                sum(|run| run.figures.acked_by_quorum).to_string(),
            ),
            ("records acknowledged in all", sum(|run| run.report.counts.acked_records).to_string()),
            ("records read", sum(|run| run.report.counts.read_records).to_string()),
            ("faults that took effect", sum(bit).to_string()),
        ];
        let mut text = "| Figure | |\n|---|---|\n".to_owned();
        for (name, figure) in rows {
            let _ = writeln!(text, "| {name} | {figure} |");
        }
        text
    }

    fn tallies(&self) -> BTreeMap<&str, Tally> {
        let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
        for (dir, run) in &self.runs {
            for fault in &run.figures.faults {
                tallies.entry(&fault.name).or_default().count(dir, fault);
            }
        }
        tallies
    }

    fn faults(&self) -> String {
        let mut text =
            "| Fault | Histories | Times | Took effect | Hit a leader | Standstill p50 / \
                        p99 / max (ms) | Recovery p50 / p99 / max (ms) | Alone |\n\
                        |---|---|---|---|---|---|---|---|\n"
                .to_owned();
        for (name, tally) in self.tallies() {
            let Tally { runs, times, bit, on_leaders, .. } = &tally;
            let standstill = percentiles(tally.standstill_ms.clone());
            let mut recovery = percentiles(tally.recovery_ms.clone());
            if tally.never_recovered > 0 {
                let _ = write!(recovery, ", never {}", tally.never_recovered);
            }
            let (runs, alone) = (runs.len(), tally.standstill_ms.len());
            let _ = writeln!(
                text,
                "| {name} | {runs} | {times} | {bit} | {on_leaders} | {standstill} | {recovery} | \
                 {alone} |"
            );
        }
        text
    }

    /// Every run that is not valid, and why.
    fn exceptions(&self) -> String {
        let mut text = "| Not valid | Seed | Verdict | Why |\n|---|---|---|---|\n".to_owned();
        for (dir, run) in self.runs.iter().filter(|(_, run)| run.verdict() != "valid") {
            let anomalies = run.report.counts_by_anomaly.iter();
            let mut why: Vec<String> =
                anomalies.map(|(anomaly, count)| format!("{anomaly}: {count}")).collect();
            why.extend(run.report.gaps.iter().chain(&run.deaths).map(|words| cell(words)));
            let (shown, verdict) = (dir.display(), run.verdict());
            let _ = writeln!(text, "| {shown} | {} | {verdict} | {} |", run.seed, why.join("; "));
        }
        text
    }
}

impl Run {
    fn verdict(&self) -> &str {
        if self.deaths.is_empty() { &self.report.verdict } else { "invalid" }
    }
}

/// Words as they fit into a table: the end is kept, where the reason stands.
fn cell(words: &str) -> String {
    let words = words.replace(['\n', '|'], " ");
    let from = words.len().saturating_sub(CELL_BYTES_MAX);
    let from = (from..=words.len()).find(|at| words.is_char_boundary(*at)).unwrap_or_default();
    words[from..].to_owned()
}

fn unclear(run: &Run) -> u64 {
    run.report.counts.unclear_appends
}

fn bit(run: &Run) -> u64 {
    run.figures.faults.iter().filter(|fault| fault.bit).count() as u64
}

impl Tally {
    fn count(&mut self, dir: &Path, fault: &FaultFigures) {
        self.times += 1;
        self.on_leaders += usize::from(fault.leader && fault.bit);
        if !fault.bit {
            return;
        }
        self.bit += 1;
        self.runs.insert(dir.to_owned());
        if fault.alone {
            self.standstill_ms.push(fault.standstill_ms);
            match fault.recovery_ms {
                Some(recovery) => self.recovery_ms.push(recovery),
                None => self.never_recovered += 1,
            }
        }
    }
}

/// The median, the 99th percentile and the maximum, in words.
fn percentiles(mut figures: Vec<u64>) -> String {
    figures.sort_unstable();
    let at = |percent: usize| {
        let place = (figures.len() * percent).div_ceil(100).max(1) - 1;
        figures.get(place)
    };
    match (at(50), at(99), figures.last()) {
        (Some(half), Some(high), Some(most)) => format!("{half} / {high} / {most}"),
        _ => "-".to_owned(),
    }
}

fn find(dir: &Path, runs: &mut BTreeMap<PathBuf, Run>) -> Result<()> {
    let results = dir.join("results.json");
    if results.is_file() {
        let text = std::fs::read(&results)?;
        let run = serde_json::from_slice(&text).with_context(|| results.display().to_string())?;
        runs.insert(dir.to_owned(), run);
        return Ok(());
    }
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            find(&entry.path(), runs)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, seed: u64, verdict: &str, standstill: u64) {
        let dir = dir.join(seed.to_string());
        std::fs::create_dir(&dir).unwrap();
        let fault = serde_json::json!({
            "name": "kill-leader", "began_ms": 5, "lasted_ms": 6, "bit": true, "leader": true,
            "no_majority": false, "alone": true, "standstill_ms": standstill, "recovery_ms": null,
        });
        let run = serde_json::json!({
            "dir": "x", "seed": seed, "seconds": 180, "deaths": [],
            "report": {
                "name": "n", "verdict": verdict, "counts_by_anomaly": {}, "findings": [],
                "gaps": ["too few records"], "notes": {},
                "counts": {
                    "lines": 1, "appends": 50, "acked_records": 40, "unclear_appends": 3,
                    "read_records": 40, "faults": 1, "partitions": 8,
                },
            },
            "figures": { "acked_by_quorum": 30, "faults": [fault] },
        });
        std::fs::write(dir.join("results.json"), run.to_string()).unwrap();
    }

    #[test]
    fn runs_are_counted_and_those_that_are_not_valid_are_named() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 1, "valid", 100);
        write(dir.path(), 2, "unknown", 300);
        let text = Campaign::read(&[dir.path().to_owned()]).unwrap().markdown();
        for wanted in [
            "| histories | 2 |",
            "| seconds of load and faults | 360 |",
            "| records acknowledged by a quorum | 60 |",
            "| kill-leader | 2 | 2 | 2 | 2 | 100 / 300 / 300 | -, never 2 | 2 |",
            "| 2 | unknown | too few records |",
        ] {
            assert!(text.contains(wanted), "{wanted} is not in\n{text}");
        }
        assert!(!text.contains("| valid | too few"), "{text}");
    }

    #[test]
    fn a_directory_without_results_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Campaign::read(&[dir.path().to_owned()]).is_err());
    }

    #[test]
    fn percentiles_are_of_what_is_there() {
        assert_eq!(percentiles((1..=200).collect()), "100 / 198 / 200");
        assert_eq!(percentiles(vec![7]), "7 / 7 / 7");
        assert_eq!(percentiles(vec![]), "-");
    }
}
