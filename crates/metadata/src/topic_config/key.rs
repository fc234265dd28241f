//! The keys, each with its documentation.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::setting::InvalidConfig;

/// A setting's name. Stored by its text; never reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConfigKey {
    /// `min-insync`
    MinInsync,
    /// `min-acks`
    MinAcks,
    /// `max-batch-bytes`
    MaxBatchBytes,
    /// `timestamp-type`
    TimestampType,
    /// `retention-time`
    RetentionTime,
    /// `retention-bytes`
    RetentionBytes,
    /// `segment-bytes`
    SegmentBytes,
    /// `segment-time`
    SegmentTime,
    /// `cleanup-policy`
    CleanupPolicy,
    /// `tombstone-retention`
    TombstoneRetention,
    /// `compaction-lag-min`
    CompactionLagMin,
    /// `compaction-lag-max`
    CompactionLagMax,
}

/// One key: what may be set, and what it is for.
#[derive(Clone, Copy, Debug)]
pub struct KeyDoc {
    /// The key.
    pub key: ConfigKey,
    /// As written.
    pub name: &'static str,
    /// Values allowed.
    pub values: &'static str,
    /// Meaning, and why the default is what it is.
    pub doc: &'static str,
}

/// Every key, in the order of the reference page.
pub const KEYS: &[KeyDoc] = &[
    KeyDoc {
        key: ConfigKey::MinInsync,
        name: "min-insync",
        values: "majority of the replicas, to all of them",
        doc: "A batch is refused before it is written when fewer replicas are alive. The default \
              is the majority that every acknowledgement waits for; more trades availability for \
              copies.",
    },
    KeyDoc {
        key: ConfigKey::MinAcks,
        name: "min-acks",
        values: "`none`, `leader` or `quorum`",
        doc: "The weakest acknowledgement producers may ask for. They ask for `quorum` unless \
              told otherwise; `quorum` here keeps anybody from asking for less.",
    },
    KeyDoc {
        key: ConfigKey::MaxBatchBytes,
        name: "max-batch-bytes",
        values: "size, 1KiB to 8MiB",
        doc: "The largest batch, as it is sent. Larger events belong into a blob store, with a \
              reference here.",
    },
    KeyDoc {
        key: ConfigKey::TimestampType,
        name: "timestamp-type",
        values: "`create` or `log-append`",
        doc: "Whose clock stamps records: the producer's, or the leader's on append.",
    },
    KeyDoc {
        key: ConfigKey::RetentionTime,
        name: "retention-time",
        values: "duration, 1m to 36500d, or `unlimited`",
        doc: "Sealed segments whose newest record is older may be deleted. Unlimited: nothing is \
              ever deleted unasked.",
    },
    KeyDoc {
        key: ConfigKey::RetentionBytes,
        name: "retention-bytes",
        values: "size from 1MiB, or `unlimited`",
        doc: "The oldest sealed segments of a partition may be deleted while at least this much \
              is left. Both limits act.",
    },
    KeyDoc {
        key: ConfigKey::SegmentBytes,
        name: "segment-bytes",
        values: "size, 1MiB to 1GiB",
        doc: "A segment is sealed before it grows beyond this. Retention deletes whole segments.",
    },
    KeyDoc {
        key: ConfigKey::SegmentTime,
        name: "segment-time",
        values: "duration, 10s to 365d",
        doc: "A segment is sealed at this age, so that retention by time gets hold of quiet \
              partitions.",
    },
    KeyDoc {
        key: ConfigKey::CleanupPolicy,
        name: "cleanup-policy",
        values: "`delete`, `compact` or `compact,delete`",
        doc: "What becomes of old records: they go by age and size; of each key the newest stays, \
              in its place; or both. A compacted topic takes records with a key only, and \
              compressed batches that become at most 8 MiB.",
    },
    KeyDoc {
        key: ConfigKey::TombstoneRetention,
        name: "tombstone-retention",
        values: "duration, 1s to 36500d",
        doc: "A record without value says that its key is gone. It stays so long after it was \
              first compacted, for readers that lag.",
    },
    KeyDoc {
        key: ConfigKey::CompactionLagMin,
        name: "compaction-lag-min",
        values: "duration, 0ms to 36500d",
        doc: "Sealed segments with a younger record are not compacted.",
    },
    KeyDoc {
        key: ConfigKey::CompactionLagMax,
        name: "compaction-lag-max",
        values: "duration, 1s to 36500d",
        doc: "A sealed segment this old is compacted however little there is to gain; before, once \
              half of the log was not compacted yet.",
    },
];

impl ConfigKey {
    /// Whether the key is one of compaction.
    pub(super) const fn is_of_compaction(self) -> bool {
        matches!(
            self,
            Self::CleanupPolicy
                | Self::TombstoneRetention
                | Self::CompactionLagMin
                | Self::CompactionLagMax
        )
    }

    /// Every key, in the order of the reference page.
    pub fn all() -> impl Iterator<Item = Self> {
        KEYS.iter().map(|doc| doc.key)
    }

    /// As written.
    #[must_use]
    pub fn name(self) -> &'static str {
        KEYS.iter().find(|doc| doc.key == self).map_or("", |doc| doc.name)
    }

    /// The key of a name, if there is one.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        KEYS.iter().find(|doc| doc.name == name).map(|doc| doc.key)
    }

    /// The key of a name as users write it.
    ///
    /// # Errors
    /// `UnknownKey`, with what was probably meant.
    pub fn parse(name: &str) -> Result<Self, InvalidConfig> {
        Self::of(name).ok_or_else(|| InvalidConfig::UnknownKey {
            key: name.to_owned(),
            suggestion: Self::nearest(name).map(str::to_owned),
        })
    }

    /// The key that was probably meant.
    fn nearest(name: &str) -> Option<&'static str> {
        let folded = name.to_ascii_lowercase().replace(['_', '.'], "-");
        if let Some(alias) = ALIASES.iter().find(|(alias, _)| *alias == folded) {
            return Some(alias.1);
        }
        KEYS.iter()
            .map(|doc| (edit_distance(&folded, doc.name), doc.name))
            .filter(|(distance, _)| *distance <= 1 + folded.len() / 4)
            .min()
            .map(|(_, name)| name)
    }
}

/// What other logs call it, and what contracts of ours called it on the way.
const ALIASES: &[(&str, &str)] = &[
    ("min-insync-replicas", "min-insync"),
    ("min-in-sync", "min-insync"),
    ("acks", "min-acks"),
    ("max-message-bytes", "max-batch-bytes"),
    ("batch-bytes-max", "max-batch-bytes"),
    ("message-timestamp-type", "timestamp-type"),
    ("retention", "retention-time"),
    ("retention-ms", "retention-time"),
    ("segment-ms", "segment-time"),
    ("segment-age", "segment-time"),
    ("cleanup", "cleanup-policy"),
    ("delete-retention-ms", "tombstone-retention"),
    ("min-compaction-lag-ms", "compaction-lag-min"),
    ("max-compaction-lag-ms", "compaction-lag-max"),
];

/// Levenshtein distance.
fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.chars().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

impl fmt::Display for ConfigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
