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

/// The same with the binary that is there.
pub(crate) fn check(words: &[String]) -> Result<()> {
    run::say("python3 deploy/tests/run.py");
    let binary = run::target_dir().join("debug/quipu");
    let mut suite = run::command("python3");
    suite.arg("deploy/tests/run.py").args(words).env("QUIPU_BIN", binary);
    let status = suite.status().context("start python3")?;
    match status.code() {
        Some(0) => Ok(()),
        Some(NOT_CHECKED) => {
            run::say("deploy/ was NOT checked: its checks need packages that cannot be fetched");
            Ok(())
        }
        _ => bail!("deploy/tests/run.py failed: {status}"),
    }
}
