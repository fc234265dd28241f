//! The checksum of a partition on this node.

use quipu_proto::v1;

use super::context::Context;
use super::refusal::Refusal;
use super::{error_map, validate};

/// Answers a request.
pub(super) async fn handle(
    context: Context,
    request: v1::PartitionChecksumRequest,
) -> Result<v1::PartitionChecksumResponse, Refusal> {
    let index = validate::partition(request.partition);
    let deadline = context.deadline(0);
    let read = context.broker.partition_checksum(&request.topic, index, deadline).await;
    let node_id = context.broker.node().get();
    Ok(match read {
        Ok((progress, crc32c)) => v1::PartitionChecksumResponse {
            node_id,
            log_start: progress.log_start().get(),
            high_watermark: progress.high_watermark().get(),
            crc32c,
            error: None,
        },
        Err(error) => v1::PartitionChecksumResponse {
            node_id,
            error: Some(error_map::error(&error)),
            ..v1::PartitionChecksumResponse::default()
        },
    })
}
