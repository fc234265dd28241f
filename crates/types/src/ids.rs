//! Identities. Numbers that must not be mixed up are different types.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Defines a number with a name: private field, `Display`, no arithmetic by accident.
macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name($inner);

        impl $name {
            /// Wraps a number that was checked or allocated elsewhere.
            #[must_use]
            pub const fn new(value: $inner) -> Self {
                Self(value)
            }

            /// The bare number, for encoding and display.
            #[must_use]
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = std::num::ParseIntError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

/// Defines a 128-bit identity.
macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps an id that was made elsewhere.
            #[must_use]
            pub const fn new(value: Uuid) -> Self {
                Self(value)
            }

            /// The bare id.
            #[must_use]
            pub const fn get(self) -> Uuid {
                self.0
            }

            /// Sixteen bytes, as on the wire and on disk.
            #[must_use]
            pub const fn to_bytes(self) -> [u8; 16] {
                self.0.into_bytes()
            }

            /// The id of sixteen bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// The id of a wire field; `None` unless it has exactly sixteen bytes.
            #[must_use]
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                Uuid::from_slice(bytes).ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

number_id! {
    /// A server process with its data directory, as configured by the operator.
    NodeId, u64
}
number_id! {
    /// One replica of one shard: the Raft node id. Allocated from committed metadata, never reused.
    ReplicaId, u64
}
number_id! {
    /// One Raft group on one replica set. Shard 0 is the metadata group.
    ShardId, u32
}
number_id! {
    /// The place of a partition within its topic, from 0.
    PartitionIndex, u32
}
number_id! {
    /// How often a data directory was started: bumped and flushed before anything else.
    Incarnation, u64
}
number_id! {
    /// The version of a metadata image: the log index it was applied at.
    MetadataVersion, u64
}
number_id! {
    /// A move of a partition between shards: the metadata version at which it was asked for. Later
    /// moves have higher ids.
    MoveId, u64
}
number_id! {
    /// An idempotent producer's identity (KIP-98). −1 on the wire means none.
    ProducerId, i64
}
number_id! {
    /// The life of a producer id; a higher epoch fences a lower.
    ProducerEpoch, i16
}
number_id! {
    /// The number of a record within (producer id, epoch, partition); wraps from `i32::MAX` to 0.
    Sequence, i32
}
uuid_id! {
    /// The cluster, fixed when it is formed.
    ClusterId
}
uuid_id! {
    /// A topic's identity: a topic created again under the same name has another.
    TopicId
}
uuid_id! {
    /// A data directory, fixed when it is made: tells a wiped disk from a restarted node.
    DirectoryId
}

uuid_id! {
    /// One start of a data directory, made up at random: a copy that is started has others.
    StartId
}

impl ShardId {
    /// The metadata group.
    pub const METADATA: Self = Self(0);
}

impl Incarnation {
    /// The next start of the same directory.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Sequence {
    /// The sequence `count` records later, wrapping past `i32::MAX` to 0 (KIP-98).
    #[must_use]
    pub fn advance(self, count: u32) -> Self {
        let modulus = i64::from(i32::MAX) + 1;
        let sum = (i64::from(self.0) + i64::from(count)).rem_euclid(modulus);
        Self(i32::try_from(sum).expect("a remainder of 2^31 fits in i32"))
    }
}

/// One ordered log: a topic and an index in it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct PartitionId {
    /// The topic.
    pub topic: TopicId,
    /// The index within it.
    pub index: PartitionIndex,
}

impl PartitionId {
    /// Names a partition.
    #[must_use]
    pub const fn new(topic: TopicId, index: PartitionIndex) -> Self {
        Self { topic, index }
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_wraps_to_zero_after_its_maximum() {
        assert_eq!(Sequence::new(i32::MAX).advance(1), Sequence::new(0));
        assert_eq!(Sequence::new(i32::MAX - 1).advance(3), Sequence::new(1));
        assert_eq!(Sequence::new(7).advance(0), Sequence::new(7));
    }

    #[test]
    fn a_topic_id_has_exactly_sixteen_bytes() {
        assert!(TopicId::from_slice(&[0; 15]).is_none());
        assert!(TopicId::from_slice(&[0; 17]).is_none());
        assert_eq!(TopicId::from_slice(&[7; 16]), Some(TopicId::from_bytes([7; 16])));
    }
}
