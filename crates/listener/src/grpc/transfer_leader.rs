//! Handing the leadership of a shard to another node.

use quipu_proto::v1;
use quipu_types::{NodeId, ShardId};

use super::context::Context;
use super::error_map;
use super::refusal::Refusal;

/// Answers a request.
pub(super) async fn handle(
    context: Context,
    request: v1::TransferLeaderRequest,
) -> Result<v1::TransferLeaderResponse, Refusal> {
    let (shard, node) = (ShardId::new(request.shard), NodeId::new(request.to_node));
    let transferred = context.broker.transfer_leader(shard, node, context.deadline(0)).await;
    Ok(v1::TransferLeaderResponse {
        error: transferred.err().map(|error| error_map::error(&error)),
    })
}
