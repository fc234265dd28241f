//! What a client routes by.

use bytes::Bytes;
use quipu_broker::cluster::{NodeView, PartitionView, TopicFilter, TopicMissing, TopicView};
use quipu_broker::nodes::NodeState;
use quipu_proto::v1;
use quipu_types::NodeId;

use super::context::Context;
use super::refusal::Refusal;
use super::{error_map, validate};

/// Answers a request.
pub(super) async fn handle(
    context: Context,
    request: v1::MetadataRequest,
) -> Result<v1::MetadataResponse, Refusal> {
    let filter = filter(request)?;
    let metadata = context.broker.cluster_metadata(&filter, context.deadline(0)).await;
    Ok(v1::MetadataResponse {
        cluster_id: metadata.cluster.to_string(),
        controller_node: metadata.controller.map(NodeId::get),
        nodes: metadata.nodes.into_iter().map(node).collect(),
        topics: metadata.topics.into_iter().map(topic).collect(),
        version: metadata.version.get(),
    })
}

pub(super) fn filter(request: v1::MetadataRequest) -> Result<TopicFilter, Refusal> {
    validate::count(request.names.len(), "names")?;
    validate::count(request.topic_ids.len(), "topic_ids")?;
    let ids = request.topic_ids.iter().enumerate();
    let ids = ids.map(|(at, id)| validate::topic_id(id, || format!("topic_ids[{at}]")));
    Ok(TopicFilter {
        ids: ids.collect::<Result<_, _>>()?,
        names: request.names,
        is_all: request.all_topics,
    })
}

/// The message of a node.
pub(super) fn node(node: NodeView) -> v1::Node {
    let (state, drained_until_ms, start) = match node.state {
        NodeState::Active => (v1::NodeState::Active, 0, None),
        NodeState::Drained { until_ms, start } => (v1::NodeState::Drained, until_ms, start),
        NodeState::Decommissioning => (v1::NodeState::Decommissioning, 0, None),
    };
    v1::Node {
        state: state.into(),
        drained_until_ms,
        drained_until_restart: start.is_some(),
        node_id: node.node.get(),
        address: node.address,
        rack: node.rack,
        is_alive: node.is_alive,
        version: node.version,
        level_min: node.levels.min.get(),
        level_max: node.levels.max.get(),
    }
}

fn topic(topic: Result<TopicView, TopicMissing>) -> v1::TopicMetadata {
    match topic {
        Ok(TopicView { topic, partitions }) => v1::TopicMetadata {
            name: topic.name.to_string(),
            topic_id: Bytes::copy_from_slice(&topic.id.to_bytes()),
            partitions: partitions.into_iter().map(partition).collect(),
            max_batch_bytes: u32::try_from(topic.config.max_batch_bytes).unwrap_or(u32::MAX),
            error: None,
            partitions_first: topic.partitions_first,
        },
        Err(TopicMissing::Name { name, error }) => v1::TopicMetadata {
            name,
            error: Some(error_map::error(&error)),
            ..v1::TopicMetadata::default()
        },
        Err(TopicMissing::Id { topic, error }) => v1::TopicMetadata {
            topic_id: Bytes::copy_from_slice(&topic.to_bytes()),
            error: Some(error_map::error(&error)),
            ..v1::TopicMetadata::default()
        },
    }
}

fn partition(partition: PartitionView) -> v1::PartitionMetadata {
    v1::PartitionMetadata {
        leader_node: partition.leader.map(NodeId::get),
        replica_nodes: partition.replicas.into_iter().map(NodeId::get).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_another_length_is_named() {
        let request = v1::MetadataRequest {
            topic_ids: vec![Bytes::from(vec![0; 16]), Bytes::from(vec![0; 3])],
            ..v1::MetadataRequest::default()
        };
        let refused = filter(request).expect_err("3 bytes");
        assert_eq!(refused.to_string(), "topic_ids[1]: a topic id has 16 bytes, 3 came");
    }
}
