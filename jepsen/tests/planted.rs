//! Defects planted in the nodes that the quickest of runs must find; `cargo xtask planted` has the
//! others. They need the `quipu` binary with failpoints: `cargo xtask test` builds it.

use std::process::Command;

use anyhow::Result;
use quipu_failpoint::{PLANTS, Plant};
use serde_json::Value;

/// Found by whatever reads and asks, with hardly a fault.
const QUICK: [&str; 2] = ["plant.end.beyond-high-watermark", "plant.fetch.one-late"];

/// Breaks a cluster with a defect in every node, and gives what the checker says.
fn run(plant: &Plant) -> Result<Value> {
    let out = tempfile::tempdir()?;
    let done = Command::new(env!("CARGO_BIN_EXE_quipu-chaos"))
        .args(["--loopback", "--time", "8", "--faults", "pause-one", "--format", "json", "--out"])
        .arg(out.path())
        .env("QUIPU_NODE_FAILPOINTS", format!("{}=return", plant.name))
        .output()?;
    let (said, told) =
        (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert_eq!(done.status.code(), Some(1), "{}: {said}\n{told}", plant.name);
    Ok(serde_json::from_str(&said)?)
}

#[test]
fn planted_defects_are_found() -> Result<()> {
    for name in QUICK {
        let plant = PLANTS.iter().find(|plant| plant.name == name).expect("a plant of the table");
        let result = run(plant)?;
        assert_eq!(result["report"]["verdict"], "invalid", "{name}: {result}");
        assert_eq!(result["deaths"], Value::Array(Vec::new()), "{name}: found by its reads");
    }
    Ok(())
}
