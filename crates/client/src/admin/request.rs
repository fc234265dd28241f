//! What is to be made or changed.

use std::collections::BTreeMap;
use std::time::Duration;

use quipu_proto::v1;

/// A topic to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// Number of partitions; 0 = 1.
    pub partitions: u32,
    /// Number of replicas; 0 = 3, or the number of nodes when there are fewer.
    pub replication: u32,
    /// Configuration that differs from the defaults.
    pub config: BTreeMap<String, String>,
    /// Check everything, create nothing.
    pub validate_only: bool,
    /// How long to wait for leaders; zero = 10 s.
    pub timeout: Duration,
}

impl NewTopic {
    /// A topic with all defaults.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            partitions: 0,
            replication: 0,
            config: BTreeMap::new(),
            validate_only: false,
            timeout: Duration::ZERO,
        }
    }

    /// Sets the number of partitions.
    #[must_use]
    pub fn partitions(self, partitions: u32) -> Self {
        Self { partitions, ..self }
    }

    /// Sets the number of replicas.
    #[must_use]
    pub fn replication(self, replication: u32) -> Self {
        Self { replication, ..self }
    }

    /// Sets a configuration key: `.set("min-insync", "3")`.
    #[must_use]
    pub fn set(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.insert(key.into(), value.into());
        self
    }

    /// Only checks.
    #[must_use]
    pub fn validate_only(self) -> Self {
        Self { validate_only: true, ..self }
    }

    pub(crate) fn into_proto(self) -> v1::CreateTopicRequest {
        v1::CreateTopicRequest {
            name: self.name,
            partitions: self.partitions,
            replication: self.replication,
            config: self.config.into_iter().collect(),
            validate_only: self.validate_only,
            timeout_ms: u32::try_from(self.timeout.as_millis()).unwrap_or(u32::MAX),
        }
    }
}

/// A change of a topic's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicChange {
    /// The topic.
    pub name: String,
    /// Keys to set.
    pub set: BTreeMap<String, String>,
    /// Keys that go back to their default.
    pub reset: Vec<String>,
    /// Check everything, change nothing.
    pub validate_only: bool,
}

impl TopicChange {
    /// A change of nothing yet.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), set: BTreeMap::new(), reset: Vec::new(), validate_only: false }
    }

    /// Sets a key.
    #[must_use]
    pub fn set(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.set.insert(key.into(), value.into());
        self
    }

    /// Lets a key go back to its default.
    #[must_use]
    pub fn reset(mut self, key: impl Into<String>) -> Self {
        self.reset.push(key.into());
        self
    }

    pub(crate) fn into_proto(self) -> v1::AlterTopicRequest {
        v1::AlterTopicRequest {
            name: self.name,
            set: self.set.into_iter().collect(),
            reset: self.reset,
            validate_only: self.validate_only,
            timeout_ms: 0,
        }
    }
}
