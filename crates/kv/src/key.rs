//! Every key that is ever stored.

use std::sync::Arc;

use quipu_types::{PartitionId, PartitionIndex, ShardId, TopicId};

/// A key. One enum documents every row and its lifetime.
///
/// The first byte tells the kind (persisted; never reuse), numbers follow big-endian, so that the
/// order of bytes is the order of the fields:
///
/// | kind | byte 0 | then | bytes |
/// |---|---|---|---|
/// | [`Self::Version`] | 0 | | 1 |
/// | [`Self::ShardCheckpoint`] | 1 | shard u32 | 5 |
/// | [`Self::PartitionCheckpoint`] | 2 | shard u32, topic 16 bytes, index u32 | 25 |
/// | [`Self::Metadata`] | 3 | | 1 |
/// | [`Self::MetadataTopic`] | 4 | topic 16 bytes | 17 |
/// | [`Self::ConsumerGroup`] | 5 | shard u32, name | 5 + name |
/// | [`Self::ShardReplica`] | 6 | shard u32 | 5 |
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The format of the tables. Written when they are made; lives as long as they do. Kept by
    /// the store itself: no caller reads or writes it.
    Version,
    /// How far a shard's state machine has come. Replaced by each checkpoint of the shard; lives
    /// until the replica leaves the node.
    ShardCheckpoint(ShardId),
    /// One partition's state, written in the same batch as its shard's row. Lives until a
    /// checkpoint after the partition was closed.
    PartitionCheckpoint(ShardId, PartitionId),
    /// Nodes, shards, counters, and how far the metadata group's state machine has come. Replaced
    /// by each of its checkpoints; lives as long as the node.
    Metadata,
    /// One topic, written in the same batch as [`Self::Metadata`]. Lives until a checkpoint after
    /// the topic was deleted.
    MetadataTopic(TopicId),
    /// One consumer group, written in the same batch as its shard's row. Lives until a checkpoint
    /// after the group was deleted. Without a name: the epoch that new groups begin at, which
    /// lives as long as the replica.
    ConsumerGroup(ShardId, Arc<str>),
    /// Whose data of a shard there is: a replica id, big-endian. Written before anything else of
    /// the replica; lives until the replica has left the node.
    ShardReplica(ShardId),
}

/// Keys to scan: a kind, and the fields that are fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPrefix {
    /// Every [`Key::ShardCheckpoint`].
    ShardCheckpoints,
    /// Every [`Key::PartitionCheckpoint`] of a shard.
    PartitionCheckpoint(ShardId),
    /// Every [`Key::MetadataTopic`].
    MetadataTopics,
    /// Every [`Key::ConsumerGroup`] of a shard.
    ConsumerGroups(ShardId),
    /// Every [`Key::ShardReplica`].
    ShardReplicas,
}

/// Bytes that are no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stored key {bytes:02x?} is of an unknown kind or length")]
pub struct InvalidKey {
    bytes: Vec<u8>,
}

/// Persisted; never reuse.
mod kind {
    pub(super) const VERSION: u8 = 0;
    pub(super) const SHARD_CHECKPOINT: u8 = 1;
    pub(super) const PARTITION_CHECKPOINT: u8 = 2;
    pub(super) const METADATA: u8 = 3;
    pub(super) const METADATA_TOPIC: u8 = 4;
    pub(super) const CONSUMER_GROUP: u8 = 5;
    pub(super) const SHARD_REPLICA: u8 = 6;
}

impl Key {
    /// The stored form.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Version => vec![kind::VERSION],
            Self::ShardCheckpoint(shard) => with_shard(kind::SHARD_CHECKPOINT, *shard),
            Self::PartitionCheckpoint(shard, partition) => {
                let mut bytes = with_shard(kind::PARTITION_CHECKPOINT, *shard);
                bytes.extend(partition.topic.to_bytes());
                bytes.extend(partition.index.get().to_be_bytes());
                bytes
            }
            Self::Metadata => vec![kind::METADATA],
            Self::MetadataTopic(topic) => {
                let mut bytes = vec![kind::METADATA_TOPIC];
                bytes.extend(topic.to_bytes());
                bytes
            }
            Self::ConsumerGroup(shard, name) => {
                let mut bytes = with_shard(kind::CONSUMER_GROUP, *shard);
                bytes.extend(name.as_bytes());
                bytes
            }
            Self::ShardReplica(shard) => with_shard(kind::SHARD_REPLICA, *shard),
        }
    }

    /// The key of its stored form.
    ///
    /// # Errors
    /// [`InvalidKey`] for what no release up to this one writes.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidKey> {
        parse(bytes).ok_or_else(|| InvalidKey { bytes: bytes.to_vec() })
    }
}

impl KeyPrefix {
    /// What all its keys begin with.
    pub(crate) fn encode(self) -> Vec<u8> {
        match self {
            Self::ShardCheckpoints => vec![kind::SHARD_CHECKPOINT],
            Self::PartitionCheckpoint(shard) => with_shard(kind::PARTITION_CHECKPOINT, shard),
            Self::MetadataTopics => vec![kind::METADATA_TOPIC],
            Self::ConsumerGroups(shard) => with_shard(kind::CONSUMER_GROUP, shard),
            Self::ShardReplicas => vec![kind::SHARD_REPLICA],
        }
    }
}

fn with_shard(kind: u8, shard: ShardId) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(shard.get().to_be_bytes());
    bytes
}

fn parse(bytes: &[u8]) -> Option<Key> {
    let (kind, rest) = bytes.split_first()?;
    match (*kind, rest.len()) {
        (kind::VERSION, 0) => Some(Key::Version),
        (kind::SHARD_CHECKPOINT, 4) => Some(Key::ShardCheckpoint(shard(rest)?)),
        (kind::PARTITION_CHECKPOINT, 24) => {
            let topic = TopicId::from_slice(&rest[4..20])?;
            let index = PartitionIndex::new(u32::from_be_bytes(rest[20..].try_into().ok()?));
            Some(Key::PartitionCheckpoint(shard(&rest[..4])?, PartitionId::new(topic, index)))
        }
        (kind::METADATA, 0) => Some(Key::Metadata),
        (kind::SHARD_REPLICA, 4) => Some(Key::ShardReplica(shard(rest)?)),
        (kind::CONSUMER_GROUP, 4..) => {
            let name = std::str::from_utf8(&rest[4..]).ok()?;
            Some(Key::ConsumerGroup(shard(&rest[..4])?, name.into()))
        }
        (kind::METADATA_TOPIC, 16) => Some(Key::MetadataTopic(TopicId::from_slice(rest)?)),
        _ => None,
    }
}

fn shard(bytes: &[u8]) -> Option<ShardId> {
    Some(ShardId::new(u32::from_be_bytes(bytes.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_key() -> impl Strategy<Value = Key> {
        let partition = (any::<[u8; 16]>(), any::<u32>()).prop_map(|(topic, index)| {
            PartitionId::new(TopicId::from_bytes(topic), PartitionIndex::new(index))
        });
        prop_oneof![
            Just(Key::Version),
            any::<u32>().prop_map(|shard| Key::ShardCheckpoint(ShardId::new(shard))),
            (any::<u32>(), partition)
                .prop_map(|(shard, id)| Key::PartitionCheckpoint(ShardId::new(shard), id)),
            Just(Key::Metadata),
            any::<[u8; 16]>().prop_map(|topic| Key::MetadataTopic(TopicId::from_bytes(topic))),
            (any::<u32>(), "\\PC{0,20}")
                .prop_map(|(shard, name)| Key::ConsumerGroup(ShardId::new(shard), name.into())),
            any::<u32>().prop_map(|shard| Key::ShardReplica(ShardId::new(shard))),
        ]
    }

    proptest! {
        #[test]
        fn a_key_comes_back_from_its_bytes(key in any_key()) {
            prop_assert_eq!(Key::decode(&key.encode()), Ok(key));
        }

        #[test]
        fn the_order_of_bytes_is_the_order_of_keys(a in any_key(), b in any_key()) {
            prop_assert_eq!(a.encode().cmp(&b.encode()), a.cmp(&b));
        }

        #[test]
        fn bytes_are_a_key_or_refused_and_nothing_else(bytes in prop::collection::vec(0..7_u8, 0..30)) {
            if let Ok(key) = Key::decode(&bytes) {
                prop_assert_eq!(key.encode(), bytes);
            }
        }

        #[test]
        fn a_prefix_fits_the_keys_of_its_shard_alone(key in any_key(), shard in 0..3_u32) {
            let prefix = KeyPrefix::PartitionCheckpoint(ShardId::new(shard));
            let is_of_shard =
                matches!(key, Key::PartitionCheckpoint(of, _) if of == ShardId::new(shard));
            prop_assert_eq!(key.encode().starts_with(&prefix.encode()), is_of_shard);
        }
    }

    /// The bytes on disk, spelled out: a change here is a new format.
    #[test]
    fn the_layout_is_the_documented_one() {
        let topic = TopicId::from_bytes([0xab; 16]);
        let shard = ShardId::new(0x0102_0304);
        let partition = PartitionId::new(topic, PartitionIndex::new(7));
        assert_eq!(Key::Version.encode(), [0]);
        assert_eq!(Key::ShardCheckpoint(shard).encode(), [1, 1, 2, 3, 4]);
        let mut expected = vec![2, 1, 2, 3, 4];
        expected.extend([0xab; 16]);
        expected.extend([0, 0, 0, 7]);
        assert_eq!(Key::PartitionCheckpoint(shard, partition).encode(), expected);
        assert_eq!(Key::ShardReplica(shard).encode(), [6, 1, 2, 3, 4]);
        assert_eq!(Key::Metadata.encode(), [3]);
        let mut expected = vec![4];
        expected.extend([0xab; 16]);
        assert_eq!(Key::MetadataTopic(topic).encode(), expected);
    }
}
