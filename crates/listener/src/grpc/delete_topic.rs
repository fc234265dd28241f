//! Deleting a topic.

use bytes::Bytes;
use quipu_proto::v1;

use super::context::Context;
use super::error_map;
use super::refusal::Refusal;

/// Answers a request.
pub(super) async fn handle(
    context: Context,
    request: v1::DeleteTopicRequest,
) -> Result<v1::DeleteTopicResponse, Refusal> {
    let deadline = context.deadline(request.timeout_ms);
    Ok(match context.broker.delete_topic(&request.name, deadline).await {
        Ok(id) => {
            let topic_id = Bytes::copy_from_slice(&id.to_bytes());
            v1::DeleteTopicResponse { topic_id, error: None }
        }
        Err(error) => {
            let error = Some(error_map::error(&error));
            v1::DeleteTopicResponse { topic_id: Bytes::new(), error }
        }
    })
}
