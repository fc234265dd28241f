//! Moving partitions of a topic to other shards.

use quipu_broker::topics::{Destination, MovePartitions};
use quipu_proto::v1;
use quipu_types::{PartitionIndex, ShardId};

use super::context::Context;
use super::refusal::Refusal;
use super::{error_map, topic_message};

/// Answers a request.
pub(super) async fn handle(
    context: Context,
    request: v1::MovePartitionsRequest,
) -> Result<v1::MovePartitionsResponse, Refusal> {
    let deadline = context.deadline(request.timeout_ms);
    let to = match request.replication {
        None if request.to_shards.is_empty() => {
            return Err(Refusal::malformed("to_shards", "no partition is named"));
        }
        None => {
            let to = request.to_shards.into_iter();
            Destination::Shards(
                to.map(|(index, shard)| (PartitionIndex::new(index), ShardId::new(shard)))
                    .collect(),
            )
        }
        Some(_) if !request.to_shards.is_empty() => {
            return Err(Refusal::malformed("replication", "to_shards is given too"));
        }
        // What does not fit is refused with the most that does.
        Some(count) => Destination::Replication(u8::try_from(count).unwrap_or(u8::MAX)),
    };
    let asked = MovePartitions { name: request.name, to, is_validate_only: request.validate_only };
    Ok(match context.broker.move_partitions(&asked, deadline).await {
        Ok(topic) => {
            v1::MovePartitionsResponse { topic: Some(topic_message::topic(&topic)), error: None }
        }
        Err(error) => v1::MovePartitionsResponse {
            error: Some(error_map::error(&error)),
            ..v1::MovePartitionsResponse::default()
        },
    })
}
