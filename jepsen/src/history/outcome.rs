//! What a client was told.

use serde::{Deserialize, Serialize};

use super::{Partition, Stamp, Value};

/// Records that follow each other, as a reader got them. Records below the position asked for
/// are left out, and the offset and stamp are those of the first record that is listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// Offset of the first record.
    pub offset: u64,
    /// Idempotence key of the first record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub producer: Option<Stamp>,
    /// The records.
    pub values: Vec<Value>,
}

/// What one partition gave to a poll.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Polled {
    /// The log.
    pub partition: Partition,
    /// Log start in the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_start: Option<u64>,
    /// High watermark in the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high_watermark: Option<u64>,
    /// Batches in the order they were delivered.
    #[serde(default)]
    pub batches: Vec<Batch>,
}

/// The answer of a call that went well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    /// Of an append; no offset without acknowledgement.
    Appended {
        /// Offset of the first record.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        offset: Option<u64>,
    },
    /// Of a poll.
    Polled {
        /// Each partition that answered.
        partitions: Vec<Polled>,
    },
    /// Of a question for offsets.
    Offsets {
        /// First kept offset.
        log_start: u64,
        /// Next offset to assign.
        high_watermark: u64,
    },
    /// Of a deletion of records.
    Deleted {
        /// First kept offset.
        log_start: u64,
    },
    /// Of a question for a producer id.
    Producer {
        /// Producer id.
        id: u64,
        /// Producer epoch.
        epoch: u16,
    },
    /// Of making a topic.
    Created {
        /// The topic's id.
        id: String,
    },
    /// Of joining a group.
    Joined {
        /// The group's epoch.
        epoch: u64,
    },
    /// Of a commit.
    Committed {
        /// Partitions whose position was refused.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        refused: Vec<Partition>,
    },
    /// Of a question for positions; null: none.
    Positions {
        /// Committed positions.
        offsets: Vec<(Partition, Option<u64>)>,
    },
    /// Of a question for a group.
    Described {
        /// The group's epoch.
        epoch: u64,
        /// Who owns what; null: nobody.
        owners: Vec<(Partition, Option<String>)>,
        /// Records not yet committed, over all partitions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lag: Option<u64>,
    },
    /// Of everything else.
    Done {},
}

/// Whether a call that failed may have happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It did not.
    None,
    /// It may have, or still may.
    Maybe,
}

/// The answer of a call that did not go well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// Wire name of the error.
    pub code: String,
    /// Whether it may have happened.
    pub effect: Effect,
    /// Log start named by the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_start: Option<u64>,
    /// High watermark named by the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high_watermark: Option<u64>,
}

impl Failure {
    /// An error without bounds.
    #[must_use]
    pub fn new(code: &str, effect: Effect) -> Self {
        Self { code: code.to_owned(), effect, log_start: None, high_watermark: None }
    }
}
