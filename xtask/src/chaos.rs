//! `cargo xtask chaos`: builds and runs the chaos suite.

use anyhow::{Context, Result, ensure};

use crate::{packages, run};

/// Builds the suite and the server and hands over to the suite.
pub(crate) fn chaos(rest: &[String]) -> Result<()> {
    packages::install()?;
    packages::install_network_tools()?;
    run::cargo(&["build", "--package", "quipu-cli", "--bin", "quipu"])?;
    run::cargo(&["build", "--package", "quipu-jepsen", "--bin", "quipu-chaos"])?;
    let bin = run::target_dir().join("debug");
    let suite = bin.join("quipu-chaos");
    let status = run::command(suite.to_str().context("target path is text")?)
        .env("QUIPU_BIN", bin.join("quipu"))
        .args(rest)
        .status()
        .context("start quipu-chaos")?;
    ensure!(status.success(), "a promise is broken or not proved: {status}");
    Ok(())
}
