//! Topics for people.

use quipu_proto::v1;

use super::context::Context;
use super::refusal::Refusal;
use super::{error_map, topic_message, validate};

/// Answers a request.
pub(super) async fn handle(
    context: Context,
    request: v1::DescribeTopicsRequest,
) -> Result<v1::DescribeTopicsResponse, Refusal> {
    validate::count(request.names.len(), "names")?;
    let described = context.broker.describe_topics(&request.names, context.deadline(0)).await;
    let topics = described.into_iter().map(|(name, topic)| match topic {
        Ok(topic) => topic_message::topic(&topic),
        Err(error) => v1::TopicDescription {
            name,
            error: Some(error_map::error(&error)),
            ..v1::TopicDescription::default()
        },
    });
    Ok(v1::DescribeTopicsResponse { topics: topics.collect() })
}
