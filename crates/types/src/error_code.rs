//! The stable codes of everything a user may be told. One table: the wire, the client and the
//! documentation read it.

use std::fmt;

/// Defines the codes: number, wire name, one sentence.
macro_rules! error_codes {
    ($($variant:ident = $number:literal, $name:literal, $summary:literal;)+) => {
        /// A stable error code. Persisted in users' scripts; never reuse a number.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $(#[doc = $summary] $variant,)+
        }

        impl ErrorCode {
            /// Every code, in order of number.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The number in `QP####`.
            #[must_use]
            pub const fn number(self) -> u16 {
                match self { $(Self::$variant => $number,)+ }
            }

            /// The wire name, for example `UNKNOWN_TOPIC`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// One sentence for the reference page.
            #[must_use]
            pub const fn summary(self) -> &'static str {
                match self { $(Self::$variant => $summary,)+ }
            }

            /// The code of a number, if it is known here.
            #[must_use]
            pub const fn from_number(number: u16) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

error_codes! {
    Malformed = 1101, "MALFORMED", "A field of the request has no meaning; its path is named.";
    RequestTooLarge = 1102, "REQUEST_TOO_LARGE", "The request is above a size limit.";
    InvalidAcks = 1103, "INVALID_ACKS", "The acknowledgement level is unknown, or weaker than the topic allows.";
    InvalidTopicName = 1201, "INVALID_TOPIC_NAME", "The topic name breaks the naming rule.";
    TopicExists = 1202, "TOPIC_EXISTS", "A topic of this name exists already.";
    UnknownTopic = 1203, "UNKNOWN_TOPIC", "No topic has this name.";
    UnknownTopicId = 1204, "UNKNOWN_TOPIC_ID", "No topic has this id: it was deleted, perhaps created again under the same name.";
    UnknownPartition = 1205, "UNKNOWN_PARTITION", "The topic has no partition of this index.";
    InvalidPartitions = 1206, "INVALID_PARTITIONS", "The number of partitions is out of bounds.";
    InvalidReplication = 1207, "INVALID_REPLICATION", "The replication factor does not fit the cluster.";
    InvalidConfig = 1208, "INVALID_CONFIG", "A configuration key or value is not valid.";
    TopicProtected = 1209, "TOPIC_PROTECTED", "The topic belongs to the system.";
    InvalidPolicy = 1210, "INVALID_POLICY", "The pattern of a policy is none, or there are as many policies as there may be.";
    UnknownPolicy = 1211, "UNKNOWN_POLICY", "No policy has this pattern.";
    CorruptBatch = 1301, "CORRUPT_BATCH", "The record batch is damaged or its fields contradict each other.";
    RecordTooLarge = 1302, "RECORD_TOO_LARGE", "The record batch is above the topic's limit; store the blob elsewhere and send a reference.";
    UnsupportedCodec = 1303, "UNSUPPORTED_CODEC", "The compression codec or batch format is unknown.";
    InvalidTimestamp = 1304, "INVALID_TIMESTAMP", "A timestamp is before 1970 or too far in the future.";
    KeyRequired = 1305, "KEY_REQUIRED", "The topic is compacted, and a record has no key.";
    OutOfOrderSequence = 1401, "OUT_OF_ORDER_SEQUENCE", "The producer's sequence has a gap.";
    ProducerFenced = 1402, "PRODUCER_FENCED", "A newer epoch of this producer id is active.";
    UnknownProducer = 1403, "UNKNOWN_PRODUCER", "The producer id is not known here and its sequence is not zero.";
    DuplicateSequence = 1404, "DUPLICATE_SEQUENCE", "The batch was stored before, too long ago to name its offset.";
    OffsetOutOfRange = 1501, "OFFSET_OUT_OF_RANGE", "The offset is below the log start or above the end.";
    InvalidGroup = 1601, "INVALID_GROUP", "The name of a consumer group or a member breaks the naming rule.";
    UnknownGroup = 1602, "UNKNOWN_GROUP", "No consumer group has this name.";
    GroupNotEmpty = 1603, "GROUP_NOT_EMPTY", "The consumer group has members, and the operation needs it to have none.";
    UnknownMember = 1604, "UNKNOWN_MEMBER", "The group does not know this member any more: it was expired, fenced or replaced; join again.";
    StaleMemberEpoch = 1605, "STALE_MEMBER_EPOCH", "The member does not own the partition in this epoch; nothing was committed.";
    InstanceInUse = 1606, "INSTANCE_IN_USE", "Another live member holds this instance id.";
    GroupFull = 1608, "GROUP_FULL", "The consumer group has as many members as it may.";
    InvalidSubscription = 1609, "INVALID_SUBSCRIPTION", "The subscription names nothing, too much, or a pattern that is none.";
    InvalidCommit = 1610, "INVALID_COMMIT", "A position to commit is out of bounds.";
    UnknownNode = 1701, "UNKNOWN_NODE", "No node has this id.";
    UnknownShard = 1702, "UNKNOWN_SHARD", "No shard has this id.";
    InvalidPlacement = 1703, "INVALID_PLACEMENT", "The nodes cannot hold the replicas that they would have to.";
    NodeInUse = 1704, "NODE_IN_USE", "The node holds replicas, or answers: it cannot be removed or replaced yet.";
    LevelUnsupported = 1705, "LEVEL_UNSUPPORTED", "A node does not read and write this format level, or the cluster is past it.";
    NotLeader = 2001, "NOT_LEADER", "Another node leads this partition.";
    LeaderUnknown = 2002, "LEADER_UNKNOWN", "No leader is known at the moment; an election may be running.";
    LeadershipLost = 2003, "LEADERSHIP_LOST", "Leadership was lost while the operation was under way.";
    WrongNode = 2004, "WRONG_NODE", "The connection was meant for another node.";
    WrongCluster = 2005, "WRONG_CLUSTER", "The connection was meant for another cluster.";
    PartitionNotReady = 2006, "PARTITION_NOT_READY", "The partition is being opened.";
    FencedEpoch = 2007, "FENCED_EPOCH", "The leader epoch of the request is older than the partition's.";
    UnknownEpoch = 2008, "UNKNOWN_EPOCH", "The leader epoch of the request is newer than this node knows.";
    ControllerUnavailable = 2009, "CONTROLLER_UNAVAILABLE", "The metadata group has no leader at the moment.";
    NotEnoughReplicas = 3001, "NOT_ENOUGH_REPLICAS", "Fewer replicas are alive than min-insync asks for; nothing was written.";
    StorageFull = 3002, "STORAGE_FULL", "The node is short of disk space and takes no writes.";
    Overloaded = 3003, "OVERLOADED", "A bounded queue is full.";
    DeadlineExceeded = 3004, "DEADLINE_EXCEEDED", "The deadline passed; the operation may still happen.";
    Stopping = 3005, "STOPPING", "The node is shutting down.";
    DataCorrupt = 3006, "DATA_CORRUPT", "Stored bytes failed their checksum; the range is named and never served.";
    Internal = 9001, "INTERNAL", "A defect: please report it with the log of the node.";
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QP{:04}", self.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_and_lead_back_to_their_code() {
        let mut seen = std::collections::BTreeSet::new();
        for code in ErrorCode::ALL {
            assert!(seen.insert(code.number()), "{code} twice");
            assert_eq!(ErrorCode::from_number(code.number()), Some(*code));
        }
        assert_eq!(ErrorCode::UnknownTopic.to_string(), "QP1203");
    }
}
