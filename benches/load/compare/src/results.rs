//! The directory of a session's results.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::cluster::Cluster;
use crate::judge::Sample;
use crate::machine;
use crate::options::Options;
use crate::probe::Probe;

/// What a report is made of.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Session {
    pub(crate) when: String,
    pub(crate) machine: String,
    pub(crate) commit: String,
    pub(crate) command: String,
    pub(crate) probe: Option<Probe>,
    pub(crate) samples: Vec<Sample>,
    /// What could not be measured, and why.
    pub(crate) failures: Vec<String>,
    /// The options of the table, by which a report is made again.
    pub(crate) peers: Vec<String>,
}

/// Where everything goes.
#[derive(Debug)]
pub(crate) struct Results(PathBuf);

impl Results {
    pub(crate) fn create(options: &Options, when: &str) -> Result<Self> {
        let dir = options.results.join(when);
        std::fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        let results = Self(std::path::absolute(dir)?);
        for (name, text) in machine::describe() {
            results.write(&format!("machine/{name}"), &text)?;
        }
        results.write("options.json", &serde_json::to_string_pretty(options)?)?;
        Ok(results)
    }

    pub(crate) fn open(dir: &Path) -> Self {
        Self(dir.to_owned())
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.0
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.0.join(name);
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    }

    /// Every configuration file of a system, once.
    pub(crate) fn configuration(&self, cluster: &Cluster) -> Result<()> {
        let shown: BTreeMap<&String, &String> = cluster.configuration.iter().collect();
        let mut text = format!("# {}: {}\n", cluster.system.label(), cluster.version);
        for (name, content) in shown {
            text.push_str(&format!("\n--- {name}\n{}\n", content.trim_end()));
        }
        self.write(&format!("configuration/{}.txt", cluster.system.slug()), &text)
    }

    pub(crate) fn save(&self, session: &Session) -> Result<()> {
        self.write("session.json", &serde_json::to_string_pretty(session)?)
    }

    pub(crate) fn load(&self) -> Result<Session> {
        let path = self.0.join("session.json");
        let text = std::fs::read_to_string(&path);
        let text = text.with_context(|| format!("read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("parse {}", path.display()))
    }
}
