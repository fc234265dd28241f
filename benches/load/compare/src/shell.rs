//! Talking to the person who watches, and to programs that are there already.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};

static IS_STOPPED: AtomicBool = AtomicBool::new(false);

/// Control-C and SIGTERM end the session in order: servers first, then a report of what there is.
pub(crate) fn stop_on_signals() -> Result<()> {
    let stop = || {
        say("stopping: servers are ended, what was measured is kept");
        IS_STOPPED.store(true, Ordering::Relaxed);
    };
    ctrlc::set_handler(stop).context("listen to signals")
}

/// An error once the session is to end.
pub(crate) fn go_on() -> Result<()> {
    ensure!(!IS_STOPPED.load(Ordering::Relaxed), "stopped by a signal");
    Ok(())
}

/// A line for the person who watches.
#[expect(clippy::print_stderr, reason = "the program talks to a person")]
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}

/// A bar over a number of steps.
pub(crate) fn bar(steps: u64) -> ProgressBar {
    let style = "[{elapsed_precise}] {bar:30} {pos}/{len} {wide_msg} eta {eta}";
    let style = ProgressStyle::with_template(style).expect("the template is valid");
    let bar = ProgressBar::new(steps).with_style(style);
    bar.enable_steady_tick(std::time::Duration::from_secs(1));
    bar
}

/// Runs a program to its end; what it printed is shown when it fails.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("start {shown}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{shown}: {}\n{text}{errors}", output.status);
    Ok(text)
}

/// The last lines of a file, for the reason of an error.
pub(crate) fn tail(path: &Path, lines: usize) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
