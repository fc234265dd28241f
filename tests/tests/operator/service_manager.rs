//! What systemd hears of a node that it started.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::net::UnixDatagram;
use tokio::process::Command;

const WAIT: Duration = Duration::from_secs(60);

/// The lines that come until one of them is this.
async fn heard(socket: &UnixDatagram, last: &str) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let mut bytes = [0; 4096];
    while !lines.iter().any(|line| line == last) {
        let received = tokio::time::timeout(WAIT, socket.recv(&mut bytes)).await;
        let length = received.with_context(|| format!("no {last} after {lines:?}"))??;
        let text = std::str::from_utf8(&bytes[..length])?;
        lines.extend(text.lines().map(str::to_owned));
    }
    Ok(lines)
}

#[tokio::test]
async fn systemd_hears_that_a_node_is_up_what_it_does_and_that_it_stops() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path)?;
    let mut node = Command::new(quipu_testkit::quipu_binary()?)
        .args(["dev", "--set", "listeners.client=127.0.0.1:0"])
        .args(["--set", "listeners.peer=127.0.0.1:0", "--set", "listeners.metrics=127.0.0.1:0"])
        .env("NOTIFY_SOCKET", &path)
        .env("HOME", dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let lines = heard(&socket, "READY=1").await?;
    ensure!(lines.iter().any(|line| line == "STATUS=opening the data directory"), "{lines:?}");
    heard(&socket, "STATUS=serving").await?;
    let pid = i32::try_from(node.id().context("it runs")?)?;
    let pid = rustix::process::Pid::from_raw(pid).context("a process id")?;
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    heard(&socket, "STOPPING=1").await?;
    let ended = tokio::time::timeout(WAIT, node.wait()).await??;
    ensure!(ended.success(), "{ended}");
    Ok(())
}
