//! `cargo xtask planted`: a suite that finds no planted defect would find no other.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use quipu_failpoint::{Finder, Nodes, PLANTS, Plant, VARIABLE};

use crate::run::FAILPOINTS;
use crate::{chaos, run};

/// Runs of the chaos suite that a defect may take to be found.
const RUNS_MAX: u32 = 20;
/// Seconds of load and faults in each.
const SECONDS: &str = "40";
/// What the testkit and the chaos suite plant in their nodes.
const NODES: &str = "QUIPU_NODE_FAILPOINTS";

/// What became of a defect.
struct Search {
    plant: &'static Plant,
    is_found: bool,
    runs: u32,
    took: Duration,
}

/// Plants each defect in turn, or the one that is named, until it is found.
pub(crate) fn planted(words: &[String]) -> Result<()> {
    let plants = chosen(words)?;
    let bin = chaos::build()?;
    let out = run::target_dir().join("planted");
    let mut searches = Vec::new();
    for plant in plants {
        let search = search(plant, &bin, &out)?;
        run::say(&line(&search));
        searches.push(search);
    }
    run::say("\n| plant | found by | runs | seconds |\n|---|---|---:|---:|");
    searches.iter().for_each(|search| run::say(&line(search)));
    let missed: Vec<&str> =
        searches.iter().filter(|it| !it.is_found).map(|it| it.plant.name).collect();
    ensure!(missed.is_empty(), "not found: {}", missed.join(", "));
    Ok(())
}

fn chosen(words: &[String]) -> Result<Vec<&'static Plant>> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        [] => Ok(PLANTS.iter().collect()),
        ["--only", part] => {
            let found: Vec<_> = PLANTS.iter().filter(|it| it.name.contains(part)).collect();
            ensure!(!found.is_empty(), "no plant has {part:?} in its name");
            Ok(found)
        }
        _ => bail!("usage: cargo xtask planted [--only NAME]"),
    }
}

fn line(Search { plant, is_found, runs, took }: &Search) -> String {
    let finder = match (is_found, plant.finder) {
        (false, _) => "nobody".to_owned(),
        (true, Finder::Chaos(faults)) => format!("chaos: {faults}"),
        (true, Finder::Test(target, part)) => format!("tests: {target} {part}"),
    };
    format!("| {} | {finder} | {runs} | {} |", plant.name, took.as_secs())
}

#[expect(clippy::disallowed_methods, reason = "what a person waited is told to that person")]
fn search(plant: &'static Plant, bin: &Path, out: &Path) -> Result<Search> {
    run::say(&format!("{}: {}", plant.name, plant.does));
    let started = Instant::now();
    let (is_found, runs) = match plant.finder {
        Finder::Chaos(faults) => break_clusters(plant, faults, bin, out)?,
        Finder::Test(target, part) => (!test(plant, target, part)?.success(), 1),
    };
    Ok(Search { plant, is_found, runs, took: started.elapsed() })
}

/// Runs of the chaos suite, each with another seed, until one is invalid.
fn break_clusters(plant: &Plant, faults: &str, bin: &Path, out: &Path) -> Result<(bool, u32)> {
    for seed in 1..=RUNS_MAX {
        if out.exists() {
            std::fs::remove_dir_all(out)?;
        }
        let status = run::command(bin.join("quipu-chaos").to_str().context("a path in text")?)
            .args(["--time", SECONDS, "--faults", faults, "--seed", &seed.to_string()])
            .arg("--out")
            .arg(out)
            .env("QUIPU_BIN", bin.join("quipu"))
            .envs(planted_in(plant))
            .stdout(Stdio::null())
            .status()
            .context("start quipu-chaos")?;
        match status.code() {
            Some(0) => {}
            Some(1) => return Ok((true, seed)),
            // It proves nothing: a cluster that does not even heal is no verdict.
            _ => run::say(&format!("seed {seed}: {status}")),
        }
    }
    Ok((false, RUNS_MAX))
}

fn test(plant: &Plant, target: &str, part: &str) -> Result<ExitStatus> {
    let target: &[&str] = if target == "lib" { &["--lib"] } else { &["--test", target] };
    let build = [&["test", "--workspace", "--no-run"], FAILPOINTS, target].concat();
    run::cargo(&build)?;
    let words = [&["test", "--workspace"], FAILPOINTS, target, &["--", part]].concat();
    let mut command = run::command("cargo");
    command.args(words).envs(planted_in(plant)).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().context("start cargo")
}

/// The variables that plant a defect: in nodes, and in tests that need none.
fn planted_in(plant: &Plant) -> Vec<(&'static str, String)> {
    let words = format!("{}=return", plant.name);
    match plant.nodes {
        Nodes::Every => vec![(NODES, words.clone()), (VARIABLE, words)],
        Nodes::One => vec![(NODES, format!("1:{words}"))],
    }
}
