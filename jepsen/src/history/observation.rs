//! What was seen or done beside the calls: faults, leaders, replicas, retention, ownership.

use serde::{Deserialize, Serialize};

use super::{Membership, Partition};

/// Parts of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Load and faults.
    Load,
    /// Every fault is taken back.
    Healed,
    /// Everything is read again from the beginning.
    FinalReads,
    /// The run is complete.
    End,
}

/// Whether a fault begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It was done.
    Injected,
    /// It was taken back.
    Healed,
}

/// A fault, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// For example `kill`, `pause`, `partition`, `clock_jump`.
    pub name: String,
    /// Begins or ends.
    pub stage: Stage,
    /// Nodes it hits.
    #[serde(default)]
    pub nodes: Vec<u64>,
    /// The fault was verified to have taken effect.
    #[serde(default)]
    pub bit: bool,
    /// A leader of a partition under load was among the nodes.
    #[serde(default)]
    pub leader: bool,
    /// No healthy majority is left while it lasts.
    #[serde(default)]
    pub no_majority: bool,
}

/// A node was seen as leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaderSeen {
    /// A partition of the shard.
    pub partition: Partition,
    /// Raft term.
    pub term: u64,
    /// The leader.
    pub leader: u64,
}

/// State of one replica; the line's node says whose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplicaSeen {
    /// The log.
    pub partition: Partition,
    /// Raft term.
    #[serde(default)]
    pub term: u64,
    /// Node voted for in this term.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vote: Option<u64>,
    /// Committed log index.
    #[serde(default)]
    pub committed: u64,
    /// Applied log index.
    #[serde(default)]
    pub applied: u64,
    /// First kept offset.
    #[serde(default)]
    pub log_start: u64,
    /// End of the digest.
    #[serde(default)]
    pub end: u64,
    /// Comparison the digests belong to; replicas of one round must agree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<u64>,
    /// Checksum over (offset, bytes) of `log_start..end`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<u64>,
    /// Checksum of the producer table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub producers: Option<u64>,
    /// Checksum of the groups' state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<u64>,
}

/// Retention of a topic, as configured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicSettings {
    /// As in partition names.
    pub topic: String,
    /// Age limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_ms: Option<u64>,
    /// Size limit of a partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_bytes: Option<u64>,
    /// Size of a segment.
    #[serde(default)]
    pub segment_bytes: u64,
    /// Pause between two retention runs.
    #[serde(default)]
    pub check_interval_ms: u64,
}

/// Why the log start moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrimCause {
    /// By age.
    Time,
    /// By size.
    Size,
    /// On request.
    Request,
}

/// The log start of a partition moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trimmed {
    /// The log.
    pub partition: Partition,
    /// First kept offset from now on.
    pub log_start: u64,
    /// Why.
    pub cause: TrimCause,
    /// Bytes left after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_left: Option<u64>,
    /// Base offset of the active segment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_segment: Option<u64>,
}

/// The size of a partition on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SizeSeen {
    /// The log.
    pub partition: Partition,
    /// Its bytes.
    pub bytes: u64,
}

/// Partitions that a member got, gave back or lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owned {
    /// The member, with the epoch of the assignment.
    pub by: Membership,
    /// The partitions.
    pub partitions: Vec<Partition>,
}
