//! What servers tell about topics and themselves. Field names are those of the CLI's JSON.

use quipu_proto::v1;
use quipu_types::TopicId;
use serde::Serialize;

use super::ReplicaMove;

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TopicDescription {
    /// Its name.
    pub name: String,
    /// Its identity, as a UUID.
    pub topic_id: String,
    /// Replicas of each partition.
    pub replication: u32,
    /// By index.
    pub partitions: Vec<PartitionDescription>,
    /// All keys with their values.
    pub config: Vec<ConfigEntry>,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartitionDescription {
    /// Its place in the topic.
    pub index: u32,
    /// The shard that hosts it.
    pub shard: u32,
    /// The node that leads it; none while an election runs.
    pub leader: Option<u64>,
    /// Nodes with a replica; the first is preferred as leader.
    pub replicas: Vec<u64>,
    /// First kept offset, as the answering node knows it.
    pub log_start: Option<u64>,
    /// Next offset to be written, as the answering node knows it.
    pub high_watermark: Option<u64>,
    /// Bytes on the answering node's disk.
    pub size_bytes: Option<u64>,
    /// The shard it is on its way to, if it is.
    pub moving_to: Option<u32>,
}

/// A key of a topic's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigEntry {
    /// The key.
    pub key: String,
    /// Its value.
    pub value: String,
    /// Neither the topic nor a policy sets it.
    pub is_default: bool,
    /// The pattern of the policy that sets it; none when the topic does, or nobody.
    pub policy: Option<String>,
}

/// The cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClusterDescription {
    /// Its identity.
    pub cluster_id: String,
    /// Who tells this.
    pub answering_node: u64,
    /// The leader of the metadata group.
    pub controller: Option<u64>,
    /// All nodes.
    pub nodes: Vec<NodeDescription>,
    /// All shards.
    pub shards: Vec<ShardDescription>,
    /// Number of topics.
    pub topics: u32,
    /// Number of partitions.
    pub partitions: u32,
    /// Nothing needs attention.
    pub is_healthy: bool,
    /// What needs attention, one sentence each.
    pub problems: Vec<String>,
    /// Moves of replicas that wait for their turn.
    pub planned_moves: Vec<ReplicaMove>,
    /// Nodes that were removed; their ids are never used again.
    pub removed_nodes: Vec<u64>,
    /// The format level the cluster is finalized at.
    pub format_level: u32,
    /// The answering node's clock, milliseconds since 1970.
    pub wall_ms: i64,
    /// Why the answering node takes no writes; none while it does.
    pub storage_full: Option<StorageFull>,
    /// What the answering node's clients sent and read; none from a node that does not tell.
    pub traffic: Option<Traffic>,
}

/// Bytes of batches that clients sent to a node and read from it, since it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Acknowledged, repeats left out.
    pub bytes_in: u64,
    /// Read.
    pub bytes_out: u64,
    /// When the node began to count, milliseconds since 1970.
    pub since_ms: i64,
}

/// A disk that is too full to take writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct StorageFull {
    /// Bytes that are free.
    pub free_bytes: u64,
    /// Bytes that must be.
    pub required_bytes: u64,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeDescription {
    /// Its id.
    pub node_id: u64,
    /// Where clients reach it.
    pub address: String,
    /// Where it stands.
    pub rack: String,
    /// The answering node hears from it.
    pub is_alive: bool,
    /// Its software.
    pub version: String,
    /// The oldest format level it reads and writes, as of its last start.
    pub level_min: u32,
    /// The newest.
    pub level_max: u32,
    /// What it is there for: `active`, `drained` or `decommissioning`.
    pub state: &'static str,
    /// Until when it is drained, milliseconds since 1970.
    pub drained_until_ms: Option<u64>,
    /// The drain is over before that when the node is started anew.
    pub drained_until_restart: bool,
}

/// A shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShardDescription {
    /// Its id.
    pub shard: u32,
    /// The node that leads it.
    pub leader: Option<u64>,
    /// Its Raft term.
    pub term: u64,
    /// Nodes with a replica.
    pub replicas: Vec<u64>,
    /// Last committed entry, as the answering node's replica knows it.
    pub committed_index: Option<u64>,
    /// Last applied entry, as the answering node's replica knows it.
    pub applied_index: Option<u64>,
    /// Partitions it hosts.
    pub partitions: u32,
    /// Nodes whose replicas leave once those above have taken over.
    pub leaving: Vec<u64>,
}

/// The checksum of one replica of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PartitionChecksum {
    /// Whose replica.
    pub node_id: u64,
    /// First offset it covers.
    pub log_start: u64,
    /// First offset it does not cover any more.
    pub high_watermark: u64,
    /// CRC32C over the stored bytes.
    pub crc32c: u32,
}

/// How far a node's replica of a partition is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReplicaDescription {
    /// Whose replica.
    pub node_id: u64,
    /// The shard that hosts the partition.
    pub shard: u32,
    /// `leader`, `follower`, `learner`, `candidate`, `stopped`.
    pub role: String,
    /// First offset; `None` while the partition is not open there.
    pub log_start: Option<u64>,
    /// Next offset to be assigned.
    pub high_watermark: Option<u64>,
    /// Bytes on disk.
    pub size_bytes: u64,
    /// The last entry of the shard's log there.
    pub last_index: Option<u64>,
    /// The last entry known there to be committed.
    pub committed_index: Option<u64>,
    /// The last entry applied there.
    pub applied_index: Option<u64>,
    /// The snapshot of the shard that it receives.
    pub receiving: Option<SnapshotReceipt>,
}

/// How far a snapshot has come, since its transfer began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SnapshotReceipt {
    /// Bytes that came.
    pub bytes: u64,
    /// Records in them, of all partitions of the shard.
    pub records: u64,
    /// Records still to come.
    pub records_missing: u64,
    /// Milliseconds since it began.
    pub elapsed_ms: u64,
}

impl ReplicaDescription {
    pub(crate) fn from_proto(replica: v1::DescribeReplicaResponse) -> Self {
        let role = match replica.role() {
            v1::ReplicaRole::Unspecified => "unknown",
            v1::ReplicaRole::Leader => "leader",
            v1::ReplicaRole::Follower => "follower",
            v1::ReplicaRole::Learner => "learner",
            v1::ReplicaRole::Candidate => "candidate",
            v1::ReplicaRole::Stopped => "stopped",
        };
        Self {
            node_id: replica.node_id,
            shard: replica.shard,
            role: role.to_owned(),
            log_start: replica.log_start,
            high_watermark: replica.high_watermark,
            size_bytes: replica.size_bytes,
            last_index: replica.last_index,
            committed_index: replica.committed_index,
            applied_index: replica.applied_index,
            receiving: replica.receiving.map(|receipt| SnapshotReceipt {
                bytes: receipt.bytes,
                records: receipt.records,
                records_missing: receipt.records_missing,
                elapsed_ms: receipt.elapsed_ms,
            }),
        }
    }
}

impl TopicDescription {
    pub(crate) fn from_proto(topic: v1::TopicDescription) -> Self {
        let id = TopicId::from_slice(&topic.topic_id);
        Self {
            name: topic.name,
            topic_id: id.map(|id| id.to_string()).unwrap_or_default(),
            replication: topic.replication,
            partitions: topic.partitions.into_iter().map(partition).collect(),
            config: topic.config.into_iter().map(config_entry).collect(),
        }
    }
}

fn partition(partition: v1::PartitionDescription) -> PartitionDescription {
    PartitionDescription {
        index: partition.index,
        shard: partition.shard,
        leader: partition.leader_node,
        replicas: partition.replica_nodes,
        log_start: partition.log_start,
        high_watermark: partition.high_watermark,
        size_bytes: partition.size_bytes,
        moving_to: partition.moving_to_shard,
    }
}

fn config_entry(entry: v1::ConfigEntry) -> ConfigEntry {
    ConfigEntry {
        key: entry.key,
        value: entry.value,
        is_default: entry.is_default,
        policy: entry.policy,
    }
}

impl ClusterDescription {
    pub(crate) fn from_proto(cluster: v1::DescribeClusterResponse) -> Self {
        Self {
            cluster_id: cluster.cluster_id,
            answering_node: cluster.answering_node,
            controller: cluster.controller_node,
            nodes: cluster.nodes.into_iter().map(node).collect(),
            shards: cluster.shards.into_iter().map(shard).collect(),
            topics: cluster.topics,
            partitions: cluster.partitions,
            is_healthy: cluster.is_healthy,
            problems: cluster.problems,
            planned_moves: cluster.planned_moves.into_iter().map(ReplicaMove::from_proto).collect(),
            removed_nodes: cluster.removed_nodes,
            format_level: cluster.format_level,
            wall_ms: cluster.wall_ms,
            storage_full: cluster.storage_full.map(|full| StorageFull {
                free_bytes: full.free_bytes,
                required_bytes: full.required_bytes,
            }),
            traffic: cluster.traffic.map(|traffic| Traffic {
                bytes_in: traffic.bytes_in,
                bytes_out: traffic.bytes_out,
                since_ms: traffic.since_ms,
            }),
        }
    }
}

fn node(node: v1::Node) -> NodeDescription {
    let state = match node.state() {
        v1::NodeState::Active => "active",
        v1::NodeState::Drained => "drained",
        v1::NodeState::Decommissioning => "decommissioning",
    };
    NodeDescription {
        state,
        drained_until_ms: (node.drained_until_ms > 0).then_some(node.drained_until_ms),
        drained_until_restart: node.drained_until_restart,
        node_id: node.node_id,
        address: node.address,
        rack: node.rack,
        is_alive: node.is_alive,
        version: node.version,
        level_min: node.level_min,
        level_max: node.level_max,
    }
}

fn shard(shard: v1::ShardDescription) -> ShardDescription {
    ShardDescription {
        shard: shard.shard,
        leader: shard.leader_node,
        term: shard.term,
        replicas: shard.replica_nodes,
        committed_index: shard.committed_index,
        applied_index: shard.applied_index,
        partitions: shard.partitions,
        leaving: shard.leaving_nodes,
    }
}
