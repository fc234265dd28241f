//! Signals to processes that a test started.

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

/// Stops a process in its tracks (SIGSTOP).
///
/// # Errors
/// When there is no such process.
pub fn pause(process: u32) -> Result<()> {
    send(process, Signal::STOP)
}

/// Lets a paused process go on (SIGCONT).
///
/// # Errors
/// When there is no such process.
pub fn resume(process: u32) -> Result<()> {
    send(process, Signal::CONT)
}

pub(crate) fn send(process: u32, signal: Signal) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(process)?).context("a pid is positive")?;
    kill_process(pid, signal).with_context(|| format!("signal process {process}"))
}
