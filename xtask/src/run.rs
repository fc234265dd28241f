//! Starts cargo with the project's target directory, outside the clone.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Debug builds have failpoints, all of them: nothing is compiled twice. Releases have none.
pub(crate) const FAILPOINTS: &[&str] = &["--features", "quipu-cli/failpoints"];

/// The top of the checkout: asked of cargo when run, because clones that share a target directory
/// share this program, too.
pub(crate) fn root() -> PathBuf {
    let xtask =
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| "xtask".into(), PathBuf::from);
    xtask.parent().map_or_else(PathBuf::new, Path::to_path_buf)
}

/// Where builds go: kept between clones, because RocksDB takes minutes to compile.
pub(crate) fn target_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("CARGO_TARGET_DIR") {
        return dir.into();
    }
    let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
    home.join(".cache/quipu/target")
}

/// Runs cargo; its exit status decides.
pub(crate) fn cargo(words: &[&str]) -> Result<()> {
    cargo_with(words, &[])
}

/// Runs cargo with more environment.
pub(crate) fn cargo_with(words: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    say(&format!("cargo {}", words.join(" ")));
    let mut command = command("cargo");
    command.args(words).envs(environment.iter().copied());
    let status = command.status().context("start cargo")?;
    ensure!(status.success(), "cargo {} failed: {status}", words.join(" "));
    Ok(())
}

/// What cargo prints.
pub(crate) fn cargo_output(words: &[&str]) -> Result<Vec<u8>> {
    let output =
        command("cargo").args(words).stderr(Stdio::inherit()).output().context("start cargo")?;
    ensure!(output.status.success(), "cargo {} failed: {}", words.join(" "), output.status);
    Ok(output.stdout)
}

/// A command in the checkout, with the shared target directory.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root()).env("CARGO_TARGET_DIR", target_dir());
    command
}

/// A line for the person who watches.
#[expect(clippy::print_stderr, reason = "xtask talks to a person")]
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}
