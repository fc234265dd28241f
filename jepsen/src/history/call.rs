//! What a client asks for.

use serde::{Deserialize, Serialize};

use super::Partition;

/// One record: its globally unique id and the checksum of its bytes, written `[id, sum]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Value(pub u64, pub u32);

/// How much must have happened before an append is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Acks {
    /// Nothing: no answer is awaited.
    None,
    /// The leader has it on disk.
    Leader,
    /// A quorum has it on disk.
    #[default]
    Quorum,
}

/// The idempotence key of the first record of a batch; the following ones count up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stamp {
    /// Producer id.
    pub id: u64,
    /// Producer epoch.
    pub epoch: u16,
    /// Sequence of the first record.
    pub sequence: i32,
}

impl Stamp {
    /// The stamp of the record `count` places later; sequences wrap to 0 after `i32::MAX`.
    #[must_use]
    pub fn after(self, count: usize) -> Self {
        let wrapped = (i64::from(self.sequence) + i64::try_from(count).unwrap_or(i64::MAX))
            .rem_euclid(1 << 31);
        Self { sequence: i32::try_from(wrapped).unwrap_or_default(), ..self }
    }
}

/// Where a group without a position begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Starts {
    /// At the first kept record.
    #[default]
    Earliest,
    /// At the end.
    Latest,
}

/// A member of a consumer group.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Membership {
    /// The group's name.
    pub group: String,
    /// The member's id.
    pub member: String,
    /// The group epoch the member knows.
    #[serde(default)]
    pub epoch: u64,
}

/// What a client asks for. One client process may have several calls open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Call {
    /// Appends one batch.
    Append {
        /// The log.
        partition: Partition,
        /// Acknowledgement level.
        #[serde(default)]
        acks: Acks,
        /// Idempotence key of the first record.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        producer: Option<Stamp>,
        /// The client may send again by itself although the producer is not idempotent.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        resends: bool,
        /// The records. The same values once more, with the same stamp, are a retry.
        values: Vec<Value>,
    },
    /// Chooses what to read next from where, without a group.
    Assign {
        /// Partitions and the offsets to begin at.
        partitions: Vec<(Partition, u64)>,
    },
    /// Reads: from the positions named here, else from where the process stands.
    Poll {
        /// Set when a member of a group reads.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Membership>,
        /// Positions of a bare fetch.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        reads: Vec<(Partition, u64)>,
    },
    /// Asks for log start and end; the answer is linearizable.
    ListOffsets {
        /// The log.
        partition: Partition,
    },
    /// Moves the log start.
    DeleteRecords {
        /// The log.
        partition: Partition,
        /// The first offset to keep.
        before: u64,
    },
    /// Asks for a producer id.
    InitProducer {},
    /// Makes a topic.
    CreateTopic {
        /// As in partition names.
        topic: String,
    },
    /// Deletes a topic.
    DeleteTopic {
        /// As in partition names.
        topic: String,
    },
    /// Joins a group.
    Join {
        /// Who joins.
        by: Membership,
        /// Name of a static member.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        instance: Option<String>,
        /// Start policy.
        #[serde(default)]
        starts: Starts,
    },
    /// Leaves a group.
    Leave {
        /// Who leaves.
        by: Membership,
    },
    /// Commits positions: the next offset to read of each partition.
    Commit {
        /// Who commits.
        by: Membership,
        /// Committed by the client on its own.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        auto: bool,
        /// Positions.
        offsets: Vec<(Partition, u64)>,
    },
    /// Acknowledges one record; ok means that a position behind it is committed.
    Ack {
        /// Who acknowledges.
        by: Membership,
        /// The log.
        partition: Partition,
        /// The record.
        offset: u64,
    },
    /// Asks for committed positions.
    FetchCommitted {
        /// The group.
        group: String,
        /// Of these partitions.
        partitions: Vec<Partition>,
    },
    /// Asks for a group's epoch and owners.
    Describe {
        /// The group.
        group: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap_to_zero_behind_the_greatest() {
        let stamp = Stamp { id: 7, epoch: 1, sequence: i32::MAX };
        assert_eq!(stamp.after(0), stamp);
        assert_eq!(stamp.after(1), Stamp { sequence: 0, ..stamp });
        assert_eq!(stamp.after(3), Stamp { sequence: 2, ..stamp });
    }
}
