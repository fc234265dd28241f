//! Commands of the system.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Runs a command; its output is part of the error.
pub(crate) fn run(program: &str, words: &[&str]) -> Result<String> {
    let output = Command::new(program).args(words).output().with_context(|| program.to_owned())?;
    let said = String::from_utf8_lossy(&output.stderr);
    let line = words.join(" ");
    ensure!(output.status.success(), "{program} {line}: {}: {}", output.status, said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a program is installed.
pub(crate) fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// A path as a word of a command.
pub(crate) fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path in text")
}
