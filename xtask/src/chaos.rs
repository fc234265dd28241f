//! `cargo xtask chaos`: builds and runs the chaos suite.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::run::FAILPOINTS;
use crate::{packages, run};

/// Builds the suite and the server and hands over to the suite.
pub(crate) fn chaos(rest: &[String]) -> Result<()> {
    let bin = build()?;
    let suite = bin.join("quipu-chaos");
    let status = run::command(suite.to_str().context("target path is text")?)
        .env("QUIPU_BIN", bin.join("quipu"))
        .args(rest)
        .status()
        .context("start quipu-chaos")?;
    ensure!(status.success(), "a promise is broken or not proved: {status}");
    Ok(())
}

/// Builds the suite and the server; says where they are.
pub(crate) fn build() -> Result<PathBuf> {
    packages::install()?;
    packages::install_network_tools()?;
    let packages: &[&str] = &["build", "--package", "quipu-cli", "--package", "quipu-jepsen"];
    let programs: &[&str] = &["--bin", "quipu", "--bin", "quipu-chaos"];
    run::cargo(&[packages, programs, FAILPOINTS].concat())?;
    Ok(run::target_dir().join("debug"))
}
