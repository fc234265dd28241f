//! From a topic and an index to the shard, and to the node that leads it.

use std::sync::Arc;

use quipu_consensus::Role;
use quipu_metadata::{Image, TopicRecord};
use quipu_partition::PartitionHandle;
use quipu_runtime::Deadline;
use quipu_shard::Shard;
use quipu_types::{MoveId, NodeId, PartitionId, PartitionIndex, ShardId, TopicId};

use crate::Broker;
use crate::error::RouteError;
use crate::freshness::Known;
use crate::topics::LookupError;

/// Where a partition lives.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) topic: Arc<TopicRecord>,
    pub(crate) partition: PartitionId,
    pub(crate) shard: ShardId,
    /// The life of it that counts: the move that brought it to the shard, or none.
    pub(crate) arrived_by: Option<MoveId>,
}

impl Route {
    /// The partition in a shard that is to serve it. What an earlier move left there, or what a
    /// later one brings, is not it.
    pub(crate) fn find(&self, shard: &Shard) -> Result<PartitionHandle, RouteError> {
        let hosted = shard.hosted_partition(self.partition).filter(|hosted| {
            hosted.tenure.is_open() && hosted.tenure.arrived_by == self.arrived_by
        });
        hosted.map(|hosted| hosted.handle).ok_or(RouteError::NotReady)
    }
}

impl Known {
    /// Why a topic that is not in the image is not.
    pub(crate) fn missing(&self, topic: TopicId) -> RouteError {
        if self.is_confirmed {
            RouteError::UnknownTopicId { topic }
        } else {
            RouteError::MetadataUnavailable
        }
    }

    /// The shard of a partition.
    pub(crate) fn route(&self, topic: TopicId, index: PartitionIndex) -> Result<Route, RouteError> {
        let record = self.image.topic_by_id(&topic).ok_or_else(|| self.missing(topic))?;
        let partition = PartitionId::new(topic, index);
        match shard_of(record, index) {
            Ok(shard) => {
                let arrived_by = record.arrived.get(&index).copied();
                Ok(Route { topic: Arc::clone(record), partition, shard, arrived_by })
            }
            // It may have been added a moment ago.
            Err(RouteError::UnknownPartition { .. }) if !self.is_confirmed => {
                Err(RouteError::MetadataUnavailable)
            }
            Err(error) => Err(error),
        }
    }
}

/// The shard of a topic's partition.
fn shard_of(topic: &TopicRecord, index: PartitionIndex) -> Result<ShardId, RouteError> {
    let partitions = topic.partitions.len();
    usize::try_from(index.get())
        .ok()
        .and_then(|at| topic.partitions.get(at))
        .copied()
        .ok_or(RouteError::UnknownPartition { index, partitions })
}

impl Broker {
    /// The partition of a topic's name and an index. One that is not known here is asked for at
    /// the controller before it is called unknown.
    pub(crate) async fn partition_named<E: From<LookupError> + From<RouteError>>(
        &self,
        name: &str,
        index: PartitionIndex,
        deadline: Deadline,
    ) -> Result<Route, E> {
        let topic = self.topic_named(name, deadline).await?.id;
        let asked = std::iter::once(PartitionId::new(topic, index));
        let known = self.image_placing(asked, deadline).await;
        Ok(known.route(topic, index)?)
    }

    /// The leader of a shard as far as this node knows: the newest of what its own replica and
    /// its peers say. One that this node cannot reach does not count.
    pub(crate) fn leader_of(&self, shard: ShardId) -> Option<NodeId> {
        let own = self.inner.consensus.group(shard).map(|group| {
            let status = group.status();
            let status = status.borrow();
            (status.term, status.leader.map(|(_, node)| node))
        });
        let heard = self.inner.consensus.leader_hint(shard);
        let heard = heard.map(|hint| (hint.term, Some(hint.node)));
        // In a newer term without a leader yet, the old one is no answer.
        let leader = own.max(heard).and_then(|(_, node)| node);
        leader.filter(|node| *node == self.inner.node || self.inner.consensus.is_alive(*node))
    }

    /// The leader of a shard, unless this node believes it is itself: what a caller that was
    /// turned away here may try next.
    pub(crate) fn leader_elsewhere(&self, shard: ShardId) -> Option<NodeId> {
        self.leader_of(shard).filter(|node| *node != self.inner.node)
    }

    /// The shard, when this node leads it and may answer for it.
    pub(crate) fn led_shard(&self, id: ShardId) -> Result<Shard, RouteError> {
        let Some(shard) = self.inner.shards.get(id) else {
            return Err(RouteError::NotLeader { leader: self.leader_elsewhere(id) });
        };
        if shard.is_ready_leader() {
            return Ok(shard);
        }
        let role = shard.group().status().borrow().role;
        Err(match role {
            Role::Leader { .. } => RouteError::NotReady,
            Role::Stopped if self.is_stopping() => RouteError::Stopping,
            Role::Follower | Role::Learner | Role::Candidate | Role::Stopped => {
                RouteError::NotLeader { leader: self.leader_elsewhere(id) }
            }
        })
    }

    /// Who can be asked about a shard that is not open here.
    ///
    /// # Errors
    /// `NotReady` when its replica here is to be opened: nobody else can answer for that one.
    pub(crate) fn nodes_to_ask(&self, shard: ShardId) -> Result<Vec<NodeId>, RouteError> {
        let nodes = Self::replica_nodes(&self.image(), shard);
        if nodes.contains(&self.inner.node) { Err(RouteError::NotReady) } else { Ok(nodes) }
    }

    /// The nodes of a shard's replicas, preferred leader first.
    pub(crate) fn replica_nodes(image: &Image, shard: ShardId) -> Vec<NodeId> {
        image
            .shards
            .get(&shard)
            .map(|record| record.replicas.iter().map(|(_, node)| *node).collect())
            .unwrap_or_default()
    }
}
