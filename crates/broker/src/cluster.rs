//! What the cluster looks like: for clients that route by it, and for people.

use std::sync::Arc;

use quipu_metadata::{Image, NodeState, TopicRecord};
use quipu_runtime::Deadline;
use quipu_types::{
    ClusterId, FormatLevel, LevelRange, LogIndex, MetadataVersion, NodeId, PartitionId, ShardId,
    Term, TopicId,
};

use crate::Broker;
use crate::error::RouteError;
use crate::nodes::MoveView;
use crate::topics::LookupError;
use quipu_consensus::Full;

/// What a client routes by.
#[derive(Clone, Debug)]
pub struct ClusterMetadata {
    /// The cluster.
    pub cluster: ClusterId,
    /// The leader of the metadata group, when known.
    pub controller: Option<NodeId>,
    /// Every node, by id.
    pub nodes: Vec<NodeView>,
    /// The topics asked for, in order: by name, then by id.
    pub topics: Vec<Result<TopicView, TopicMissing>>,
    /// Grows with every change.
    pub version: MetadataVersion,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// Its id.
    pub node: NodeId,
    /// `host:port` that clients dial.
    pub address: String,
    /// Its failure domain.
    pub rack: String,
    /// As this node sees it.
    pub is_alive: bool,
    /// Its release.
    pub version: String,
    /// The format levels it reads and writes, as of its last start.
    pub levels: LevelRange,
    /// What it is there for.
    pub state: NodeState,
}

/// One topic with its leaders.
#[derive(Clone, Debug)]
pub struct TopicView {
    /// The topic.
    pub topic: Arc<TopicRecord>,
    /// By index.
    pub partitions: Vec<PartitionView>,
}

/// One partition with its leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionView {
    /// Where it lives.
    pub shard: ShardId,
    /// Who leads; nobody while an election runs.
    pub leader: Option<NodeId>,
    /// Preferred leader first.
    pub replicas: Vec<NodeId>,
}

/// A topic that was asked for and is not there.
#[derive(Clone, Debug)]
pub enum TopicMissing {
    /// By name.
    Name {
        /// The name as asked for.
        name: String,
        /// Why.
        error: LookupError,
    },
    /// By id.
    Id {
        /// The id asked for.
        topic: TopicId,
        /// Why.
        error: RouteError,
    },
}

/// Which topics a client wants to know of.
#[derive(Clone, Debug, Default)]
pub struct TopicFilter {
    /// These names.
    pub names: Vec<String>,
    /// These ids.
    pub ids: Vec<TopicId>,
    /// Every topic, whatever the rest says.
    pub is_all: bool,
}

/// The cluster for people.
#[derive(Clone, Debug)]
pub struct ClusterDescription {
    /// The cluster.
    pub cluster: ClusterId,
    /// Who answers.
    pub answering: NodeId,
    /// The leader of the metadata group, when known.
    pub controller: Option<NodeId>,
    /// Every node, by id.
    pub nodes: Vec<NodeView>,
    /// Every shard, by id; the metadata group is number 0.
    pub shards: Vec<ShardView>,
    /// Number of topics.
    pub topics: usize,
    /// Number of partitions.
    pub partitions: usize,
    /// Everything that is not well, one sentence each.
    pub problems: Vec<String>,
    /// Moves of replicas that wait for their turn.
    pub planned: Vec<MoveView>,
    /// Nodes that were removed.
    pub removed: Vec<NodeId>,
    /// The format level the cluster is finalized at.
    pub level: FormatLevel,
    /// The answering node's clock, milliseconds since 1970.
    pub wall_ms: i64,
    /// Why the answering node takes no writes, if it takes none.
    pub full: Option<Full>,
    /// What the answering node's clients sent and read.
    pub traffic: Traffic,
}

/// Bytes of batches since the node began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// Acknowledged, repeats left out.
    pub bytes_in: u64,
    /// Read.
    pub bytes_out: u64,
    /// When it began to count, milliseconds since 1970.
    pub since_ms: i64,
}

/// One shard for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardView {
    /// Its id.
    pub shard: ShardId,
    /// Who leads.
    pub leader: Option<NodeId>,
    /// The newest term this node heard of.
    pub term: Term,
    /// Preferred leader first.
    pub replicas: Vec<NodeId>,
    /// Of this node's replica.
    pub committed: Option<LogIndex>,
    /// Of this node's replica.
    pub applied: Option<LogIndex>,
    /// Partitions it hosts.
    pub partitions: usize,
    /// Nodes whose replicas leave once those above have taken over.
    pub leaving: Vec<NodeId>,
}

impl Broker {
    /// Nodes, and the leaders of the topics asked for.
    ///
    /// A topic that is not known here is asked for at the controller before it is called missing.
    pub async fn cluster_metadata(
        &self,
        filter: &TopicFilter,
        deadline: Deadline,
    ) -> ClusterMetadata {
        let mut topics = Vec::new();
        if filter.is_all {
            let image = self.image();
            topics.extend(image.topics.values().map(|topic| Ok(self.topic_view(&image, topic))));
        } else {
            for name in &filter.names {
                topics.push(match self.topic_named(name, deadline).await {
                    Ok(topic) => Ok(self.topic_view(&self.image(), &topic)),
                    Err(error) => Err(TopicMissing::Name { name: name.clone(), error }),
                });
            }
            let known = self.image_knowing(filter.ids.iter().copied(), deadline).await;
            for id in &filter.ids {
                let (topic, error) = (*id, known.missing(*id));
                topics.push(match known.image.topic_by_id(id) {
                    Some(record) => Ok(self.topic_view(&known.image, record)),
                    None => Err(TopicMissing::Id { topic, error }),
                });
            }
        }
        let image = self.image();
        ClusterMetadata {
            cluster: image.cluster,
            controller: self.leader_of(ShardId::METADATA),
            nodes: self.node_views(&image),
            topics,
            version: image.version,
        }
    }

    /// Everything about the cluster but its topics.
    #[must_use]
    pub fn describe_cluster(&self) -> ClusterDescription {
        let image = self.image();
        let data = image.shards.keys().filter(|shard| **shard != ShardId::METADATA).copied();
        let shards = std::iter::once(ShardId::METADATA).chain(data);
        let (bytes_in, bytes_out) = self.inner.metrics.bytes();
        ClusterDescription {
            cluster: image.cluster,
            answering: self.inner.node,
            controller: self.leader_of(ShardId::METADATA),
            nodes: self.node_views(&image),
            shards: shards.map(|shard| self.shard_view(&image, shard)).collect(),
            topics: image.topics.len(),
            partitions: image.partitions_total(),
            problems: self.survey(&image).problems(),
            planned: self.planned_moves(),
            removed: image.removed.keys().copied().collect(),
            level: image.level,
            wall_ms: self.inner.clock.wall_ms(),
            full: self.inner.consensus.disk().full(),
            traffic: Traffic { bytes_in, bytes_out, since_ms: self.inner.counting_since_ms },
        }
    }

    /// A topic with its leaders.
    pub(crate) fn topic_view(&self, image: &Image, topic: &Arc<TopicRecord>) -> TopicView {
        let partitions = topic.placed().map(|(_, shard)| PartitionView {
            shard,
            leader: self.leader_of(shard),
            replicas: Self::replica_nodes(image, shard),
        });
        TopicView { topic: Arc::clone(topic), partitions: partitions.collect() }
    }

    /// The bounds and the size of a partition as this node's replica knows them.
    pub(crate) fn own_view(
        &self,
        partition: PartitionId,
        shard: ShardId,
    ) -> Option<(quipu_types::Progress, u64)> {
        let handle = self.inner.shards.get(shard)?.partition(partition)?;
        Some((handle.progress(), handle.size_bytes()))
    }

    fn node_views(&self, image: &Image) -> Vec<NodeView> {
        let view = |(node, record): (&NodeId, &quipu_metadata::NodeRecord)| NodeView {
            node: *node,
            address: record.address_client.clone(),
            rack: record.rack.clone(),
            is_alive: *node == self.inner.node || self.inner.consensus.is_alive(*node),
            version: record.version.clone(),
            levels: record.levels,
            state: record.state,
        };
        image.nodes.iter().map(view).collect()
    }

    fn shard_view(&self, image: &Image, shard: ShardId) -> ShardView {
        let group = self.inner.consensus.group(shard);
        let own_term = group.as_ref().map(|group| group.status().borrow().term);
        let heard = self.inner.consensus.leader_hint(shard).map(|hint| hint.term);
        let positions = group.as_ref().map(|group| group.positions()).unwrap_or_default();
        let mut replicas = Self::replica_nodes(image, shard);
        if let Some(group) = group.filter(|_| replicas.is_empty()) {
            replicas = group.members().into_iter().map(|member| member.node).collect();
        }
        let record = image.shards.get(&shard);
        let leaving = record.into_iter().flat_map(|it| &it.leaving).map(|(_, node)| *node);
        ShardView {
            shard,
            leader: self.leader_of(shard),
            term: own_term.max(heard).unwrap_or_default(),
            replicas,
            committed: positions.committed.map(|entry| entry.index),
            applied: positions.applied.map(|entry| entry.index),
            partitions: image.partition_count(shard),
            leaving: leaving.collect(),
        }
    }
}
