//! `cargo xtask demo`: builds and runs the demonstration.

use anyhow::{Context, Result, ensure};

use crate::{packages, run};

/// Builds release binaries and hands over to the demonstration program.
pub(crate) fn demo(rest: &[String]) -> Result<()> {
    packages::install()?;
    run::say("building (RocksDB takes some minutes, once)");
    run::cargo(&[
        "build",
        "--release",
        "--package",
        "quipu-cli",
        "--package",
        "quipu-tests",
        "--bin",
        "quipu",
        "--bin",
        "quipu-demo",
    ])?;
    let bin = run::target_dir().join("release");
    let status = run::command(bin.join("quipu-demo").to_str().context("target path is text")?)
        .env("QUIPU_BIN", bin.join("quipu"))
        .args(rest)
        .status()
        .context("start quipu-demo")?;
    ensure!(status.success(), "the demonstration failed: {status}");
    Ok(())
}
