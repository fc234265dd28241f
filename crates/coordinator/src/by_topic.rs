//! Partitions in JSON: by topic, so that a topic's id is written once.

use std::collections::BTreeMap;

use quipu_types::{PartitionId, PartitionIndex, TopicId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

type Nested<T> = BTreeMap<TopicId, BTreeMap<u32, T>>;

fn nest<T>(rows: impl IntoIterator<Item = (PartitionId, T)>) -> Nested<T> {
    let mut nested = Nested::new();
    for (id, row) in rows {
        nested.entry(id.topic).or_default().insert(id.index.get(), row);
    }
    nested
}

fn flatten<T>(nested: Nested<T>) -> impl Iterator<Item = (PartitionId, T)> {
    nested.into_iter().flat_map(|(topic, rows)| {
        rows.into_iter()
            .map(move |(index, row)| (PartitionId::new(topic, PartitionIndex::new(index)), row))
    })
}

/// A list of rows, each with its partition.
pub(crate) mod rows {
    use super::*;

    pub(crate) fn serialize<T: Serialize, S: Serializer>(
        rows: &[(PartitionId, T)],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        nest(rows.iter().map(|(id, row)| (*id, row))).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<(PartitionId, T)>, D::Error> {
        Nested::deserialize(deserializer).map(|nested| flatten(nested).collect())
    }
}

/// A map by partition.
pub(crate) mod map {
    use super::*;

    pub(crate) fn serialize<T: Serialize, S: Serializer>(
        map: &BTreeMap<PartitionId, T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        nest(map.iter().map(|(id, row)| (*id, row))).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<PartitionId, T>, D::Error> {
        Nested::deserialize(deserializer).map(|nested| flatten(nested).collect())
    }
}
