//! The processes of a local cluster. Only processes started here are ever signalled: a pid counts
//! when its command line names the node's own configuration file.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::layout::Node;

/// Starts a node in its own process group, so that it outlives this command.
pub(super) fn start(node: &Node) -> anyhow::Result<()> {
    if let Some(pid) = find(node) {
        bail!("runs already as process {pid}");
    }
    let log = File::options().create(true).append(true).open(node.log())?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("serve").arg("--config").arg(node.config()).process_group(0);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let mut child = command.spawn().context("start the process")?;
    std::fs::write(node.pid_file(), child.id().to_string())?;
    // A process has no command line yet for a moment after it was started: nobody is to take it
    // for one that ended.
    while find(node).is_none() && child.try_wait()?.is_none() {
        pause_between_looks();
    }
    Ok(())
}

/// The node's process, if it runs.
pub(super) fn find(node: &Node) -> Option<u32> {
    let pid: u32 = std::fs::read_to_string(node.pid_file()).ok()?.trim().parse().ok()?;
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let config = node.config();
    let is_ours =
        line.split(|byte| *byte == 0).any(|word| word == config.as_os_str().as_encoded_bytes());
    is_ours.then_some(pid)
}

/// In words: running, or paused.
pub(super) fn state(pid: u32) -> &'static str {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    if status.lines().any(|line| line.starts_with("State:\tT")) { "paused" } else { "running" }
}

/// Ends the node at once.
pub(super) fn kill(node: &Node) -> anyhow::Result<()> {
    signal(node, Signal::KILL)
}

/// Asks the node to stop; a paused one is woken for it.
pub(super) fn terminate(node: &Node) -> anyhow::Result<()> {
    signal(node, Signal::TERM)?;
    signal(node, Signal::CONT)
}

/// Stops the node in its tracks.
pub(super) fn pause(node: &Node) -> anyhow::Result<()> {
    signal(node, Signal::STOP)
}

/// Lets the node go on.
pub(super) fn resume(node: &Node) -> anyhow::Result<()> {
    signal(node, Signal::CONT)
}

fn signal(node: &Node, signal: Signal) -> anyhow::Result<()> {
    let Some(pid) = find(node) else { bail!("does not run") };
    let pid = Pid::from_raw(i32::try_from(pid)?).context("a pid is positive")?;
    kill_process(pid, signal).context("send the signal")
}

/// Between two looks at a process or a cluster.
#[expect(clippy::disallowed_methods, reason = "a poll between two looks at other processes")]
pub(super) fn pause_between_looks() {
    std::thread::sleep(Duration::from_millis(50));
}
