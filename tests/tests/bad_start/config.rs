//! Configurations that are refused: with exit code 2 and the exact words, before anything is done.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::flags::{FLAGS, VARIABLES};
use crate::quipu::{self, Ended};
use crate::settings::FILES;

/// Enough for a node of its own; the data directory must never appear.
const BASE: &str = "[node]\nid = 1\ndata-dir = \"{dir}/data\"\n";

#[tokio::test]
async fn files_are_refused_with_their_line() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut failures = Vec::new();
    for (number, (name, text, expected)) in FILES.iter().enumerate() {
        let file = dir.path().join(format!("{number}.toml"));
        let text = text.replace("{base}", BASE);
        std::fs::write(&file, text.replace("{dir}", &shown(dir.path())))?;
        let expected = expected.replace("{file}", &shown(&file));
        both(&mut failures, name, &["--config", &shown(&file)], &[], &expected).await?;
    }
    ensure!(FILES.len() >= 40, "{} files", FILES.len());
    verdict(dir.path(), &failures)
}

#[tokio::test]
async fn flags_and_variables_are_refused_with_their_name() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let data = format!("node.data-dir={}/data", shown(dir.path()));
    let mut failures = Vec::new();
    for (flags, expected) in FLAGS {
        let mut args = vec!["--set", "node.id=1", "--set", data.as_str()];
        for flag in *flags {
            args.extend(["--set", flag]);
        }
        both(&mut failures, &format!("{flags:?}"), &args, &[], expected).await?;
    }
    for (variable, value, expected) in VARIABLES {
        let args = ["--set", data.as_str()];
        both(&mut failures, variable, &args, &[(variable, value)], expected).await?;
    }
    verdict(dir.path(), &failures)
}

#[tokio::test]
async fn what_cannot_be_read_is_refused() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut failures = Vec::new();
    let missing = shown(&dir.path().join("missing.toml"));
    let expected =
        format!("read configuration file {missing}: No such file or directory (os error 2)");
    both(&mut failures, "missing", &["--config", &missing], &[], &expected).await?;
    both(&mut failures, "missing, by variable", &[], &[("QUIPU_CONFIG", &missing)], &expected)
        .await?;

    let folder = shown(dir.path());
    let expected = format!("read configuration file {folder}: Is a directory (os error 21)");
    both(&mut failures, "a directory", &["--config", &folder], &[], &expected).await?;

    let binary = dir.path().join("binary.toml");
    std::fs::write(&binary, [0xC3, 0x28, 0x00, 0xFF])?;
    let binary = shown(&binary);
    let expected = format!("read configuration file {binary}: stream did not contain valid UTF-8");
    both(&mut failures, "not text", &["--config", &binary], &[], &expected).await?;

    let empty = dir.path().join("empty.toml");
    std::fs::write(&empty, "")?;
    let expected = "setting node.id is missing: put it into the file, set QUIPU_NODE__ID, or pass \
                    --set node.id=…";
    both(&mut failures, "empty", &["--config", &shown(&empty)], &[], expected).await?;
    verdict(dir.path(), &failures)
}

#[tokio::test]
async fn a_good_file_is_called_good_and_starts_nothing() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("quipu.toml");
    std::fs::write(&file, BASE.replace("{dir}", &shown(dir.path())))?;
    let ended = quipu::run(&["config", "check", "--config", &shown(&file)], &[]).await?;
    let expected = Ended { code: Some(0), stderr: "configuration is valid\n".to_owned() };
    ensure!(ended == expected, "{ended:?}");
    verdict(dir.path(), &[])
}

/// Both verbs say the same. `expected` may end in `…`: what follows is the parser's.
async fn both(
    failures: &mut Vec<String>,
    name: &str,
    args: &[&str],
    variables: &[(&str, &str)],
    expected: &str,
) -> Result<()> {
    for verb in [&["config", "check"][..], &["serve"]] {
        let args: Vec<&str> = verb.iter().chain(args).copied().collect();
        let ended = quipu::run(&args, variables).await.with_context(|| name.to_owned());
        let is_right = ended.as_ref().is_ok_and(|ended| {
            let says = match expected.strip_suffix("…\n") {
                Some(begin) => ended.stderr.starts_with(&format!("error: {begin}")),
                None => ended.stderr == format!("error: {expected}\n"),
            };
            ended.code == Some(2) && says
        });
        if !is_right {
            failures
                .push(format!("{name}: {}: wanted {expected:?}, saw {ended:?}", verb.join(" ")));
        }
    }
    Ok(())
}

fn verdict(dir: &Path, failures: &[String]) -> Result<()> {
    if !failures.is_empty() {
        bail!("{} differ:\n  {}", failures.len(), failures.join("\n  "));
    }
    ensure!(!dir.join("data").exists(), "a refused start left a data directory");
    Ok(())
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
