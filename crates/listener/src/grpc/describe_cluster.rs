//! The cluster for people.

use quipu_broker::Full;
use quipu_broker::cluster::ShardView;
use quipu_proto::v1;
use quipu_types::{LogIndex, NodeId};

use super::context::Context;
use super::refusal::Refusal;
use super::{metadata, nodes};

/// Answers a request.
pub(super) async fn handle(
    context: Context,
    _request: v1::DescribeClusterRequest,
) -> Result<v1::DescribeClusterResponse, Refusal> {
    let cluster = context.broker.describe_cluster();
    Ok(v1::DescribeClusterResponse {
        cluster_id: cluster.cluster.to_string(),
        answering_node: cluster.answering.get(),
        controller_node: cluster.controller.map(NodeId::get),
        nodes: cluster.nodes.into_iter().map(metadata::node).collect(),
        shards: cluster.shards.into_iter().map(shard).collect(),
        topics: count(cluster.topics),
        partitions: count(cluster.partitions),
        is_healthy: cluster.problems.is_empty(),
        problems: cluster.problems,
        planned_moves: cluster.planned.into_iter().map(nodes::replica_move).collect(),
        removed_nodes: cluster.removed.into_iter().map(NodeId::get).collect(),
        format_level: cluster.level.get(),
        wall_ms: cluster.wall_ms,
        storage_full: cluster.full.map(|Full { free, required }| v1::StorageFull {
            free_bytes: free,
            required_bytes: required,
        }),
        traffic: Some(v1::Traffic {
            bytes_in: cluster.traffic.bytes_in,
            bytes_out: cluster.traffic.bytes_out,
            since_ms: cluster.traffic.since_ms,
        }),
    })
}

fn shard(shard: ShardView) -> v1::ShardDescription {
    v1::ShardDescription {
        shard: shard.shard.get(),
        leader_node: shard.leader.map(NodeId::get),
        term: shard.term.get(),
        replica_nodes: shard.replicas.into_iter().map(NodeId::get).collect(),
        committed_index: shard.committed.map(LogIndex::get),
        applied_index: shard.applied.map(LogIndex::get),
        partitions: count(shard.partitions),
        leaving_nodes: shard.leaving.into_iter().map(NodeId::get).collect(),
    }
}

fn count(items: usize) -> u32 {
    u32::try_from(items).unwrap_or(u32::MAX)
}
