//! Removing the prefix of partitions.

use futures::future::join_all;
use quipu_broker::delete_records::DeleteRecordsTarget;
use quipu_proto::v1;
use quipu_types::Offset;

use super::context::Context;
use super::refusal::Refusal;
use super::{error_map, validate};

/// Answers a request.
pub(super) async fn handle(
    context: Context,
    request: v1::DeleteRecordsRequest,
) -> Result<v1::DeleteRecordsResponse, Refusal> {
    validate::count(request.targets.len(), "targets")?;
    let deadline = context.deadline(request.timeout_ms);
    let targets = request.targets.into_iter().map(|target| DeleteRecordsTarget {
        topic: target.topic,
        partition: validate::partition(target.partition),
        before: target.before_offset.map(Offset::new),
    });
    let deletions = targets.map(async |target| {
        let (log_start, error) = match context.broker.delete_records(&target, deadline).await {
            Ok(log_start) => (log_start.get(), None),
            Err(error) => (0, Some(error_map::error(&error))),
        };
        let partition = target.partition.get();
        v1::DeleteRecordsResult { topic: target.topic, partition, log_start, error }
    });
    Ok(v1::DeleteRecordsResponse { results: join_all(deletions).await })
}
