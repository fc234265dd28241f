//! Nodes that come, rest and go, and replicas that move.

use std::time::Duration;

use quipu_broker::nodes::{MoveView, NodeChange};
use quipu_proto::v1;
use quipu_proto::v1::change_node_request::Change;
use quipu_types::{NodeId, ShardId};

use super::context::Context;
use super::error_map;
use super::refusal::Refusal;

/// Answers a request to change a node.
pub(super) async fn change(
    context: Context,
    request: v1::ChangeNodeRequest,
) -> Result<v1::ChangeNodeResponse, Refusal> {
    let change = match request.change {
        Some(Change::DrainForMs(span)) if request.until_restart => {
            NodeChange::DrainUntilRestart(Duration::from_millis(span))
        }
        Some(_) if request.until_restart => {
            return Err(Refusal::malformed("until_restart", "only a drain ends with a restart"));
        }
        Some(Change::DrainForMs(span)) => NodeChange::Drain(Duration::from_millis(span)),
        Some(Change::Activate(_)) => NodeChange::Activate,
        Some(Change::Decommission(_)) => NodeChange::Decommission,
        Some(Change::Replace(_)) => NodeChange::Replace,
        None => return Err(Refusal::malformed("change", "say what the node is to do")),
    };
    let deadline = context.deadline(request.timeout_ms);
    let node = NodeId::new(request.node_id);
    let changed = context.broker.change_node(node, change, deadline).await;
    Ok(v1::ChangeNodeResponse { error: changed.err().map(|error| error_map::error(&error)) })
}

/// Answers a request to move replicas.
pub(super) async fn move_replicas(
    context: Context,
    request: v1::MoveReplicasRequest,
) -> Result<v1::MoveReplicasResponse, Refusal> {
    let deadline = context.deadline(request.timeout_ms);
    let shard = ShardId::new(request.shard);
    let to = request.to_nodes.into_iter().map(NodeId::new).collect();
    let moved = context.broker.move_replicas(shard, to, deadline).await;
    Ok(v1::MoveReplicasResponse { error: moved.err().map(|error| error_map::error(&error)) })
}

/// Answers a request to rebalance.
pub(super) async fn rebalance(
    context: Context,
    request: v1::RebalanceRequest,
) -> Result<v1::RebalanceResponse, Refusal> {
    let deadline = context.deadline(request.timeout_ms);
    let broker = &context.broker;
    let planned = match (request.cancel, request.validate_only) {
        (true, true) => Ok(broker.planned_moves()),
        (true, false) => broker.cancel_moves(deadline).await,
        (false, true) => Ok(broker.preview_rebalance()),
        (false, false) => broker.rebalance(request.at_once, deadline).await,
    };
    Ok(match planned {
        Ok(moves) => {
            let moves = moves.into_iter().map(replica_move).collect();
            v1::RebalanceResponse { moves, error: None }
        }
        Err(error) => {
            v1::RebalanceResponse { moves: Vec::new(), error: Some(error_map::error(&error)) }
        }
    })
}

/// A move on the wire.
pub(super) fn replica_move(view: MoveView) -> v1::ReplicaMove {
    let ids = |nodes: Vec<NodeId>| nodes.into_iter().map(NodeId::get).collect();
    v1::ReplicaMove { shard: view.shard.get(), from_nodes: ids(view.from), to_nodes: ids(view.to) }
}
