//! One `quipu serve` process, wherever it is to run.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use quipu_testkit::{signal, until};
use rustix::process::{Pid, Signal, kill_process};

use super::command::run;
use super::disk::Disk;
use super::fake_clock::FakeClock;

/// How long a process may take to stop or to go on after a signal.
const SIGNAL_WAIT: Duration = Duration::from_secs(5);

/// Complaints that are told.
const COMPLAINTS: usize = 3;

/// A node: its settings stay, its process comes and goes.
#[derive(Debug)]
pub(crate) struct Node {
    pub(super) id: u64,
    /// Where its output goes.
    pub(super) log: PathBuf,
    pub(super) disk: Disk,
    pub(super) client: SocketAddr,
    /// Words before the program: how to get to its network.
    pub(super) before: Vec<String>,
    pub(super) program: PathBuf,
    pub(super) settings: Vec<String>,
    /// Present when its wall clock can be wrong.
    pub(super) clock: Option<FakeClock>,
    pub(super) child: Option<Child>,
    /// How the last process ended, if it did so by itself.
    pub(crate) ended: Option<ExitStatus>,
}

impl Node {
    pub(crate) const fn id(&self) -> u64 {
        self.id
    }

    pub(crate) const fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Its wall clock, which can be wrong.
    pub(crate) fn clock(&self) -> Result<&FakeClock> {
        self.clock.as_ref().context("the node has the machine's clock")
    }

    /// Its data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.disk.dir().join("data")
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    pub(crate) const fn runs(&self) -> bool {
        self.child.is_some()
    }

    /// Starts the process on its data; its output is appended to its log.
    pub(crate) fn start(&mut self) -> Result<()> {
        self.start_on(&self.data())
    }

    /// Starts the process on some data.
    pub(crate) fn start_on(&mut self, data: &Path) -> Result<()> {
        ensure!(self.child.is_none(), "node {} runs already", self.id);
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = self.command()?;
        command.arg("serve");
        command.args(["--set", &format!("node.data-dir={}", data.display())]);
        for setting in &self.settings {
            command.args(["--set", setting]);
        }
        // Variables of the person who runs the suite must not reach the nodes.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("QUIPU_")) {
            command.env_remove(name);
        }
        if let Some(clock) = &self.clock {
            clock.put_on(&mut command);
        }
        let planted = quipu_testkit::failpoints_of(self.id);
        command.envs(planted.map(|words| (quipu_failpoint::VARIABLE, words)));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.child = Some(command.spawn().context("start quipu serve")?);
        self.ended = None;
        Ok(())
    }

    fn command(&self) -> Result<Command> {
        let Some((first, rest)) = self.before.split_first() else {
            return Ok(Command::new(&self.program));
        };
        let mut command = Command::new(first);
        command.args(rest).arg(&self.program);
        Ok(command)
    }

    /// Ends the process at once and waits for it.
    pub(crate) fn kill(&mut self) -> Result<()> {
        let mut child =
            self.child.take().ok_or_else(|| anyhow!("node {} does not run", self.id))?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Asks the process to stop; kills it when it takes longer than `wait`.
    pub(crate) async fn terminate(&mut self, wait: Duration) -> Result<()> {
        let pid = self.pid().with_context(|| format!("node {} does not run", self.id))?;
        let pid = Pid::from_raw(i32::try_from(pid)?).context("a pid is positive")?;
        kill_process(pid, Signal::TERM)?;
        let child = Mutex::new(&mut self.child);
        let ended = until("the node to exit", wait, || async {
            let mut child = child.lock().unwrap_or_else(PoisonError::into_inner);
            let running = child.as_mut().context("it does not run")?;
            running.try_wait()?.context("it still runs")?;
            **child = None;
            Ok(())
        })
        .await;
        if self.child.is_some() { self.kill() } else { ended }
    }

    /// Stops the process in its tracks; resolves once it stands.
    pub(crate) async fn pause(&self) -> Result<()> {
        let pid = self.pid().with_context(|| format!("node {} does not run", self.id))?;
        signal::pause(pid)?;
        until("the process to stand", SIGNAL_WAIT, || async {
            ensure!(is_stopped(pid), "it runs");
            Ok(())
        })
        .await
    }

    /// Lets a paused process go on. One that was killed meanwhile needs nothing.
    pub(crate) fn resume(&self) -> Result<()> {
        self.pid().map_or(Ok(()), signal::resume)
    }

    /// Whether the process ended by itself; it counts as not running from then on.
    pub(crate) fn has_died(&mut self) -> bool {
        let Some(child) = self.child.as_mut() else { return false };
        match child.try_wait() {
            Ok(None) => false,
            ended => {
                self.ended = ended.unwrap_or_default();
                self.child = None;
                true
            }
        }
    }

    /// Waits until the process ends by itself; false when it still runs then.
    pub(crate) async fn ends_within(&mut self, wait: Duration) -> bool {
        let node = Mutex::new(self);
        let ended = until("the node to end", wait, || async {
            let mut node = node.lock().unwrap_or_else(PoisonError::into_inner);
            ensure!(!node.runs() || node.has_died(), "it runs");
            Ok(())
        });
        ended.await.is_ok()
    }

    /// How it ended by itself the last time, and the last line it said.
    pub(crate) fn end(&self) -> String {
        let status = self.ended.map_or_else(|| "it was ended".to_owned(), |it| it.to_string());
        let said = self.last_words();
        format!("{status}: {}", said.lines().next_back().unwrap_or_default())
    }

    /// Limits how many files the process may have open: to what it has, and `spare` more; or to
    /// what it had before. Gives the limit before.
    pub(crate) fn limit_files(&self, limit: FileLimit) -> Result<u64> {
        let Some(pid) = self.pid() else { bail!("node {} does not run", self.id) };
        let pid = pid.to_string();
        let shown = ["--pid", &pid, "--nofile", "--output", "SOFT", "--noheadings", "--raw"];
        let before = run("prlimit", &shown)?.trim().parse()?;
        let to = match limit {
            FileLimit::Spare(spare) => spare + open_files(&pid)?,
            FileLimit::Exactly(limit) => limit,
        };
        run("prlimit", &["--pid", &pid, &format!("--nofile={to}:")])?;
        Ok(before)
    }

    /// Lets the process have so much memory more than it has, or as much as it likes again. Gives
    /// whether the limit is there.
    pub(crate) fn limit_memory(&self, spare: Option<u64>) -> Result<bool> {
        let Some(pid) = self.pid() else { bail!("node {} does not run", self.id) };
        let limit = match spare {
            Some(spare) => (spare + memory(pid)?).to_string(),
            None => "unlimited".to_owned(),
        };
        let pid = pid.to_string();
        run("prlimit", &["--pid", &pid, &format!("--as={limit}:")])?;
        let shown = ["--pid", &pid, "--as", "--output", "SOFT", "--noheadings", "--raw"];
        Ok(run("prlimit", &shown)?.trim() == limit)
    }

    /// How long its log is.
    pub(crate) fn log_length(&self) -> usize {
        std::fs::read(&self.log).map_or(0, |log| log.len())
    }

    /// What it complained about in its log, behind a place in it.
    pub(crate) fn complaints(&self, from: usize) -> Vec<String> {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(log.get(from..).unwrap_or_default()).into_owned();
        let is_one = |line: &&str| line.contains("WARN") || line.contains("ERROR");
        log.lines().filter(is_one).take(COMPLAINTS).map(str::to_owned).collect()
    }

    /// The end of its log.
    pub(crate) fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }
}

/// How many files a process may have open.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FileLimit {
    /// So many more than it has.
    Spare(u64),
    /// So many.
    Exactly(u64),
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.runs() {
            // A paused process takes SIGKILL as well.
            let _ = self.kill();
        }
    }
}

fn open_files(pid: &str) -> Result<u64> {
    Ok(u64::try_from(std::fs::read_dir(format!("/proc/{pid}/fd"))?.count())?)
}

/// Bytes of address space that a process has.
fn memory(pid: u32) -> Result<u64> {
    let pages = std::fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages: u64 = pages.split_whitespace().next().context("a size")?.parse()?;
    Ok(pages * u64::try_from(rustix::param::page_size())?)
}

fn is_stopped(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:\tT"))
}
