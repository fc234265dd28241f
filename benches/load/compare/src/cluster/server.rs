//! One server process, started by us and ended by us.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

const TERM_WAIT: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(50);

/// What to start, and the process once it was.
#[derive(Debug)]
pub(crate) struct Server {
    name: String,
    program: PathBuf,
    words: Vec<String>,
    environment: Vec<(String, String)>,
    dir: PathBuf,
    /// The process that does the work, where scripts stand before it.
    worker: Option<&'static str>,
    child: Option<Child>,
}

impl Server {
    pub(crate) fn new(name: impl Into<String>, program: &Path, dir: &Path) -> Self {
        Self {
            name: name.into(),
            program: program.to_owned(),
            words: Vec::new(),
            environment: Vec::new(),
            dir: dir.to_owned(),
            worker: None,
            child: None,
        }
    }

    pub(crate) fn args<T: Into<String>>(mut self, words: impl IntoIterator<Item = T>) -> Self {
        self.words.extend(words.into_iter().map(Into::into));
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// The name of the process among the descendants that does the work.
    pub(crate) fn worker(mut self, name: &'static str) -> Self {
        self.worker = Some(name);
        self
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// As a person would type it.
    pub(crate) fn command_line(&self) -> String {
        let environment: Vec<String> =
            self.environment.iter().map(|(name, value)| format!("{name}='{value}'")).collect();
        let program = self.program.display().to_string();
        [environment, vec![program], self.words.clone()].concat().join(" ")
    }

    pub(crate) fn start(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.log())?;
        let mut command = Command::new(&self.program);
        command.args(&self.words).current_dir(&self.dir);
        // Variables of the person who measures must not reach the servers.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("QUIPU_")) {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let started = command.spawn();
        self.child = Some(started.with_context(|| format!("start {}", self.program.display()))?);
        Ok(())
    }

    /// Ends it at once (SIGKILL).
    pub(crate) fn kill(&mut self) -> Result<()> {
        for pid in self.pids() {
            signal(pid, Signal::KILL).with_context(|| format!("kill {}", self.name))?;
        }
        if let Some(mut child) = self.child.take() {
            // Already gone is fine.
            drop(child.kill());
            child.wait()?;
        }
        Ok(())
    }

    /// Asks it to end, and ends it when it does not.
    pub(crate) fn terminate(&mut self) {
        for pid in self.pids() {
            // One that has ended already is fine.
            drop(signal(pid, Signal::TERM));
        }
        let Some(child) = &mut self.child else { return };
        let deadline = Instant::now() + TERM_WAIT;
        while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(LOOK);
        }
        drop(self.kill());
    }

    /// How it ended, when it did by itself.
    pub(crate) fn death(&mut self) -> Option<String> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        Some(format!("{} ended: {status}", self.name))
    }

    /// The process that does the work, and nothing else.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let Some(root) = self.child.as_ref().map(Child::id) else { return Vec::new() };
        match self.worker {
            None => vec![root],
            Some(worker) => {
                let all = descendants(root);
                all.into_iter().filter(|pid| name_of(*pid).as_deref() == Some(worker)).collect()
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.terminate();
    }
}

fn signal(pid: u32, signal: Signal) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(pid)?).context("a pid is positive")?;
    Ok(kill_process(pid, signal)?)
}

fn name_of(pid: u32) -> Option<String> {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(name.trim_end().to_owned())
}

/// A process and everything it started.
fn descendants(root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let mut at = 0;
    while at < found.len() {
        let path = format!("/proc/{0}/task/{0}/children", found[at]);
        let children = std::fs::read_to_string(path).unwrap_or_default();
        found.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        at += 1;
    }
    found
}
