//! Giving a topic more partitions.

use quipu_broker::topics::AddPartitions;
use quipu_proto::v1;

use super::context::Context;
use super::refusal::Refusal;
use super::{error_map, topic_message};

/// Answers a request.
pub(super) async fn handle(
    context: Context,
    request: v1::AddPartitionsRequest,
) -> Result<v1::AddPartitionsResponse, Refusal> {
    let deadline = context.deadline(request.timeout_ms);
    let add = AddPartitions {
        name: request.name,
        total: request.total,
        is_validate_only: request.validate_only,
    };
    Ok(match context.broker.add_partitions(&add, deadline).await {
        Ok(grown) => v1::AddPartitionsResponse {
            topic: Some(topic_message::topic(&grown.topic)),
            partitions_before: grown.before,
            is_changed: grown.is_changed(),
            error: None,
        },
        Err(error) => v1::AddPartitionsResponse {
            error: Some(error_map::error(&error)),
            ..v1::AddPartitionsResponse::default()
        },
    })
}
