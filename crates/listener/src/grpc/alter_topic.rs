//! Changing a topic's settings.

use quipu_broker::topics::AlterTopic;
use quipu_proto::v1;

use super::context::Context;
use super::refusal::Refusal;
use super::{error_map, topic_message};

/// Answers a request.
pub(super) async fn handle(
    context: Context,
    request: v1::AlterTopicRequest,
) -> Result<v1::AlterTopicResponse, Refusal> {
    let deadline = context.deadline(request.timeout_ms);
    let alter = AlterTopic {
        name: request.name,
        set: topic_message::config(request.set),
        reset: request.reset,
        is_validate_only: request.validate_only,
    };
    Ok(match context.broker.alter_topic(&alter, deadline).await {
        Ok(topic) => {
            v1::AlterTopicResponse { topic: Some(topic_message::topic(&topic)), error: None }
        }
        Err(error) => v1::AlterTopicResponse { topic: None, error: Some(error_map::error(&error)) },
    })
}
