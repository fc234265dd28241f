//! The generated pages of the reference say what the binary says. `cargo xtask docs` writes them.

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

#[tokio::test]
async fn the_reference_pages_are_those_of_this_release() -> Result<()> {
    for (words, page) in [
        (&["errors"][..], include_str!("../../docs/reference/errors.md")),
        (&["manual"][..], include_str!("../../docs/reference/cli.md")),
        (&["config", "reference"][..], include_str!("../../docs/reference/config.md")),
    ] {
        let command = Command::new(quipu_testkit::quipu_binary()?).args(words).output().await;
        let printed = String::from_utf8(command?.stdout).context("text")?;
        ensure!(printed == page, "`quipu {}` differs: run `cargo xtask docs`", words.join(" "));
    }
    Ok(())
}
