//! Settings by topic-name pattern: what a topic inherits that does not set them itself.
//!
//! The table is part of the image, so a policy acts on topics that exist and on those to come,
//! and one that is deleted acts no more. Key by key the most specific pattern that sets it wins,
//! and a topic's own setting beats them all.

mod pattern;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::image::{Image, TopicRecord};
use crate::topic_config::{ConfigKey, InvalidConfig, Setting, TopicConfig};

pub use pattern::{InvalidPattern, TopicPattern};

/// Policies of a cluster: every topic is compared with every pattern.
pub const POLICIES_MAX: usize = 256;

/// What may be set for topics in general: how long and how much they keep, and in which pieces.
const KEYS: [ConfigKey; 4] = [
    ConfigKey::RetentionTime,
    ConfigKey::RetentionBytes,
    ConfigKey::SegmentBytes,
    ConfigKey::SegmentTime,
];

/// The policies of a cluster, by pattern. Persisted as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Policies {
    by_pattern: BTreeMap<TopicPattern, Vec<Setting>>,
}

/// One policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// For which topics.
    pub pattern: TopicPattern,
    /// What they inherit, in order of key.
    pub settings: Vec<Setting>,
}

/// Where a topic has a setting from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From nowhere: the default.
    Default,
    /// It sets it itself.
    Topic,
    /// From the policy of a pattern.
    Policy(TopicPattern),
}

impl Policies {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_pattern.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_pattern.len()
    }

    /// All of them, in order of pattern.
    pub fn iter(&self) -> impl Iterator<Item = (&TopicPattern, &[Setting])> {
        self.by_pattern.iter().map(|(pattern, settings)| (pattern, settings.as_slice()))
    }

    /// The policy of a pattern.
    #[must_use]
    pub fn get(&self, pattern: &TopicPattern) -> Option<&[Setting]> {
        self.by_pattern.get(pattern).map(Vec::as_slice)
    }

    pub(crate) fn insert(&mut self, policy: Policy) {
        self.by_pattern.insert(policy.pattern, policy.settings);
    }

    pub(crate) fn remove(&mut self, pattern: &TopicPattern) -> Option<Policy> {
        let settings = self.by_pattern.remove(pattern)?;
        Some(Policy { pattern: pattern.clone(), settings })
    }

    /// What a topic of a name inherits: every key with its value and the pattern that gave it.
    fn inherited(&self, name: &str) -> BTreeMap<ConfigKey, (&TopicPattern, Setting)> {
        let mut matching: Vec<(&TopicPattern, &Vec<Setting>)> =
            self.by_pattern.iter().filter(|(pattern, _)| pattern.is_match(name)).collect();
        matching.sort_by(|a, b| a.0.specificity().cmp(&b.0.specificity()));
        let settings = matching.into_iter().flat_map(|(pattern, settings)| {
            settings.iter().map(move |setting| (setting.key(), (pattern, *setting)))
        });
        // The last one stays: the most specific.
        settings.collect()
    }
}

impl Policy {
    /// Checks settings for topics in general; of each key the last one counts.
    ///
    /// # Errors
    /// [`InvalidConfig`] for a key that is a matter of each topic, or no key at all.
    pub fn new(
        pattern: TopicPattern,
        settings: impl IntoIterator<Item = Setting>,
    ) -> Result<Self, InvalidConfig> {
        let by_key: BTreeMap<ConfigKey, Setting> =
            settings.into_iter().map(|setting| (setting.key(), setting)).collect();
        if by_key.is_empty() {
            return Err(InvalidConfig::EmptyPolicy);
        }
        if let Some(key) = by_key.keys().find(|key| !KEYS.contains(key)) {
            return Err(InvalidConfig::NotByPolicy { key: *key });
        }
        Ok(Self { pattern, settings: by_key.into_values().collect() })
    }
}

/// The keys that a policy may set, as words.
pub(crate) fn key_names() -> String {
    KEYS.map(ConfigKey::name).join(", ")
}

impl TopicRecord {
    /// Whether the topic sets a key itself. Where an older release did not note it, a value other
    /// than the default was set.
    #[must_use]
    pub fn sets(&self, key: ConfigKey) -> bool {
        match &self.own {
            Some(own) => own.contains(&key),
            None => {
                let defaults = TopicConfig::for_replication(self.replication);
                self.config.get(key) != defaults.get(key)
            }
        }
    }

    /// The keys that the topic sets itself.
    pub(crate) fn own_keys(&self) -> BTreeSet<ConfigKey> {
        ConfigKey::all().filter(|key| self.sets(*key)).collect()
    }
}

impl Image {
    /// The settings a topic lives by: its own, else those of policies, else the defaults.
    #[must_use]
    pub fn effective(&self, topic: &TopicRecord) -> TopicConfig {
        let mut config = topic.config.clone();
        if !self.policies.is_empty() {
            for (key, (_, setting)) in self.policies.inherited(topic.name.as_str()) {
                if !topic.sets(key) {
                    config.set(&setting);
                }
            }
        }
        config
    }

    /// The settings a topic lives by, each with where it is from, in the order of the reference.
    #[must_use]
    pub fn explained(&self, topic: &TopicRecord) -> Vec<(Setting, Origin)> {
        let config = self.effective(topic);
        let inherited = self.policies.inherited(topic.name.as_str());
        let origin = |key: ConfigKey| match inherited.get(&key) {
            _ if topic.sets(key) => Origin::Topic,
            Some((pattern, _)) => Origin::Policy((*pattern).clone()),
            None => Origin::Default,
        };
        ConfigKey::all().map(|key| (config.get(key), origin(key))).collect()
    }

    /// How many topics have a setting from the policy of a pattern.
    #[must_use]
    pub fn topics_under(&self, pattern: &TopicPattern) -> usize {
        let is_under = |topic: &TopicRecord| {
            let inherited = self.policies.inherited(topic.name.as_str());
            inherited.iter().any(|(key, (from, _))| *from == pattern && !topic.sets(*key))
        };
        self.topics
            .values()
            .filter(|topic| pattern.is_match(topic.name.as_str()) && is_under(topic))
            .count()
    }
}

#[cfg(test)]
mod tests;
