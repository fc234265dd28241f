//! The two runs of two minutes that every change must pass: the load proves something, the faults
//! bite, and nothing is found. They need the `quipu` binary: `cargo xtask test` builds it.

use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use quipu_jepsen::checker::{Checker, Report, Verdict};
use quipu_jepsen::cluster::Lab;
use quipu_jepsen::history::{Event, Reader, Stage};

/// One cluster at a time: two of them would starve each other.
static ONE: Mutex<()> = Mutex::new(());

/// Runs for two minutes and looks at everything that comes out.
fn run(words: &[&str]) -> Result<()> {
    let out = tempfile::tempdir()?;
    let _turn = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let done = Command::new(env!("CARGO_BIN_EXE_quipu-chaos"))
        .args(["--time", "120", "--format", "json", "--out"])
        .arg(out.path())
        .args(words)
        .output()?;
    let (said, told) =
        (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert_eq!(done.status.code(), Some(0), "{said}\n{told}");
    let result: serde_json::Value = serde_json::from_str(&said)?;
    let dir = out.path().join(result["seed"].to_string());
    let report = judge_again(&dir)?;
    assert_eq!(report.verdict, Verdict::Valid);
    assert!(report.counts.acked_records >= 15_000, "{:?}", report.counts);
    assert!(report.counts.faults >= 8, "{:?}", report.counts);
    assert_eq!(result["report"]["counts"]["lines"], report.counts.lines, "the same history");
    let page = std::fs::read_to_string(dir.join("report.html"))?;
    assert!(page.contains("class=\"valid\">valid<"));
    assert!(dir.join("node-1.log").is_file() && dir.join("results.json").is_file());
    assert!(!dir.join("node-1").exists(), "what nodes stored goes after a valid run");
    Ok(())
}

/// The history stands for itself: another reader comes to the same verdict. Every fault that
/// began was taken back.
fn judge_again(dir: &Path) -> Result<Report> {
    let path = dir.join("history.jsonl");
    let mut lasting = 0;
    for line in Reader::open(&path)? {
        if let Event::Fault(fault) = line?.1.event {
            lasting += if fault.stage == Stage::Injected { 1 } else { -1 };
        }
    }
    assert_eq!(lasting, 0, "faults that last");
    Ok(Checker::check(Reader::open(&path)?)?)
}

#[test]
fn killed_and_paused_nodes_on_loopback_break_no_promise() -> Result<()> {
    run(&["--loopback", "--faults", "kill,pause", "--seed", "101"])
}

#[test]
fn networks_disks_and_processes_that_fail_in_turn_break_no_promise() -> Result<()> {
    if let Some(why) = Lab::obstacle() {
        eprintln!("not run: {why}");
        return Ok(());
    }
    run(&["--faults", "kill,pause,partition,net,power,restart", "--seed", "202"])
}
