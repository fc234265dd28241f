//! Rules of the project that no compiler checks. Each message names the fix.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::{links, run};

/// Pages written by `cargo xtask docs`, with the command that prints each.
pub(crate) const GENERATED: &[(&str, &[&str])] = &[
    ("docs/reference/config.md", &["config", "reference"]),
    ("docs/reference/errors.md", &["errors"]),
    ("docs/reference/cli.md", &["manual"]),
    ("docs/reference/metrics.md", &["metrics"]),
];

/// The only crate that may use a package of the outside.
const DOORS: &[(&str, &str)] = &[("openraft", "consensus"), ("rocksdb", "kv")];

/// Words that replicated state machines must not contain.
const NOT_IN_STATE_MACHINES: &[&str] = &["HashMap", "SystemTime", "Instant::", "Clock", "Rng"];

/// Checks all rules and reports every breach.
pub(crate) fn tidy() -> Result<()> {
    let mut breaches = Vec::new();
    let manifests = manifests()?;
    layers(&manifests, &mut breaches)?;
    doors(&manifests, &mut breaches);
    for file in sources(&run::root().join("crates"))? {
        source(&file, &mut breaches)?;
    }
    adr_index(&mut breaches)?;
    links::check(&mut breaches)?;
    for breach in &breaches {
        run::say(&format!("tidy: {breach}"));
    }
    ensure!(breaches.is_empty(), "{} rule(s) broken", breaches.len());
    Ok(())
}

/// Crate name to the names of its normal dependencies.
type Manifests = BTreeMap<String, BTreeSet<String>>;

fn manifests() -> Result<Manifests> {
    let mut manifests = Manifests::new();
    for entry in std::fs::read_dir(run::root().join("crates"))? {
        let dir = entry?.path();
        let text = std::fs::read_to_string(dir.join("Cargo.toml"))
            .with_context(|| format!("read the manifest of {}", dir.display()))?;
        let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        manifests.insert(name, dependencies(&text));
    }
    Ok(manifests)
}

fn dependencies(manifest: &str) -> BTreeSet<String> {
    let section = manifest.split("[dependencies]").nth(1).unwrap_or_default();
    section
        .lines()
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split(['.', '=', ' ']).next())
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

/// The arrows between our crates are those listed in ARCHITECTURE.md, no more and no less.
fn layers(manifests: &Manifests, breaches: &mut Vec<String>) -> Result<()> {
    let text = std::fs::read_to_string(run::root().join("ARCHITECTURE.md"))?;
    let listed: BTreeMap<&str, BTreeSet<&str>> = text
        .split("```layers")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .context("ARCHITECTURE.md has no ```layers block")?
        .lines()
        .filter_map(|line| line.split_once("->"))
        .map(|(name, rest)| (name.trim(), rest.split_whitespace().collect()))
        .collect();
    for (name, dependencies) in manifests {
        let ours: BTreeSet<&str> = dependencies
            .iter()
            .filter_map(|dependency| dependency.strip_prefix("quipu-"))
            .collect();
        match listed.get(name.as_str()) {
            Some(expected) if *expected == ours => {}
            expected => breaches.push(format!(
                "crates/{name}/Cargo.toml depends on {ours:?}, ARCHITECTURE.md lists {expected:?}: \
                 remove the arrow, or list it there with its reason in the commit"
            )),
        }
    }
    Ok(())
}

fn doors(manifests: &Manifests, breaches: &mut Vec<String>) {
    for (package, door) in DOORS {
        let others = manifests
            .iter()
            .filter(|(name, dependencies)| name != door && dependencies.contains(*package));
        for (name, _) in others {
            breaches.push(format!("crates/{name} uses {package}: go through crates/{door}"));
        }
    }
}

fn sources(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn source(path: &Path, breaches: &mut Vec<String>) -> Result<()> {
    let text = std::fs::read_to_string(path)?;
    let shown = path.strip_prefix(run::root()).unwrap_or(path).display();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if name == "lib.rs" && !text.starts_with("//!") {
        breaches.push(format!("{shown}: a crate starts with its page of //! documentation"));
    }
    let todo = text.lines().position(|line| line.contains("TODO") && !line.contains("TODO(#"));
    if let Some(at) = todo {
        breaches.push(format!("{shown}:{}: write TODO(#issue), or do it", at + 1));
    }
    if name.starts_with("state_machine") && !shown.to_string().contains("consensus") {
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for word in NOT_IN_STATE_MACHINES {
            if code.lines().any(|line| line.contains(word) && !line.trim().starts_with("//")) {
                breaches.push(format!(
                    "{shown}: {word} in a state machine: replicas would differ; pass it in with \
                     the command"
                ));
            }
        }
    }
    Ok(())
}

/// Every decision is listed in docs/adr/README.md.
fn adr_index(breaches: &mut Vec<String>) -> Result<()> {
    let dir = run::root().join("docs/adr");
    let index = std::fs::read_to_string(dir.join("README.md"))?;
    for entry in std::fs::read_dir(&dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name != "README.md" && !index.contains(&name) {
            breaches.push(format!("docs/adr/README.md does not list {name}"));
        }
    }
    Ok(())
}
