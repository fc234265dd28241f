//! The `quipu` command as a person runs it.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::process::Command;

/// A command that is to end by itself does so within this time.
const WAIT: Duration = Duration::from_secs(30);

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// `None`: by a signal.
    pub(crate) code: Option<i32>,
    /// What it told the person.
    pub(crate) stderr: String,
}

/// Runs `quipu` with arguments, and with these variables alone of all that concern it.
pub(crate) async fn run(args: &[&str], variables: &[(&str, &str)]) -> Result<Ended> {
    let mut command = Command::new(quipu_testkit::quipu_binary()?);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("QUIPU_")) {
        command.env_remove(name);
    }
    command.args(args).envs(variables.iter().copied()).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let output = tokio::time::timeout(WAIT, command.output()).await;
    let output = output.with_context(|| format!("quipu {args:?} did not end"))??;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok(Ended { code: output.status.code(), stderr })
}
