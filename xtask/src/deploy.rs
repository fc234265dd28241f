//! Checks what operators install: charts, compositions, units, images, without a cluster of theirs.

use anyhow::{Context, Result, bail};

use crate::run;

/// The suite could not install what it checks with.
const NOT_CHECKED: i32 = 3;

/// Builds the command and runs the checks of `deploy/` against it; `words` go to the suite.
pub(crate) fn deploy(words: &[String]) -> Result<()> {
    let build: &[&str] = &["build", "--bin", "quipu"];
    run::cargo(&[build, run::FAILPOINTS].concat())?;
    check(words)
}

/// The same with the binary that is there; then alerts and dashboards, as far as that needs no
/// cluster.
pub(crate) fn check(words: &[String]) -> Result<()> {
    suite("deploy/tests/run.py", words)?;
    suite("deploy/prometheus/tests/run.py", &["--offline".to_owned()])
}

fn suite(program: &str, words: &[String]) -> Result<()> {
    run::say(&format!("python3 {program} {}", words.join(" ")));
    let binary = run::target_dir().join("debug/quipu");
    let mut suite = run::command("python3");
    suite.arg(program).args(words).env("QUIPU_BIN", binary);
    let status = suite.status().context("start python3")?;
    match status.code() {
        Some(0) => Ok(()),
        Some(NOT_CHECKED) => {
            run::say(&format!("{program} has NOT checked: what it needs cannot be fetched"));
            Ok(())
        }
        _ => bail!("{program} failed: {status}"),
    }
}
