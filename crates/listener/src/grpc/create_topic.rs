//! Creating a topic.

use quipu_broker::topics::CreateTopic;
use quipu_proto::v1;

use super::context::Context;
use super::refusal::Refusal;
use super::{error_map, topic_message};

/// Answers a request.
pub(super) async fn handle(
    context: Context,
    request: v1::CreateTopicRequest,
) -> Result<v1::CreateTopicResponse, Refusal> {
    let deadline = context.deadline(request.timeout_ms);
    let create = CreateTopic {
        name: request.name,
        partitions: request.partitions,
        replication: request.replication,
        config: topic_message::config(request.config),
        is_validate_only: request.validate_only,
    };
    Ok(match context.broker.create_topic(&create, deadline).await {
        Ok(topic) => {
            v1::CreateTopicResponse { topic: Some(topic_message::topic(&topic)), error: None }
        }
        Err(error) => {
            v1::CreateTopicResponse { topic: None, error: Some(error_map::error(&error)) }
        }
    })
}
