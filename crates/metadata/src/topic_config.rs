//! The settings of a topic: keys, bounds, defaults, and the sentences that refuse the rest.
//!
//! One table ([`KEYS`]) names every key with its values, default and reason; parsing, errors and
//! the reference page read it.

mod key;
mod quantity;
mod setting;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use quipu_types::record::TimestampType;
use quipu_types::{Acks, limits};
use serde::{Deserialize, Serialize};

pub use key::{ConfigKey, KEYS, KeyDoc};
pub use setting::{InvalidConfig, Setting};

/// A topic's settings, all of them.
///
/// Stored and shown as texts by key. The defaults are part of what is replicated: apply fills them
/// in, so a change of one is a new command, not an edit here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "BTreeMap<String, String>", try_from = "BTreeMap<String, String>")]
pub struct TopicConfig {
    /// `min-insync`: live replicas below which batches are refused before they are written.
    pub min_insync: u8,
    /// `min-acks`: the weakest acknowledgement a producer may ask for.
    pub min_acks: Acks,
    /// `max-batch-bytes`: the largest batch. Unit: bytes.
    pub max_batch_bytes: usize,
    /// `timestamp-type`: whose clock stamps the records.
    pub timestamp_type: TimestampType,
    /// `retention-time`: how long records are kept; for ever when none. Unit: milliseconds.
    pub retention_ms: Option<u64>,
    /// `retention-bytes`: how much of a partition is kept; everything when none. Unit: bytes.
    pub retention_bytes: Option<u64>,
    /// `segment-bytes`: size at which a segment is sealed. Unit: bytes.
    pub segment_bytes: u64,
    /// `segment-time`: age at which a segment is sealed. Unit: milliseconds.
    pub segment_ms: u64,
    /// `cleanup-policy`: what becomes of old records.
    pub cleanup: Cleanup,
    /// `tombstone-retention`: how long tombstones stay in what was compacted. Unit: milliseconds.
    pub tombstone_ms: u64,
    /// `compaction-lag-min`: younger records are not compacted. Unit: milliseconds.
    pub compaction_lag_min_ms: u64,
    /// `compaction-lag-max`: older ones are, however little there is to gain. Unit: milliseconds.
    pub compaction_lag_max_ms: u64,
}

/// What becomes of old records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cleanup {
    /// They go by age and size.
    #[default]
    Delete,
    /// Of each key the newest stays.
    Compact,
    /// Both.
    CompactAndDelete,
}

impl Cleanup {
    /// Whether of each key only the newest record need stay.
    #[must_use]
    pub const fn is_compacted(self) -> bool {
        matches!(self, Self::Compact | Self::CompactAndDelete)
    }

    /// Whether records go by age and size.
    #[must_use]
    pub const fn is_deleted(self) -> bool {
        matches!(self, Self::Delete | Self::CompactAndDelete)
    }
}

impl Default for TopicConfig {
    /// The settings of a topic with three replicas.
    fn default() -> Self {
        Self::for_replication(3)
    }
}

impl TopicConfig {
    /// The settings of a topic that sets none.
    #[must_use]
    pub const fn for_replication(replication: u8) -> Self {
        Self {
            min_insync: majority(replication),
            min_acks: Acks::None,
            max_batch_bytes: limits::BATCH_BYTES_MAX_DEFAULT,
            timestamp_type: TimestampType::Create,
            retention_ms: None,
            retention_bytes: None,
            segment_bytes: 128 << 20,
            segment_ms: 7 * quantity::DAY_MS,
            cleanup: Cleanup::Delete,
            tombstone_ms: quantity::DAY_MS,
            compaction_lag_min_ms: 0,
            compaction_lag_max_ms: 7 * quantity::DAY_MS,
        }
    }

    /// Changes one setting.
    pub fn set(&mut self, setting: &Setting) {
        match setting {
            Setting::MinInsync(count) => self.min_insync = *count,
            Setting::MinAcks(acks) => self.min_acks = *acks,
            Setting::MaxBatchBytes(bytes) => self.max_batch_bytes = *bytes,
            Setting::TimestampType(kind) => self.timestamp_type = *kind,
            Setting::RetentionTime(ms) => self.retention_ms = *ms,
            Setting::RetentionBytes(bytes) => self.retention_bytes = *bytes,
            Setting::SegmentBytes(bytes) => self.segment_bytes = *bytes,
            Setting::SegmentTime(ms) => self.segment_ms = *ms,
            Setting::CleanupPolicy(cleanup) => self.cleanup = *cleanup,
            Setting::TombstoneRetention(ms) => self.tombstone_ms = *ms,
            Setting::CompactionLagMin(ms) => self.compaction_lag_min_ms = *ms,
            Setting::CompactionLagMax(ms) => self.compaction_lag_max_ms = *ms,
        }
    }

    /// One setting as it stands.
    #[must_use]
    pub const fn get(&self, key: ConfigKey) -> Setting {
        match key {
            ConfigKey::MinInsync => Setting::MinInsync(self.min_insync),
            ConfigKey::MinAcks => Setting::MinAcks(self.min_acks),
            ConfigKey::MaxBatchBytes => Setting::MaxBatchBytes(self.max_batch_bytes),
            ConfigKey::TimestampType => Setting::TimestampType(self.timestamp_type),
            ConfigKey::RetentionTime => Setting::RetentionTime(self.retention_ms),
            ConfigKey::RetentionBytes => Setting::RetentionBytes(self.retention_bytes),
            ConfigKey::SegmentBytes => Setting::SegmentBytes(self.segment_bytes),
            ConfigKey::SegmentTime => Setting::SegmentTime(self.segment_ms),
            ConfigKey::CleanupPolicy => Setting::CleanupPolicy(self.cleanup),
            ConfigKey::TombstoneRetention => Setting::TombstoneRetention(self.tombstone_ms),
            ConfigKey::CompactionLagMin => Setting::CompactionLagMin(self.compaction_lag_min_ms),
            ConfigKey::CompactionLagMax => Setting::CompactionLagMax(self.compaction_lag_max_ms),
        }
    }

    /// Every setting as (key, value, whether it is the default), in the order of [`KEYS`].
    pub fn entries(&self, replication: u8) -> impl Iterator<Item = (&'static str, String, bool)> {
        let defaults = Self::for_replication(replication);
        KEYS.iter().map(move |doc| {
            let setting = self.get(doc.key);
            let is_default = setting == defaults.get(doc.key);
            (doc.name, setting.value(), is_default)
        })
    }

    /// Checks what depends on more than one value.
    ///
    /// # Errors
    /// [`InvalidConfig`] names the key, the value and the rule.
    pub fn check(&self, replication: u8) -> Result<(), InvalidConfig> {
        let least = majority(replication);
        if !(least..=replication).contains(&self.min_insync) {
            let rule = format!(
                "with replication {replication} use {}: every acknowledgement waits for a \
                 majority, and min-insync may only ask for more",
                range(least, replication)
            );
            return Err(self.refuse(ConfigKey::MinInsync, rule));
        }
        if self.compaction_lag_min_ms > self.compaction_lag_max_ms {
            let most = self.get(ConfigKey::CompactionLagMax).value();
            let rule = format!("write at most compaction-lag-max, which is {most}");
            return Err(self.refuse(ConfigKey::CompactionLagMin, rule));
        }
        Ok(())
    }

    fn refuse(&self, key: ConfigKey, rule: String) -> InvalidConfig {
        InvalidConfig::Value { key, value: self.get(key).value(), rule }
    }
}

/// Replicas that make a quorum.
#[must_use]
pub const fn majority(replication: u8) -> u8 {
    replication / 2 + 1
}

fn range(least: u8, most: u8) -> String {
    if least == most { least.to_string() } else { format!("{least} to {most}") }
}

impl From<TopicConfig> for BTreeMap<String, String> {
    fn from(config: TopicConfig) -> Self {
        let defaults = TopicConfig::default();
        // The keys of compaction came later: a release without them reads topics that use none.
        let is_stored =
            |key: &ConfigKey| !key.is_of_compaction() || config.get(*key) != defaults.get(*key);
        let keys = ConfigKey::all().filter(is_stored);
        keys.map(|key| (key.name().to_owned(), config.get(key).value())).collect()
    }
}

impl TryFrom<BTreeMap<String, String>> for TopicConfig {
    type Error = InvalidConfig;

    /// The stored form. A key that an older release did not write has its default.
    fn try_from(stored: BTreeMap<String, String>) -> Result<Self, InvalidConfig> {
        let mut config = Self::default();
        for (key, value) in &stored {
            config.set(&Setting::parse(key, value)?);
        }
        Ok(config)
    }
}

/// The reference of topic settings, as Markdown.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from("| Key | Value | Default | Meaning |\n|---|---|---|---|\n");
    let defaults = TopicConfig::default();
    for doc in KEYS {
        let default = defaults.get(doc.key).value();
        page.push_str(&format!(
            "| `{}` | {} | `{default}` | {} |\n",
            doc.name, doc.values, doc.doc
        ));
    }
    page
}
