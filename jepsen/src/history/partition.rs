//! The name of a log.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A partition, written `TOPIC/INDEX`; a topic made again is written `TOPIC#N/INDEX`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Partition(String);

/// A text that names no partition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a partition: write TOPIC/INDEX, for example orders/0")]
pub struct InvalidPartition {
    text: String,
}

impl Partition {
    /// The topic, with its `#N` when it was made again.
    #[must_use]
    pub fn topic(&self) -> &str {
        self.0.rsplit_once('/').map_or(self.0.as_str(), |(topic, _)| topic)
    }

    /// The topic's name as users know it, shared by all its lives.
    #[must_use]
    pub fn topic_name(&self) -> &str {
        let topic = self.topic();
        topic.split_once('#').map_or(topic, |(name, _)| name)
    }
}

impl FromStr for Partition {
    type Err = InvalidPartition;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::try_from(text.to_owned())
    }
}

impl TryFrom<String> for Partition {
    type Error = InvalidPartition;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.rsplit_once('/') {
            Some((topic, index)) if !topic.is_empty() && index.parse::<u32>().is_ok() => {
                Ok(Self(text))
            }
            _ => Err(InvalidPartition { text }),
        }
    }
}

impl From<Partition> for String {
    fn from(partition: Partition) -> Self {
        partition.0
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
