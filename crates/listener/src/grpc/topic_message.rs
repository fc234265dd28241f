//! The message of a topic's description.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use quipu_broker::topics::{Origin, PartitionDescription, TopicDescription};
use quipu_proto::v1;
use quipu_types::{NodeId, ShardId};

/// The message of a description.
pub(super) fn topic(topic: &TopicDescription) -> v1::TopicDescription {
    let config = topic.config.iter().map(|(setting, origin)| v1::ConfigEntry {
        key: setting.key().name().to_owned(),
        value: setting.value(),
        is_default: *origin == Origin::Default,
        policy: match origin {
            Origin::Policy(pattern) => Some(pattern.to_string()),
            Origin::Default | Origin::Topic => None,
        },
    });
    v1::TopicDescription {
        name: topic.topic.name.to_string(),
        topic_id: Bytes::copy_from_slice(&topic.topic.id.to_bytes()),
        replication: u32::from(topic.topic.replication),
        partitions: (0..).zip(&topic.partitions).map(partition).collect(),
        config: config.collect(),
        error: None,
    }
}

fn partition((index, partition): (u32, &PartitionDescription)) -> v1::PartitionDescription {
    v1::PartitionDescription {
        index,
        shard: partition.view.shard.get(),
        leader_node: partition.view.leader.map(NodeId::get),
        replica_nodes: partition.view.replicas.iter().map(|node| node.get()).collect(),
        log_start: partition.progress.map(|progress| progress.log_start().get()),
        high_watermark: partition.progress.map(|progress| progress.high_watermark().get()),
        size_bytes: partition.size_bytes,
        moving_to_shard: partition.moving_to.map(ShardId::get),
    }
}

/// Settings in order of key, so that the same request meets the same refusal.
pub(super) fn config(config: HashMap<String, String>) -> BTreeMap<String, String> {
    config.into_iter().collect()
}
