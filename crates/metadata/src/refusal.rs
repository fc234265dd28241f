//! Commands that the state machine refuses: the same on every replica, and without effect.

use std::time::Duration;

use quipu_types::{
    ClusterId, DirectoryId, ErrorCode, FormatLevel, Incarnation, LevelRange, MoveId, NodeId,
    PartitionIndex, Retry, ShardId, TopicId, TopicName, limits,
};
use serde::{Deserialize, Serialize};

use crate::policy::{POLICIES_MAX, TopicPattern};
use crate::topic_config::InvalidConfig;

/// Pause before trying again while a cluster comes up.
const SOON: Duration = Duration::from_millis(100);

/// Why a command changed nothing. Travels between nodes as JSON; the names of the variants are
/// persisted nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Refusal {
    /// The name is taken.
    #[error("topic {name} exists already")]
    TopicExists {
        /// The name.
        name: TopicName,
    },
    /// The id is taken by a topic of another name.
    #[error("topic id {id} is taken by another topic")]
    TopicIdTaken {
        /// The id.
        id: TopicId,
    },
    /// No topic has the name.
    #[error("there is no topic {name}")]
    UnknownTopic {
        /// The name.
        name: TopicName,
    },
    /// The name is of another topic by now.
    #[error("topic {name} was deleted and created again: its id is no more {given}")]
    StaleTopicId {
        /// The name.
        name: TopicName,
        /// The id the caller meant.
        given: TopicId,
        /// The id the name has now.
        known: TopicId,
    },
    /// No topic has the id.
    #[error("no topic has id {id}: it was deleted, perhaps created again under the same name")]
    UnknownTopicId {
        /// The id.
        id: TopicId,
    },
    /// Partitions are never taken away: their records would go with them.
    #[error(
        "topic {name} has {existing} partitions and cannot have fewer: ask for more than that, \
         not {given}"
    )]
    FewerPartitions {
        /// The topic's name.
        name: TopicName,
        /// As asked for.
        given: u32,
        /// As there are.
        existing: u32,
    },
    /// Too few or too many partitions for one topic.
    #[error("a topic has 1 to {} partitions, not {given}", limits::TOPIC_PARTITIONS_MAX)]
    InvalidPartitions {
        /// As asked for.
        given: u32,
    },
    /// The cluster is full.
    #[error(
        "the cluster has {existing} of at most {} partitions; {given} more do not fit",
        limits::CLUSTER_PARTITIONS_MAX
    )]
    TooManyPartitions {
        /// As asked for.
        given: u32,
        /// As there are.
        existing: usize,
    },
    /// The replication factor does not fit the cluster.
    #[error("replication {given} does not fit: use 1 to {max}{}", because(*nodes))]
    InvalidReplication {
        /// As asked for.
        given: u8,
        /// The most that is possible.
        max: u8,
        /// Registered nodes.
        nodes: usize,
    },
    /// A setting of the topic.
    #[error(transparent)]
    InvalidConfig(InvalidConfig),
    /// No policy has the pattern.
    #[error("there is no policy for {pattern}")]
    UnknownPolicy {
        /// The pattern.
        pattern: TopicPattern,
    },
    /// Every topic is compared with every pattern: there is a bound.
    #[error("there are {POLICIES_MAX} policies already, which is the most: delete one first")]
    TooManyPolicies,
    /// The cluster has no shards yet.
    #[error("the cluster is being formed: not all of its nodes have registered yet")]
    NotFormed,
    /// Producer ids come in blocks of a sensible size.
    #[error("a block of {given} producer ids is out of bounds: use 1 to {max}")]
    InvalidBlock {
        /// As asked for.
        given: u64,
        /// The most at once.
        max: u64,
    },
    /// The node id belongs to another data directory.
    #[error(
        "node {node} is known with data directory {known}, this one is {given}: it was wiped or \
         swapped. Start the node on its own directory; if that is lost for good, use \
         `quipu node replace {node}` on a running node"
    )]
    NodeIdTaken {
        /// The node.
        node: NodeId,
        /// The directory it registered with.
        known: DirectoryId,
        /// The directory that claims its id.
        given: DirectoryId,
    },
    /// The directory is older than the one that registered.
    #[error(
        "node {node} has a data directory, now at start {given}, that does not know of the node's \
         start {known}: it is an old copy. Start the node on the directory it used last; if that \
         is lost for good, use `quipu node replace {node}` on a running node"
    )]
    OldDirectory {
        /// The node.
        node: NodeId,
        /// The start that registered last.
        known: Incarnation,
        /// The start that asks.
        given: Incarnation,
    },
    /// The directory belongs to another node id.
    #[error(
        "data directory {directory} belongs to node {known}, not to node {given}: give the node \
         its own id, or an empty directory"
    )]
    DirectoryTaken {
        /// The directory.
        directory: DirectoryId,
        /// Whose it is.
        known: NodeId,
        /// Who claims it.
        given: NodeId,
    },
    /// No node has the id.
    #[error("there is no node {node}")]
    UnknownNode {
        /// The id.
        node: NodeId,
    },
    /// The node was decommissioned.
    #[error(
        "node {node} was removed from the cluster, and its id is never used again: start a new \
         node with another id and an empty directory"
    )]
    NodeRemoved {
        /// The node.
        node: NodeId,
    },
    /// The node holds something yet.
    #[error(
        "node {node} holds replicas of {shards} shards: decommission it, and it is removed by \
         itself once they have moved"
    )]
    NodeInUse {
        /// The node.
        node: NodeId,
        /// How many shards.
        shards: usize,
    },
    /// Replicas would have no place.
    #[error(
        "without node {node} there are {left} nodes for shards of {needed} replicas: add a node \
         first"
    )]
    TooFewNodes {
        /// The node that is to go.
        node: NodeId,
        /// Nodes that may hold replicas then.
        left: usize,
        /// Replicas of the widest shards.
        needed: u8,
    },
    /// The other replicas of a shard could not go on alone, ever.
    #[error(
        "shard {shard} has {replicas} replica(s), one of them on node {node}: the others are no \
         majority without it, so nothing could feed it"
    )]
    TooFewReplicas {
        /// The node that is to be rebuilt.
        node: NodeId,
        /// A shard it holds.
        shard: ShardId,
        /// How many replicas that has.
        replicas: u8,
    },
    /// The other replicas of a shard cannot go on alone at the moment.
    #[error(
        "of the {replicas} replicas of shard {shard} only {whole} are whole without node {node}: \
         another node is being rebuilt, which must end first"
    )]
    TooFewWhole {
        /// The node that is to be rebuilt.
        node: NodeId,
        /// A shard it holds.
        shard: ShardId,
        /// Replicas elsewhere that lack nothing.
        whole: usize,
        /// How many replicas it has.
        replicas: u8,
    },
    /// A node was given replicas while it was being asked about those it has.
    #[error("the shards of node {node} have just changed: ask again")]
    ShardsChanged {
        /// The node.
        node: NodeId,
    },
    /// No shard has the id.
    #[error("there is no shard {shard}")]
    UnknownShard {
        /// The id.
        shard: ShardId,
    },
    /// A shard cannot be placed so.
    #[error("shard {shard} cannot be held by these nodes: {reason}")]
    InvalidPlacement {
        /// The shard.
        shard: ShardId,
        /// What is wrong.
        reason: String,
    },
    /// The topic has no such partition.
    #[error("topic {name} has partitions 0 to {}, not {given}", partitions.saturating_sub(1))]
    UnknownPartition {
        /// The topic's name.
        name: TopicName,
        /// As asked for.
        given: PartitionIndex,
        /// As there are.
        partitions: usize,
    },
    /// The move is not under way any more.
    #[error("move {by} of partition {partition} of topic {name} was called off")]
    MoveCalledOff {
        /// The topic's name.
        name: TopicName,
        /// Which partition.
        partition: PartitionIndex,
        /// The move.
        by: MoveId,
    },
    /// A node would not read what the others write.
    #[error(
        "the cluster is finalized at format level {known}, node {node} reads and writes {levels}: \
         start it with a release that has level {known}, as the other nodes run"
    )]
    LevelNotRead {
        /// The node.
        node: NodeId,
        /// What the cluster is finalized at.
        known: FormatLevel,
        /// What the node does.
        levels: LevelRange,
    },
    /// Some node would not read the level.
    #[error(
        "format level {given} cannot be finalized: {}. Start them with the release that has it, \
         or remove nodes that are gone for good",
        told(behind)
    )]
    LevelNotEverywhere {
        /// As asked for.
        given: FormatLevel,
        /// Nodes that lack it, with what they do.
        behind: Vec<(NodeId, LevelRange)>,
    },
    /// Levels do not fall.
    #[error("the cluster is finalized at format level {known} and does not go back to {given}")]
    LevelFalls {
        /// As asked for.
        given: FormatLevel,
        /// What the cluster is finalized at.
        known: FormatLevel,
    },
    /// The cluster has another id.
    #[error("this cluster is {known}, not {given}")]
    WrongCluster {
        /// Its id.
        known: ClusterId,
        /// As given.
        given: ClusterId,
    },
}

fn told(behind: &[(NodeId, LevelRange)]) -> String {
    let told = behind.iter().map(|(node, levels)| format!("node {node} has {levels}"));
    told.collect::<Vec<_>>().join(", ")
}

fn because(nodes: usize) -> String {
    if nodes < usize::from(limits::REPLICATION_MAX) {
        format!(", the number of nodes ({nodes})")
    } else {
        String::new()
    }
}

impl From<InvalidConfig> for Refusal {
    fn from(invalid: InvalidConfig) -> Self {
        Self::InvalidConfig(invalid)
    }
}

impl Refusal {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::TopicExists { .. } => ErrorCode::TopicExists,
            Self::TopicIdTaken { .. } => ErrorCode::Internal,
            Self::UnknownTopic { .. } => ErrorCode::UnknownTopic,
            Self::StaleTopicId { .. } | Self::UnknownTopicId { .. } => ErrorCode::UnknownTopicId,
            Self::FewerPartitions { .. }
            | Self::InvalidPartitions { .. }
            | Self::TooManyPartitions { .. } => ErrorCode::InvalidPartitions,
            Self::InvalidReplication { .. } => ErrorCode::InvalidReplication,
            Self::InvalidConfig(_) => ErrorCode::InvalidConfig,
            Self::UnknownPolicy { .. } => ErrorCode::UnknownPolicy,
            Self::TooManyPolicies => ErrorCode::InvalidPolicy,
            Self::NotFormed => ErrorCode::ControllerUnavailable,
            Self::InvalidBlock { .. } => ErrorCode::Malformed,
            Self::NodeIdTaken { .. } | Self::OldDirectory { .. } | Self::DirectoryTaken { .. } => {
                ErrorCode::WrongNode
            }
            Self::WrongCluster { .. } => ErrorCode::WrongCluster,
            Self::UnknownNode { .. } => ErrorCode::UnknownNode,
            Self::NodeRemoved { .. } => ErrorCode::WrongNode,
            Self::NodeInUse { .. } => ErrorCode::NodeInUse,
            Self::TooFewNodes { .. }
            | Self::TooFewReplicas { .. }
            | Self::TooFewWhole { .. }
            | Self::ShardsChanged { .. }
            | Self::InvalidPlacement { .. }
            | Self::MoveCalledOff { .. } => ErrorCode::InvalidPlacement,
            Self::UnknownPartition { .. } => ErrorCode::UnknownPartition,
            Self::UnknownShard { .. } => ErrorCode::UnknownShard,
            Self::LevelNotRead { .. }
            | Self::LevelNotEverywhere { .. }
            | Self::LevelFalls { .. } => ErrorCode::LevelUnsupported,
        }
    }

    /// What a caller may do.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        match self {
            Self::NotFormed | Self::TooFewWhole { .. } | Self::ShardsChanged { .. } => {
                Retry::After(SOON)
            }
            Self::TopicExists { .. }
            | Self::TopicIdTaken { .. }
            | Self::UnknownTopic { .. }
            | Self::StaleTopicId { .. }
            | Self::UnknownTopicId { .. }
            | Self::FewerPartitions { .. }
            | Self::InvalidPartitions { .. }
            | Self::TooManyPartitions { .. }
            | Self::InvalidReplication { .. }
            | Self::InvalidConfig(_)
            | Self::UnknownPolicy { .. }
            | Self::TooManyPolicies
            | Self::InvalidBlock { .. }
            | Self::NodeIdTaken { .. }
            | Self::OldDirectory { .. }
            | Self::DirectoryTaken { .. }
            | Self::WrongCluster { .. }
            | Self::UnknownNode { .. }
            | Self::NodeRemoved { .. }
            | Self::NodeInUse { .. }
            | Self::TooFewNodes { .. }
            | Self::TooFewReplicas { .. }
            | Self::UnknownShard { .. }
            | Self::UnknownPartition { .. }
            | Self::MoveCalledOff { .. }
            | Self::LevelNotRead { .. }
            | Self::LevelNotEverywhere { .. }
            | Self::LevelFalls { .. }
            | Self::InvalidPlacement { .. } => Retry::Never,
        }
    }

    /// The values of the sentence by name, for programs.
    #[must_use]
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::TopicExists { name } | Self::UnknownTopic { name } => {
                vec![("topic", name.to_string())]
            }
            Self::TopicIdTaken { id } | Self::UnknownTopicId { id } => {
                vec![("topic_id", id.to_string())]
            }
            Self::StaleTopicId { name, given, known } => vec![
                ("topic", name.to_string()),
                ("actual", given.to_string()),
                ("topic_id", known.to_string()),
            ],
            Self::FewerPartitions { name, given, existing } => vec![
                ("topic", name.to_string()),
                ("actual", given.to_string()),
                ("existing", existing.to_string()),
            ],
            Self::InvalidPartitions { given } => vec![
                ("limit", limits::TOPIC_PARTITIONS_MAX.to_string()),
                ("actual", given.to_string()),
            ],
            Self::TooManyPartitions { given, existing } => vec![
                ("limit", limits::CLUSTER_PARTITIONS_MAX.to_string()),
                ("actual", given.to_string()),
                ("existing", existing.to_string()),
            ],
            Self::InvalidReplication { given, max, nodes } => vec![
                ("limit", max.to_string()),
                ("actual", given.to_string()),
                ("nodes", nodes.to_string()),
            ],
            Self::InvalidConfig(invalid) => config_fields(invalid),
            Self::UnknownPolicy { pattern } => vec![("pattern", pattern.to_string())],
            Self::TooManyPolicies => vec![("limit", POLICIES_MAX.to_string())],
            Self::NotFormed => Vec::new(),
            Self::InvalidBlock { given, max } => {
                vec![("limit", max.to_string()), ("actual", given.to_string())]
            }
            Self::NodeIdTaken { node, known, given } => vec![
                ("node", node.to_string()),
                ("expected", known.to_string()),
                ("found", given.to_string()),
            ],
            Self::OldDirectory { node, known, given } => vec![
                ("node", node.to_string()),
                ("expected", known.to_string()),
                ("found", given.to_string()),
            ],
            Self::DirectoryTaken { directory, known, given } => vec![
                ("directory", directory.to_string()),
                ("expected", known.to_string()),
                ("found", given.to_string()),
            ],
            Self::UnknownNode { node }
            | Self::NodeRemoved { node }
            | Self::ShardsChanged { node } => {
                vec![("node", node.to_string())]
            }
            Self::NodeInUse { node, shards } => {
                vec![("node", node.to_string()), ("shards", shards.to_string())]
            }
            Self::TooFewNodes { node, left, needed } => vec![
                ("node", node.to_string()),
                ("actual", left.to_string()),
                ("required", needed.to_string()),
            ],
            Self::TooFewReplicas { node, shard, replicas } => vec![
                ("node", node.to_string()),
                ("shard", shard.to_string()),
                ("actual", replicas.to_string()),
                ("required", "3".to_owned()),
            ],
            Self::TooFewWhole { node, shard, whole, replicas } => vec![
                ("node", node.to_string()),
                ("shard", shard.to_string()),
                ("actual", whole.to_string()),
                ("required", (usize::from(*replicas) / 2 + 1).to_string()),
            ],
            Self::UnknownShard { shard } => vec![("shard", shard.to_string())],
            Self::InvalidPlacement { shard, reason } => {
                vec![("shard", shard.to_string()), ("reason", reason.clone())]
            }
            Self::UnknownPartition { name, given, partitions } => vec![
                ("topic", name.to_string()),
                ("partition", given.to_string()),
                ("existing", partitions.to_string()),
            ],
            Self::MoveCalledOff { name, partition, by } => vec![
                ("topic", name.to_string()),
                ("partition", partition.to_string()),
                ("move", by.to_string()),
            ],
            Self::LevelNotRead { node, known, levels } => vec![
                ("node", node.to_string()),
                ("expected", known.to_string()),
                ("found", levels.to_string()),
            ],
            Self::LevelNotEverywhere { given, behind } => {
                let nodes: Vec<String> = behind.iter().map(|(node, _)| node.to_string()).collect();
                vec![("actual", given.to_string()), ("nodes", nodes.join(","))]
            }
            Self::LevelFalls { given, known } => {
                vec![("actual", given.to_string()), ("expected", known.to_string())]
            }
            Self::WrongCluster { known, given } => {
                vec![("expected", known.to_string()), ("found", given.to_string())]
            }
        }
    }
}

fn config_fields(invalid: &InvalidConfig) -> Vec<(&'static str, String)> {
    match invalid {
        InvalidConfig::UnknownKey { key, suggestion } => {
            let suggestion = suggestion.iter().map(|key| ("suggestion", key.clone()));
            std::iter::once(("key", key.clone())).chain(suggestion).collect()
        }
        InvalidConfig::Value { key, value, rule } => {
            vec![("key", key.to_string()), ("value", value.clone()), ("rule", rule.clone())]
        }
        InvalidConfig::SetAndReset { key } | InvalidConfig::NotByPolicy { key } => {
            vec![("key", key.to_string())]
        }
        InvalidConfig::EmptyPolicy => Vec::new(),
    }
}
