//! The `quipu` command as an operator runs it.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quipu_testkit::Cluster;
use serde_json::Value;
use tokio::process::Command;

/// A command that is to end by itself does so within this time.
const WAIT: Duration = Duration::from_secs(300);

/// How a command ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    /// `None`: by a signal.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// The document for scripts.
    pub(crate) fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.stdout).with_context(|| format!("no JSON: {self:?}"))
    }

    /// The same, when it ended well.
    pub(crate) fn good(self) -> Result<Self> {
        ensure!(self.code == Some(0), "{self:?}");
        Ok(self)
    }
}

/// An operator with a home of their own.
pub(crate) struct Operator {
    home: tempfile::TempDir,
    servers: Option<String>,
}

impl Operator {
    /// One who works with this cluster.
    pub(crate) fn of(cluster: &Cluster) -> Result<Self> {
        let servers = cluster.url().trim_start_matches("quipu://").to_owned();
        Ok(Self { servers: Some(servers), ..Self::new()? })
    }

    /// One without a cluster.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { home: tempfile::tempdir()?, servers: None })
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    pub(crate) async fn run(&self, words: &[&str]) -> Result<Ended> {
        self.run_with(words, &[]).await
    }

    /// The same, with variables.
    pub(crate) async fn run_with(
        &self,
        words: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<Ended> {
        let mut command = Command::new(quipu_testkit::quipu_binary()?);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("QUIPU_")) {
            command.env_remove(name);
        }
        command.args(words).env("XDG_CONFIG_HOME", self.home()).current_dir(self.home());
        command.envs(self.servers.iter().map(|servers| ("QUIPU_SERVERS", servers)));
        command.envs(variables.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = tokio::time::timeout(WAIT, command.kill_on_drop(true).output()).await;
        let output = output.with_context(|| format!("quipu {words:?} did not end"))??;
        Ok(Ended {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout)?,
            stderr: String::from_utf8(output.stderr)?,
        })
    }
}
