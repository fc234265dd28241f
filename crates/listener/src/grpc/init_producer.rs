//! Handing out a producer id.

use quipu_proto::v1;

use super::context::Context;
use super::error_map;
use super::refusal::Refusal;

/// Answers a request.
pub(super) async fn handle(
    context: Context,
    _request: v1::InitProducerRequest,
) -> Result<v1::InitProducerResponse, Refusal> {
    let given = context.broker.init_producer(context.deadline(0)).await;
    Ok(match given {
        Ok((id, epoch)) => v1::InitProducerResponse {
            producer_id: id.get(),
            producer_epoch: i32::from(epoch.get()),
            error: None,
        },
        Err(error) => v1::InitProducerResponse {
            producer_id: -1,
            producer_epoch: -1,
            error: Some(error_map::error(&error)),
        },
    })
}
