//! One server process.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::Signal;

use crate::{signal, until};

/// A node of a test cluster: its settings live as long as the test, its process may come and go.
#[derive(Debug)]
pub struct NodeProcess {
    id: u64,
    dir: PathBuf,
    flags: Vec<String>,
    client: SocketAddr,
    metrics: SocketAddr,
    /// For the next start alone.
    failpoints: Option<String>,
    child: Option<Child>,
}

impl NodeProcess {
    /// Describes a node; [`Self::start`] starts it.
    #[must_use]
    pub fn new(
        id: u64,
        dir: PathBuf,
        client: SocketAddr,
        metrics: SocketAddr,
        flags: Vec<String>,
    ) -> Self {
        Self { id, dir, flags, client, metrics, failpoints: None, child: None }
    }

    /// Its number.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// Where clients connect.
    #[must_use]
    pub const fn client_address(&self) -> SocketAddr {
        self.client
    }

    /// Where metrics and health answer.
    #[must_use]
    pub const fn metrics_address(&self) -> SocketAddr {
        self.metrics
    }

    /// Its directory: `data/` and `log` are in it.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Moves the node to another directory, for example a copied image. It must be stopped.
    pub fn set_dir(&mut self, dir: PathBuf) {
        assert!(self.child.is_none(), "node {} runs", self.id);
        self.dir = dir;
    }

    /// Adds or replaces a `key=value` setting for the next start.
    pub fn set_flag(&mut self, flag: &str) {
        self.flags.push(flag.to_owned());
    }

    /// Arms failpoints for the next start alone: `name=action;name=action`.
    pub fn arm(&mut self, failpoints: &str) {
        self.failpoints = Some(failpoints.to_owned());
    }

    /// The process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Starts the process; its output is appended to `log` in its directory.
    ///
    /// # Errors
    /// When it runs already or cannot be started.
    pub fn start(&mut self) -> Result<()> {
        if self.child.is_some() {
            bail!("node {} runs already", self.id);
        }
        std::fs::create_dir_all(&self.dir)?;
        let log = File::options().create(true).append(true).open(self.dir.join("log"))?;
        let mut command = Command::new(quipu_binary()?);
        command.arg("serve");
        command.args(["--set", &format!("node.data-dir={}", self.dir.join("data").display())]);
        for flag in &self.flags {
            command.args(["--set", flag]);
        }
        // Variables of the person who runs the tests must not reach the nodes.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("QUIPU_")) {
            command.env_remove(name);
        }
        let failpoints = self.failpoints.take().or_else(|| failpoints_of(self.id));
        command.envs(failpoints.map(|armed| (quipu_failpoint::VARIABLE, armed)));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.child = Some(command.spawn().context("start quipu serve")?);
        Ok(())
    }

    /// Ends the process at once (SIGKILL) and waits for it.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self) -> Result<()> {
        let mut child =
            self.child.take().ok_or_else(|| anyhow!("node {} does not run", self.id))?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Asks the process to stop (SIGTERM) and waits for it.
    ///
    /// # Errors
    /// When it does not run, or not end within `wait`: then it is killed.
    pub async fn terminate(&mut self, wait: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        let ended = self.wait_exit(wait).await;
        if ended.is_err() && self.child.is_some() {
            self.kill()?;
        }
        ended
    }

    /// Waits until the process ends by itself.
    ///
    /// # Errors
    /// When it still runs after `wait`.
    pub async fn wait_exit(&mut self, wait: Duration) -> Result<ExitStatus> {
        let what = format!("node {} to exit", self.id);
        let child = std::cell::RefCell::new(&mut self.child);
        until(&what, wait, || async {
            let mut child = child.borrow_mut();
            let running = child.as_mut().ok_or_else(|| anyhow!("it does not run"))?;
            let status = running.try_wait()?.ok_or_else(|| anyhow!("it still runs"))?;
            **child = None;
            Ok(status)
        })
        .await
    }

    /// Stops the process in its tracks (SIGSTOP).
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets a paused process go on (SIGCONT).
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid().ok_or_else(|| anyhow!("node {} does not run", self.id))?;
        signal::send(pid, signal).with_context(|| format!("signal node {}", self.id))
    }

    /// What the process wrote so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// Whether the process ended by itself since it was started.
    pub fn has_died(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None)))
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // A paused process takes SIGKILL as well.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What the person who runs the tests plants in the nodes: `QUIPU_NODE_FAILPOINTS`, for every node,
/// or behind `1:` for node 1 alone.
#[must_use]
pub fn failpoints_of(node: u64) -> Option<String> {
    let words = std::env::var("QUIPU_NODE_FAILPOINTS").ok()?;
    match words.split_once(':') {
        Some((id, words)) => (id == node.to_string()).then(|| words.to_owned()),
        None => Some(words),
    }
}

/// The `quipu` binary: `QUIPU_BIN`, or the one beside the test's own target directory.
///
/// # Errors
/// When there is none.
pub fn quipu_binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("QUIPU_BIN") {
        return Ok(path.into());
    }
    let test = std::env::current_exe()?;
    let found = test.ancestors().skip(1).take(3).map(|dir| dir.join("quipu")).find(|p| p.is_file());
    found.context("no quipu binary beside the tests: run `cargo xtask test`, which builds it")
}
