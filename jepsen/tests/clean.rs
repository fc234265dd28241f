//! `--clean` removes what dead runs left, and nothing of a run that goes on.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use quipu_jepsen::cluster::Lab;

/// Left by a process that cannot be: the greatest pid there is is 2^22.
const LEFT: &str = "quipu-chaos-4194305-1";

fn ip(words: &[&str]) -> Result<String> {
    let done = Command::new("ip").args(words).output().context("ip")?;
    ensure!(done.status.success(), "ip {words:?}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(String::from_utf8(done.stdout)?)
}

fn clean(lab: &Lab) -> Result<()> {
    ip(&["netns", "add", LEFT])?;
    let mut left = Command::new("ip");
    left.args(["netns", "exec", LEFT, "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut left = left.spawn()?;
    let echoed = left.stdin.as_mut().context("a pipe")?.write_all(b"x");
    echoed.and_then(|()| left.stdout.as_mut().expect("a pipe").read_exact(&mut [0]))?;
    let done = Command::new(env!("CARGO_BIN_EXE_quipu-chaos")).arg("--clean").output()?;
    ensure!(done.status.success(), "{done:?}");
    let told = String::from_utf8(done.stderr)?;
    ensure!(told.contains(LEFT) && !told.contains(lab.prefix()), "{told}");
    ensure!(!left.wait()?.success(), "what ran in it was killed");
    let spaces = ip(&["netns", "list"])?;
    ensure!(!spaces.contains(LEFT) && spaces.contains(&format!("{}-1", lab.prefix())), "{spaces}");
    Ok(())
}

#[test]
fn what_a_dead_run_left_is_removed_and_a_run_that_goes_on_is_spared() -> Result<()> {
    if let Some(why) = Lab::obstacle() {
        eprintln!("not run: {why}");
        return Ok(());
    }
    let lab = Lab::create(1)?;
    let cleaned = clean(&lab);
    lab.remove();
    cleaned
}
