//! Nodes that come, rest and go, and replicas that move.

use std::time::Duration;

use quipu_proto::v1;
use quipu_proto::v1::change_node_request::Change;
use quipu_types::{NodeId, ShardId};
use serde::Serialize;

use super::{Admin, reading};
use crate::Result;
use crate::call::{Call, Target};
use crate::client::cluster_service;

/// What is to become of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeChange {
    /// Leaderships leave it, for so long at most: 1 s to 7 days.
    Drain(Duration),
    /// The same, and it works again as soon as it was started anew. A [`Self::Drain`] that lasts
    /// longer stays as it is.
    DrainUntilRestart(Duration),
    /// It works again; one that is being decommissioned stays in the cluster.
    Activate,
    /// Its replicas go to other nodes; then it is removed, and its id is never used again.
    Decommission,
    /// The same for a node that does not answer any more.
    Replace,
}

/// Where the replicas of a shard are, and where they are to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReplicaMove {
    /// The shard.
    pub shard: u32,
    /// Their nodes now; the preferred leader first.
    pub from: Vec<u64>,
    /// Their nodes afterwards; the preferred leader first.
    pub to: Vec<u64>,
}

impl ReplicaMove {
    pub(super) fn from_proto(planned: v1::ReplicaMove) -> Self {
        Self { shard: planned.shard, from: planned.from_nodes, to: planned.to_nodes }
    }
}

impl Admin {
    /// Says what a node is there for; returns once that is decided. Leaderships and replicas
    /// follow: [`Self::describe_cluster`] shows how far they are.
    ///
    /// ```no_run
    /// # async fn example(client: quipu_client::Client) -> quipu_client::Result<()> {
    /// use std::time::Duration;
    ///
    /// use quipu_client::{NodeChange, NodeId};
    ///
    /// let rest = NodeChange::Drain(Duration::from_secs(600));
    /// client.admin().change_node(NodeId::new(2), rest).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `UNKNOWN_NODE`; `INVALID_PLACEMENT` when the others could not hold its replicas;
    /// `NODE_IN_USE` for a replacement of a node that answers.
    pub async fn change_node(&self, node: NodeId, change: NodeChange) -> Result<()> {
        let until_restart = matches!(change, NodeChange::DrainUntilRestart(_));
        let (action, change) = match change {
            NodeChange::Drain(span) | NodeChange::DrainUntilRestart(span) => {
                let span = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
                ("drain", Change::DrainForMs(span))
            }
            NodeChange::Activate => ("activate", Change::Activate(v1::Nothing {})),
            NodeChange::Decommission => ("decommission", Change::Decommission(v1::Nothing {})),
            NodeChange::Replace => ("replace", Change::Replace(v1::Nothing {})),
        };
        let call = repeatable(format!("{action} node {node}"));
        let request = v1::ChangeNodeRequest {
            node_id: node.get(),
            change: Some(change),
            timeout_ms: 0,
            until_restart,
        };
        self.shared
            .call(&call, request, |channel, request| async move {
                cluster_service(channel).change_node(request).await
            })
            .await?;
        Ok(())
    }

    /// Begins to move the replicas of a shard to these nodes, the preferred leader first. To call
    /// it off, move them back.
    ///
    /// # Errors
    /// `UNKNOWN_SHARD`, `UNKNOWN_NODE`; `INVALID_PLACEMENT` for too few, too many or the same node
    /// twice.
    pub async fn move_replicas(&self, shard: ShardId, to: &[NodeId]) -> Result<()> {
        let call = repeatable(format!("move the replicas of shard {shard}"));
        let request = v1::MoveReplicasRequest {
            shard: shard.get(),
            to_nodes: to.iter().map(|node| node.get()).collect(),
            timeout_ms: 0,
        };
        self.shared
            .call(&call, request, |channel, request| async move {
                cluster_service(channel).move_replicas(request).await
            })
            .await?;
        Ok(())
    }

    /// Plans the moves that give every node its share, in place of what was planned, and has them
    /// made, `at_once` of them at a time (0: two). Returns the plan; nothing when all is even.
    ///
    /// # Errors
    /// When the plan does not reach the metadata group.
    pub async fn rebalance(&self, at_once: u32) -> Result<Vec<ReplicaMove>> {
        let request = v1::RebalanceRequest { at_once, ..v1::RebalanceRequest::default() };
        self.plan(repeatable("rebalance the cluster".to_owned()), request).await
    }

    /// What [`Self::rebalance`] would do, as far as the answering node knows.
    ///
    /// # Errors
    /// When no server answers.
    pub async fn preview_rebalance(&self) -> Result<Vec<ReplicaMove>> {
        let request = v1::RebalanceRequest { validate_only: true, ..<_>::default() };
        self.plan(reading("plan to rebalance the cluster", Target::Any), request).await
    }

    /// Drops what is planned; moves that have begun go on to their end. Returns what was dropped.
    ///
    /// # Errors
    /// When it does not reach the metadata group.
    pub async fn cancel_moves(&self) -> Result<Vec<ReplicaMove>> {
        let request = v1::RebalanceRequest { cancel: true, ..<_>::default() };
        self.plan(repeatable("cancel planned moves".to_owned()), request).await
    }

    async fn plan(&self, call: Call, request: v1::RebalanceRequest) -> Result<Vec<ReplicaMove>> {
        let (answer, _) = self
            .shared
            .call(&call, request, |channel, request| async move {
                cluster_service(channel).rebalance(request).await
            })
            .await?;
        Ok(answer.moves.into_iter().map(ReplicaMove::from_proto).collect())
    }
}

/// A change that is the same when it is made twice.
fn repeatable(action: String) -> Call {
    Call { action, target: Target::Any, is_repeatable: true }
}
