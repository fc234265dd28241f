//! Reading: a stream of requests, several of which may wait at the same time.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use prost::Message;
use quipu_broker::fetch::{
    BYTES_MAX_DEFAULT, FetchCommand, FetchPermit, FetchPosition, Fetched, FetchedPartition,
};
use quipu_broker::metrics::{self, Phase, PhaseMetric};
use quipu_proto::v1;
use quipu_runtime::Deadline;
use quipu_types::{ErrorCode, Offset, limits};

use super::call::guarded;
use super::context::Context;
use super::pipeline::{Pipeline, Settling};
use super::refusal::Refusal;
use super::{error_map, validate};
use crate::config::STREAM_FETCHES_MAX;

#[cfg(test)]
mod tests;

const API: &str = "fetch";

/// An answer with its share of memory, given back when the answer is written.
pub(super) struct FetchAnswer {
    pub(super) response: v1::FetchResponse,
    pub(super) permit: FetchPermit,
}

/// The requests of one fetch stream.
pub(super) struct FetchPipeline {
    context: Context,
    queue: PhaseMetric,
    respond: PhaseMetric,
}

impl FetchPipeline {
    pub(super) fn new(context: Context) -> Self {
        let of = |phase| PhaseMetric::new(API, phase);
        Self { context, queue: of(Phase::Queue), respond: of(Phase::Respond) }
    }
}

impl Pipeline for FetchPipeline {
    type Request = v1::FetchRequest;
    type Answer = FetchAnswer;
    const UNANSWERED_MAX: usize = STREAM_FETCHES_MAX;

    fn now(&self) -> Duration {
        self.context.broker.clock().monotonic()
    }

    fn responded(&self, took: Duration) {
        self.respond.record(took);
    }

    fn take(&self, request: v1::FetchRequest) -> BoxFuture<'static, Settling<FetchAnswer>> {
        let (context, queue) = (self.context.clone(), self.queue.clone());
        let begun = self.now();
        Box::pin(async move {
            let memory = context.memory.take(request.encoded_len()).await;
            queue.record(context.broker.clock().monotonic().saturating_sub(begun));
            Settling::new(async move {
                let answer = settle(&context, request).await;
                drop(memory);
                answer
            })
        })
    }
}

async fn settle(context: &Context, request: v1::FetchRequest) -> FetchAnswer {
    let request_id = request.request_id;
    let begun = context.broker.clock().monotonic();
    let answered = match command(context, request) {
        Ok(command) => guarded(API, context.broker.fetch(command)).await,
        Err(refusal) => Err(refusal),
    };
    let (response, permit) = match answered {
        Ok(Fetched { partitions, permit }) => {
            let partitions = partitions.into_iter().map(partition).collect();
            (v1::FetchResponse { request_id, partitions, error: None }, permit)
        }
        Err(refusal) => {
            let error = Some(error_map::error(&refusal));
            let response = v1::FetchResponse { request_id, partitions: Vec::new(), error };
            (response, FetchPermit::default())
        }
    };
    let took = context.broker.clock().monotonic().saturating_sub(begun);
    metrics::request(API, first_error(&response), took);
    FetchAnswer { response, permit }
}

fn first_error(response: &v1::FetchResponse) -> Option<ErrorCode> {
    let of_partitions = response.partitions.iter().find_map(|partition| partition.error.as_ref());
    error_map::code_of(response.error.as_ref().or(of_partitions)?)
}

/// Checks a request. Sizes and waits above their bounds are cut, not refused.
fn command(context: &Context, request: v1::FetchRequest) -> Result<FetchCommand, Refusal> {
    let positions = positions(&request.positions)?;
    let wait_ms = request.max_wait_ms.min(limits::FETCH_WAIT_MS_MAX);
    let wait = Duration::from_millis(u64::from(wait_ms));
    Ok(FetchCommand {
        positions,
        bytes_min: validate::bytes(request.min_bytes),
        bytes_max: whole_bytes_max(request.max_bytes),
        deadline: Deadline::after(context.broker.clock(), wait),
        // Clients number their requests: the turn goes round.
        first: usize::try_from(request.request_id).unwrap_or_default(),
    })
}

pub(super) fn positions(positions: &[v1::FetchPosition]) -> Result<Vec<FetchPosition>, Refusal> {
    validate::count(positions.len(), "positions")?;
    let checked = positions.iter().enumerate().map(|(at, position)| {
        let topic = validate::topic_id(&position.topic_id, || format!("positions[{at}].topic_id"))?;
        Ok(FetchPosition {
            topic,
            partition: validate::partition(position.partition),
            offset: Offset::new(position.offset),
            bytes_max: match position.max_bytes {
                0 => usize::MAX,
                bytes => validate::bytes(bytes),
            },
        })
    });
    checked.collect()
}

pub(super) fn whole_bytes_max(bytes: u32) -> usize {
    match bytes {
        0 => BYTES_MAX_DEFAULT,
        bytes => validate::bytes(bytes).min(limits::FETCH_RESPONSE_BYTES_MAX),
    }
}

fn partition(fetched: FetchedPartition) -> v1::FetchedPartition {
    let plain = v1::FetchedPartition {
        topic_id: Bytes::copy_from_slice(&fetched.topic.to_bytes()),
        partition: fetched.partition.get(),
        ..v1::FetchedPartition::default()
    };
    match fetched.result {
        Ok(batches) => v1::FetchedPartition {
            log_start: batches.progress.log_start().get(),
            high_watermark: batches.progress.high_watermark().get(),
            records: back_to_back(batches.batches),
            ..plain
        },
        Err(error) => v1::FetchedPartition { error: Some(error_map::error(&error)), ..plain },
    }
}

/// One piece of bytes; a single batch is not copied.
fn back_to_back(mut batches: Vec<Bytes>) -> Bytes {
    if batches.len() < 2 {
        return batches.pop().unwrap_or_default();
    }
    let mut whole = BytesMut::with_capacity(batches.iter().map(Bytes::len).sum());
    for batch in &batches {
        whole.extend_from_slice(batch);
    }
    whole.freeze()
}
