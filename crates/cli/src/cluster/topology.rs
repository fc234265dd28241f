//! What a cluster is to hold, as a file declares it. The only door to YAML.

use std::collections::{BTreeMap, BTreeSet};

use quipu_client::{Policy, TopicDescription};
use serde::{Deserialize, Serialize};

/// The only layout so far; a change that old readers would misread is a new name.
pub(super) const API_VERSION: &str = "quipu/v1";
/// A file of this size was not written by hand.
const BYTES_MAX: usize = 16 << 20;

/// Topics and policies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Topology {
    /// [`API_VERSION`].
    pub(super) api_version: String,
    /// By name, in any order.
    #[serde(default)]
    pub(super) topics: Vec<TopicSpec>,
    /// By pattern, in any order.
    #[serde(default)]
    pub(super) policies: Vec<PolicySpec>,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TopicSpec {
    pub(super) name: String,
    /// As it has when missing; 1 for a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) partitions: Option<u32>,
    /// As it has when missing; the cluster's default for a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) replication: Option<u32>,
    /// What it sets itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) config: BTreeMap<String, String>,
}

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicySpec {
    pub(super) pattern: String,
    pub(super) config: BTreeMap<String, String>,
}

/// What every version has.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnyVersion {
    api_version: Option<String>,
}

/// A file that is not understood, and where.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidTopology {
    /// Not YAML, an unknown field, or a value of another kind.
    #[error("{at}{reason}")]
    Syntax { at: String, reason: String },
    /// Written for another release.
    #[error(
        "apiVersion is {found:?}, this release reads {API_VERSION:?}: use the quipu command of \
         the release that the file was written for, or write the file anew with \
         `quipu cluster export`"
    )]
    Version { found: String },
    /// No version.
    #[error("apiVersion is missing: begin the file with `apiVersion: {API_VERSION}`")]
    NoVersion,
    /// One name, two declarations.
    #[error("{kind} {name:?} is declared twice: keep one of the two")]
    Twice { kind: &'static str, name: String },
    /// Too large.
    #[error("the file has {bytes} bytes, {BYTES_MAX} is the most")]
    TooLarge { bytes: usize },
}

impl From<serde_saphyr::Error> for InvalidTopology {
    fn from(error: serde_saphyr::Error) -> Self {
        let at = error.location().map(|at| format!("line {}, column {}", at.line(), at.column()));
        let at = at.unwrap_or_default();
        // Without the excerpt: one line, as every other error. The place comes first, and once.
        let reason = error.without_snippet().to_string();
        let reason = reason.lines().next().unwrap_or_default();
        let reason = reason.strip_suffix(&format!(" at {at}")).unwrap_or(reason).to_owned();
        let at = if at.is_empty() { at } else { format!("{at}: ") };
        Self::Syntax { at, reason }
    }
}

impl Topology {
    /// Reads a file's text.
    pub(super) fn parse(text: &str) -> Result<Self, InvalidTopology> {
        if text.len() > BYTES_MAX {
            return Err(InvalidTopology::TooLarge { bytes: text.len() });
        }
        let any: AnyVersion = serde_saphyr::from_str(text)?;
        match any.api_version {
            Some(found) if found == API_VERSION => {}
            Some(found) => return Err(InvalidTopology::Version { found }),
            None => return Err(InvalidTopology::NoVersion),
        }
        let topology: Self = serde_saphyr::from_str(text)?;
        once("topic", topology.topics.iter().map(|topic| &topic.name))?;
        once("policy", topology.policies.iter().map(|policy| &policy.pattern))?;
        Ok(topology)
    }

    /// The file's text.
    pub(super) fn text(&self) -> anyhow::Result<String> {
        Ok(serde_saphyr::to_string(self)?)
    }

    /// What a cluster has: of topics what they set themselves, without what they inherit.
    pub(super) fn of(topics: &[TopicDescription], policies: &[Policy]) -> anyhow::Result<Self> {
        let mut topics = topics
            .iter()
            .map(|topic| {
                Ok(TopicSpec {
                    name: topic.name.clone(),
                    partitions: Some(u32::try_from(topic.partitions.len())?),
                    replication: Some(topic.replication),
                    config: own_settings(topic),
                })
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        let policies = policies.iter();
        let mut policies: Vec<PolicySpec> = policies
            .map(|it| PolicySpec { pattern: it.pattern.clone(), config: it.config.clone() })
            .collect();
        policies.sort_by(|a, b| a.pattern.cmp(&b.pattern));
        Ok(Self { api_version: API_VERSION.to_owned(), topics, policies })
    }
}

/// The settings a topic has from nobody else.
pub(super) fn own_settings(topic: &TopicDescription) -> BTreeMap<String, String> {
    let own = topic.config.iter().filter(|entry| !entry.is_default && entry.policy.is_none());
    own.map(|entry| (entry.key.clone(), entry.value.clone())).collect()
}

fn once<'a>(
    kind: &'static str,
    names: impl Iterator<Item = &'a String>,
) -> Result<(), InvalidTopology> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(InvalidTopology::Twice { kind, name: name.clone() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = "\
apiVersion: quipu/v1
topics:
- name: fees
  partitions: 12
  replication: 3
  config:
    retention-time: 90d
    min-insync: 2
- name: permits
policies:
- pattern: '*'
  config:
    retention-bytes: 10GiB
";

    fn refused(text: &str) -> String {
        Topology::parse(text).expect_err(text).to_string()
    }

    #[test]
    fn a_file_is_read_and_comes_back_as_it_was() {
        let topology = Topology::parse(FULL).expect("valid");
        assert_eq!(topology.topics[0].config["min-insync"], "2", "numbers are texts here");
        assert_eq!(topology.topics[1].partitions, None);
        let text = topology.text().expect("it has a form");
        assert_eq!(Topology::parse(&text).expect(&text), topology, "{text}");
    }

    #[test]
    fn awkward_texts_come_back_as_they_were() {
        let values =
            ["*", "yes", "1", "0x1", "1e3", "null", "~", "a: b", "# c", "", " d ", "'\"\n"];
        let config = values.iter().map(|value| (format!("k-{value}"), (*value).to_owned()));
        let policy = PolicySpec { pattern: "*".to_owned(), config: config.collect() };
        let api_version = API_VERSION.to_owned();
        let topology = Topology { api_version, topics: Vec::new(), policies: vec![policy] };
        let text = topology.text().expect("it has a form");
        assert_eq!(Topology::parse(&text).expect(&text), topology, "{text}");
    }

    #[test]
    fn what_is_not_understood_is_named_with_its_line() {
        let unknown = refused(&FULL.replace("  partitions: 12", "  partitons: 12"));
        assert!(unknown.starts_with("line 4, ") && unknown.contains("partitons"), "{unknown}");
        let unknown = refused(&FULL.replace("policies:", "polices:"));
        assert!(unknown.starts_with("line 10, ") && unknown.contains("polices"), "{unknown}");
        let kind = refused(&FULL.replace("12", "twelve"));
        assert!(kind.starts_with("line 4, "), "{kind}");
        let syntax = refused("apiVersion: quipu/v1\ntopics: [");
        assert!(syntax.starts_with("line "), "{syntax}");
        let twice = refused(&FULL.replace("- name: permits", "- name: fees"));
        assert_eq!(twice, "topic \"fees\" is declared twice: keep one of the two");
        let key = refused(&FULL.replace("    min-insync: 2", "    retention-time: 2d"));
        assert!(key.contains("retention-time"), "{key}");
    }

    #[test]
    fn another_version_is_refused_before_the_rest_is_read() {
        let other = refused("apiVersion: quipu/v2\nclusters: [fees]\n");
        assert!(other.starts_with("apiVersion is \"quipu/v2\", this release reads"), "{other}");
        let none = refused("topics: []\n");
        assert!(none.starts_with("apiVersion is missing: begin"), "{none}");
        assert!(!refused("").is_empty());
    }
}
