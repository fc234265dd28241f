//! Where this node's replica of a partition stands, and what it receives.

use quipu_consensus::Positions;
pub use quipu_consensus::Role;
use quipu_runtime::Deadline;
use quipu_shard::Receipt;
use quipu_types::{Effect, ErrorCode, NodeId, PartitionIndex, Progress, Retry, ShardId};

use crate::Broker;
use crate::error::{OperationError, RouteError};
use crate::route::Route;
use crate::topics::LookupError;

/// Why there is nothing to say. Nothing is changed by asking.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DescribeReplicaError {
    /// There is no such topic.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// There is no such partition.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// Other nodes have the replicas.
    #[error("this node has no replica of the partition; ask one of the nodes {nodes:?}")]
    NoReplica {
        /// Who has.
        nodes: Vec<NodeId>,
    },
}

impl OperationError for DescribeReplicaError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Lookup(error) => error.code(),
            Self::Route(error) => error.code(),
            Self::NoReplica { .. } => ErrorCode::WrongNode,
        }
    }

    fn effect(&self) -> Effect {
        match self {
            Self::Lookup(_) | Self::Route(_) | Self::NoReplica { .. } => Effect::None,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Lookup(error) => error.retry(),
            Self::Route(error) => error.retry(),
            Self::NoReplica { nodes } => {
                nodes.first().map_or(Retry::Never, |node| Retry::At(*node))
            }
        }
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Lookup(error) => error.fields(),
            Self::Route(error) => error.fields(),
            Self::NoReplica { nodes } => {
                let nodes: Vec<String> = nodes.iter().map(NodeId::to_string).collect();
                vec![("nodes", nodes.join(","))]
            }
        }
    }
}

/// A replica of a partition.
#[derive(Clone, Copy, Debug)]
pub struct ReplicaView {
    /// The shard it is part of.
    pub shard: ShardId,
    /// What the shard's replica is in its group.
    pub role: Role,
    /// Bounds and bytes of the partition; nothing while it is not open here.
    pub stored: Option<(Progress, u64)>,
    /// Where the shard's replica stands in its log.
    pub positions: Positions,
    /// The snapshot of the shard that comes.
    pub receiving: Option<Receipt>,
}

impl Broker {
    /// How far this node's replica of a partition is.
    ///
    /// # Errors
    /// [`DescribeReplicaError`]; `NoReplica` names the nodes to ask.
    pub async fn describe_replica(
        &self,
        topic: &str,
        index: PartitionIndex,
        deadline: Deadline,
    ) -> Result<ReplicaView, DescribeReplicaError> {
        let place = self.partition_named::<DescribeReplicaError>(topic, index, deadline).await?;
        let Route { partition, shard: id, .. } = place;
        let (shard, group) = (self.inner.shards.get(id), self.inner.consensus.group(id));
        let (Some(shard), Some(group)) = (shard, group) else {
            return Err(DescribeReplicaError::NoReplica { nodes: self.nodes_to_ask(id)? });
        };
        let role = group.status().borrow().role;
        Ok(ReplicaView {
            shard: id,
            role,
            stored: self.own_view(partition, id),
            positions: group.positions(),
            receiving: shard.receiving(),
        })
    }
}
