//! One key with its value.

use std::ops::RangeInclusive;

use quipu_types::record::TimestampType;
use quipu_types::{Acks, ByteCount, limits};
use serde::{Deserialize, Serialize};

use super::Cleanup;
use super::key::{ConfigKey, KEYS};
use super::quantity::{DAY_MS, parse_duration, print_duration};
use crate::policy;

/// One setting, checked on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Written", try_from = "Written")]
pub enum Setting {
    /// `min-insync`
    MinInsync(u8),
    /// `min-acks`
    MinAcks(Acks),
    /// `max-batch-bytes`
    MaxBatchBytes(usize),
    /// `timestamp-type`
    TimestampType(TimestampType),
    /// `retention-time`, in milliseconds
    RetentionTime(Option<u64>),
    /// `retention-bytes`
    RetentionBytes(Option<u64>),
    /// `segment-bytes`
    SegmentBytes(u64),
    /// `segment-time`, in milliseconds
    SegmentTime(u64),
    /// `cleanup-policy`
    CleanupPolicy(Cleanup),
    /// `tombstone-retention`, in milliseconds
    TombstoneRetention(u64),
    /// `compaction-lag-min`, in milliseconds
    CompactionLagMin(u64),
    /// `compaction-lag-max`, in milliseconds
    CompactionLagMax(u64),
}

/// A setting that was refused: which, and by what rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum InvalidConfig {
    /// There is no such key.
    #[error("there is no topic setting {key:?}{}", hint(suggestion.as_deref()))]
    UnknownKey {
        /// As given.
        key: String,
        /// What was probably meant.
        suggestion: Option<String>,
    },
    /// The value breaks the key's rule.
    #[error("{key} = {value:?}: {rule}")]
    Value {
        /// The key.
        key: ConfigKey,
        /// As given.
        value: String,
        /// What would be right.
        rule: String,
    },
    /// A policy is to set what is a matter of each topic.
    #[error("{key} is set for each topic by itself: a policy may set {}", policy::key_names())]
    NotByPolicy {
        /// The key.
        key: ConfigKey,
    },
    /// A policy is to set nothing.
    #[error("a policy sets nothing: give it one of {}, or delete it", policy::key_names())]
    EmptyPolicy,
    /// A key is to be set and reset by one request.
    #[error("{key} is set and reset by the same request: keep one of the two")]
    SetAndReset {
        /// The key.
        key: ConfigKey,
    },
}

fn hint(suggestion: Option<&str>) -> String {
    match suggestion {
        Some(name) => format!("; did you mean {name:?}?"),
        None => {
            let names: Vec<&str> = KEYS.iter().map(|doc| doc.name).collect();
            format!(": the settings are {}", names.join(", "))
        }
    }
}

const UNLIMITED: &str = "unlimited";
const MAX_BATCH_BYTES: RangeInclusive<u64> = 1 << 10..=limits::BATCH_BYTES_MAX as u64;
const RETENTION_MS: RangeInclusive<u64> = 60_000..=36_500 * DAY_MS;
const RETENTION_BYTES: RangeInclusive<u64> = 1 << 20..=u64::MAX;
const SEGMENT_BYTES: RangeInclusive<u64> = 1 << 20..=1 << 30;
const SEGMENT_MS: RangeInclusive<u64> = 10_000..=365 * DAY_MS;
const COMPACTION_MS: RangeInclusive<u64> = 1_000..=36_500 * DAY_MS;
const LAG_MIN_MS: RangeInclusive<u64> = 0..=36_500 * DAY_MS;

impl Setting {
    /// Parses one setting as users write it.
    ///
    /// # Errors
    /// [`InvalidConfig`] names the key, the value and the rule.
    pub fn parse(key: &str, value: &str) -> Result<Self, InvalidConfig> {
        let key = ConfigKey::parse(key)?;
        let parsed = match key {
            ConfigKey::MinInsync => parse_replicas(value).map(Self::MinInsync),
            ConfigKey::MinAcks => parse_acks(value).map(Self::MinAcks),
            ConfigKey::MaxBatchBytes => parse_size(value, &MAX_BATCH_BYTES).map(|bytes| {
                Self::MaxBatchBytes(usize::try_from(bytes).expect("the bound is a usize"))
            }),
            ConfigKey::TimestampType => parse_timestamp_type(value).map(Self::TimestampType),
            ConfigKey::RetentionTime => {
                unless_unlimited(value, |value| parse_span(value, &RETENTION_MS))
                    .map(Self::RetentionTime)
            }
            ConfigKey::RetentionBytes => {
                unless_unlimited(value, |value| parse_size(value, &RETENTION_BYTES))
                    .map(Self::RetentionBytes)
            }
            ConfigKey::SegmentBytes => parse_size(value, &SEGMENT_BYTES).map(Self::SegmentBytes),
            ConfigKey::SegmentTime => parse_span(value, &SEGMENT_MS).map(Self::SegmentTime),
            ConfigKey::CleanupPolicy => parse_cleanup(value).map(Self::CleanupPolicy),
            ConfigKey::TombstoneRetention => {
                parse_span(value, &COMPACTION_MS).map(Self::TombstoneRetention)
            }
            ConfigKey::CompactionLagMin => {
                parse_span(value, &LAG_MIN_MS).map(Self::CompactionLagMin)
            }
            ConfigKey::CompactionLagMax => {
                parse_span(value, &COMPACTION_MS).map(Self::CompactionLagMax)
            }
        };
        parsed.map_err(|rule| InvalidConfig::Value { key, value: value.to_owned(), rule })
    }

    /// The key.
    #[must_use]
    pub const fn key(&self) -> ConfigKey {
        match self {
            Self::MinInsync(_) => ConfigKey::MinInsync,
            Self::MinAcks(_) => ConfigKey::MinAcks,
            Self::MaxBatchBytes(_) => ConfigKey::MaxBatchBytes,
            Self::TimestampType(_) => ConfigKey::TimestampType,
            Self::RetentionTime(_) => ConfigKey::RetentionTime,
            Self::RetentionBytes(_) => ConfigKey::RetentionBytes,
            Self::SegmentBytes(_) => ConfigKey::SegmentBytes,
            Self::SegmentTime(_) => ConfigKey::SegmentTime,
            Self::CleanupPolicy(_) => ConfigKey::CleanupPolicy,
            Self::TombstoneRetention(_) => ConfigKey::TombstoneRetention,
            Self::CompactionLagMin(_) => ConfigKey::CompactionLagMin,
            Self::CompactionLagMax(_) => ConfigKey::CompactionLagMax,
        }
    }

    /// The value as users write it.
    #[must_use]
    pub fn value(&self) -> String {
        let size = |bytes: u64| ByteCount::new(bytes).to_string();
        match self {
            Self::MinInsync(count) => count.to_string(),
            Self::MinAcks(acks) => acks.to_string(),
            Self::MaxBatchBytes(bytes) => size(u64::try_from(*bytes).unwrap_or(u64::MAX)),
            Self::TimestampType(TimestampType::Create) => "create".to_owned(),
            Self::TimestampType(TimestampType::LogAppend) => "log-append".to_owned(),
            Self::RetentionTime(ms) => ms.map_or_else(unlimited, print_duration),
            Self::RetentionBytes(bytes) => bytes.map_or_else(unlimited, size),
            Self::SegmentBytes(bytes) => size(*bytes),
            Self::CleanupPolicy(Cleanup::Delete) => "delete".to_owned(),
            Self::CleanupPolicy(Cleanup::Compact) => "compact".to_owned(),
            Self::CleanupPolicy(Cleanup::CompactAndDelete) => "compact,delete".to_owned(),
            Self::SegmentTime(ms)
            | Self::TombstoneRetention(ms)
            | Self::CompactionLagMin(ms)
            | Self::CompactionLagMax(ms) => print_duration(*ms),
        }
    }
}

fn unlimited() -> String {
    UNLIMITED.to_owned()
}

fn parse_replicas(value: &str) -> Result<u8, String> {
    let count: Option<u8> = value.trim().parse().ok();
    count
        .filter(|count| (1..=limits::REPLICATION_MAX).contains(count))
        .ok_or_else(|| format!("write a number of replicas, 1 to {}", limits::REPLICATION_MAX))
}

fn parse_acks(value: &str) -> Result<Acks, String> {
    match value.trim() {
        "none" => Ok(Acks::None),
        "leader" => Ok(Acks::Leader),
        "quorum" => Ok(Acks::Quorum),
        _ => Err("write none, leader or quorum".to_owned()),
    }
}

fn parse_timestamp_type(value: &str) -> Result<TimestampType, String> {
    match value.trim() {
        "create" => Ok(TimestampType::Create),
        "log-append" => Ok(TimestampType::LogAppend),
        _ => Err("write create or log-append".to_owned()),
    }
}

fn parse_cleanup(value: &str) -> Result<Cleanup, String> {
    let mut words: Vec<&str> = value.split(',').map(str::trim).collect();
    words.sort_unstable();
    match words[..] {
        ["delete"] => Ok(Cleanup::Delete),
        ["compact"] => Ok(Cleanup::Compact),
        ["compact", "delete"] => Ok(Cleanup::CompactAndDelete),
        _ => Err("write delete, compact or compact,delete".to_owned()),
    }
}

fn parse_size(value: &str, bounds: &RangeInclusive<u64>) -> Result<u64, String> {
    let size: Option<ByteCount> = value.parse().ok();
    let size = size.ok_or("write a size such as 512KiB, 64MiB or 1GiB")?.get();
    if bounds.contains(&size) {
        return Ok(size);
    }
    let least = ByteCount::new(*bounds.start());
    Err(match *bounds.end() {
        u64::MAX => format!("write {least} or more"),
        most => format!("write {least} to {}", ByteCount::new(most)),
    })
}

fn parse_span(value: &str, bounds: &RangeInclusive<u64>) -> Result<u64, String> {
    let ms = parse_duration(value).ok_or("write a duration such as 7d, 24h, 1h30m or 30s")?;
    if bounds.contains(&ms) {
        return Ok(ms);
    }
    let (least, most) = (print_duration(*bounds.start()), print_duration(*bounds.end()));
    Err(format!("write {least} to {most}"))
}

fn unless_unlimited(
    value: &str,
    parse: impl FnOnce(&str) -> Result<u64, String>,
) -> Result<Option<u64>, String> {
    if value.trim() == UNLIMITED {
        return Ok(None);
    }
    parse(value).map(Some).map_err(|rule| format!("{rule}, or {UNLIMITED}"))
}

/// The stored form.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Written {
    key: String,
    value: String,
}

impl From<Setting> for Written {
    fn from(setting: Setting) -> Self {
        Self { key: setting.key().name().to_owned(), value: setting.value() }
    }
}

impl TryFrom<Written> for Setting {
    type Error = InvalidConfig;

    fn try_from(written: Written) -> Result<Self, InvalidConfig> {
        Self::parse(&written.key, &written.value)
    }
}
