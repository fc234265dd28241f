//! `cargo xtask bench`: builds the server, the load generator and the comparison, and hands over.

use anyhow::{Context, Result, ensure};

use crate::{packages, run};

/// Their workspace: clients of other systems are no part of ours.
const MANIFEST: &str = "benches/load/Cargo.toml";

/// Builds in release and hands over to the comparison, which has `--help` of its own.
pub(crate) fn bench(rest: &[String]) -> Result<()> {
    if rest.first().is_some_and(|word| word == "micro") {
        return micro(&rest[1..]);
    }
    packages::install()?;
    run::say("building (clients of other systems take some minutes, once)");
    run::cargo(&["build", "--release", "--locked", "--manifest-path", MANIFEST])?;
    let bin = run::target_dir().join("release");
    let needs_server = !rest.iter().any(|word| matches!(word.as_str(), "--help" | "-h" | "list"));
    if needs_server && std::env::var_os("QUIPU_BIN").is_none() {
        run::cargo(&["build", "--release", "--package", "quipu-cli", "--bin", "quipu"])?;
    }
    let program = bin.join("quipu-compare");
    let mut command = run::command(program.to_str().context("target path is text")?);
    if std::env::var_os("QUIPU_BIN").is_none() {
        command.env("QUIPU_BIN", bin.join("quipu"));
    }
    let status = command.args(rest).status().context("start quipu-compare")?;
    ensure!(status.success(), "the benchmark failed: {status}");
    Ok(())
}

/// Codec, checksum, journal, segments, apply: what costs what inside a node.
fn micro(rest: &[String]) -> Result<()> {
    packages::install()?;
    let mut words = vec!["bench", "--manifest-path", MANIFEST, "--package", "quipu-micro"];
    if !rest.is_empty() {
        words.push("--");
        words.extend(rest.iter().map(String::as_str));
    }
    run::cargo(&words)
}
