//! How far this node's replica of a partition is.

use quipu_broker::describe_replica::{ReplicaView, Role};
use quipu_proto::v1;

use super::context::Context;
use super::refusal::Refusal;
use super::{error_map, validate};

/// Answers a request.
pub(super) async fn handle(
    context: Context,
    request: v1::DescribeReplicaRequest,
) -> Result<v1::DescribeReplicaResponse, Refusal> {
    let index = validate::partition(request.partition);
    let deadline = context.deadline(0);
    let node_id = context.broker.node().get();
    Ok(match context.broker.describe_replica(&request.topic, index, deadline).await {
        Ok(view) => response(node_id, &view),
        Err(error) => v1::DescribeReplicaResponse {
            node_id,
            error: Some(error_map::error(&error)),
            ..v1::DescribeReplicaResponse::default()
        },
    })
}

fn response(node_id: u64, view: &ReplicaView) -> v1::DescribeReplicaResponse {
    let progress = view.stored.map(|(progress, _)| progress);
    let receiving = view.receiving.map(|receipt| v1::SnapshotReceipt {
        bytes: receipt.bytes,
        records: receipt.records,
        records_missing: receipt.missing,
        elapsed_ms: u64::try_from(receipt.elapsed.as_millis()).unwrap_or(u64::MAX),
    });
    let index = |entry: Option<quipu_types::EntryId>| entry.map(|entry| entry.index.get());
    v1::DescribeReplicaResponse {
        node_id,
        shard: view.shard.get(),
        role: role(view.role).into(),
        log_start: progress.map(|progress| progress.log_start().get()),
        high_watermark: progress.map(|progress| progress.high_watermark().get()),
        size_bytes: view.stored.map_or(0, |(_, bytes)| bytes),
        last_index: index(view.positions.last),
        committed_index: index(view.positions.committed),
        applied_index: index(view.positions.applied),
        receiving,
        error: None,
    }
}

const fn role(role: Role) -> v1::ReplicaRole {
    match role {
        Role::Leader { .. } => v1::ReplicaRole::Leader,
        Role::Follower => v1::ReplicaRole::Follower,
        Role::Learner => v1::ReplicaRole::Learner,
        Role::Candidate => v1::ReplicaRole::Candidate,
        Role::Stopped => v1::ReplicaRole::Stopped,
    }
}
