//! Appending: a stream of requests, answered as they settle.

use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, join_all};
use prost::Message;
use quipu_broker::metrics::{self, Phase, PhaseMetric};
use quipu_broker::produce::{
    ProduceCommand, ProduceEntry, ProduceError, ProduceFuture, Produced, TIMEOUT_DEFAULT,
};
use quipu_proto::v1;
use quipu_runtime::Deadline;
use quipu_types::record::ValidatedBatch;
use quipu_types::{ErrorCode, Offset, TimestampMs, limits};

use super::call::guarded;
use super::context::Context;
use super::memory::RequestPermit;
use super::pipeline::{Pipeline, Settling};
use super::refusal::Refusal;
use super::{error_map, validate};

#[cfg(test)]
mod tests;

const API: &str = "produce";

/// The requests of one produce stream.
pub(super) struct ProducePipeline {
    context: Context,
    respond: PhaseMetric,
}

impl ProducePipeline {
    pub(super) fn new(context: Context) -> Self {
        Self { context, respond: PhaseMetric::new(API, Phase::Respond) }
    }
}

impl Pipeline for ProducePipeline {
    type Request = v1::ProduceRequest;
    type Answer = v1::ProduceResponse;
    const UNANSWERED_MAX: usize = limits::CONNECTION_PRODUCE_IN_FLIGHT_MAX;

    fn now(&self) -> Duration {
        self.context.broker.clock().monotonic()
    }

    fn responded(&self, took: Duration) {
        self.respond.record(took);
    }

    fn take(
        &self,
        request: v1::ProduceRequest,
    ) -> BoxFuture<'static, Settling<v1::ProduceResponse>> {
        let context = self.context.clone();
        Box::pin(async move {
            let request_id = request.request_id;
            let begun = context.broker.clock().monotonic();
            let taken = guarded(API, take(&context, request, begun)).await.unwrap_or_else(Err);
            Settling::new(async move {
                let answered = match taken {
                    Ok(taken) => guarded(API, taken.settle()).await,
                    Err(refusal) => Err(refusal),
                };
                let response = answered.map_or_else(
                    |refusal| refused(request_id, &refusal),
                    |results| v1::ProduceResponse { request_id, results, error: None },
                );
                let took = context.broker.clock().monotonic().saturating_sub(begun);
                metrics::request(API, first_error(&response), took);
                response
            })
        })
    }
}

/// What is said of a request that was refused as a whole.
fn refused(request_id: u64, refusal: &Refusal) -> v1::ProduceResponse {
    v1::ProduceResponse { request_id, results: Vec::new(), error: Some(error_map::error(refusal)) }
}

fn first_error(response: &v1::ProduceResponse) -> Option<ErrorCode> {
    let of_results = response.results.iter().find_map(|result| result.error.as_ref());
    error_map::code_of(response.error.as_ref().or(of_results)?)
}

/// A request whose batches are in their queues.
struct Taken {
    slots: Vec<Slot>,
    futures: Vec<ProduceFuture>,
    _permit: RequestPermit,
}

/// One batch's place in the answer.
#[derive(Debug)]
pub(super) struct Slot {
    topic_id: Bytes,
    partition: u32,
    /// Why the batch was not handed on.
    refused: Option<ProduceError>,
}

/// Checks a request, waits for room, and puts its batches into their queues.
async fn take(
    context: &Context,
    request: v1::ProduceRequest,
    begun: Duration,
) -> Result<Taken, Refusal> {
    let acks = validate::acks(request.acks)?;
    let bytes = request.encoded_len();
    let timeout = timeout(request.timeout_ms);
    let (mut slots, entries) = check(request.batches)?;
    let permit = context.memory.take(bytes).await;
    let deadline = Deadline::after(context.broker.clock(), timeout);
    let command = ProduceCommand { acks, deadline, begun, entries };
    let futures = match context.broker.admit(command).await {
        Ok(admitted) => context.broker.produce(admitted),
        Err(error) => {
            for slot in slots.iter_mut().filter(|slot| slot.refused.is_none()) {
                slot.refused = Some(error.clone());
            }
            Vec::new()
        }
    };
    Ok(Taken { slots, futures, _permit: permit })
}

/// How long the request may wait; 0 means the default.
pub(super) fn timeout(timeout_ms: u32) -> Duration {
    match timeout_ms.min(limits::PRODUCE_TIMEOUT_MS_MAX) {
        0 => TIMEOUT_DEFAULT,
        ms => Duration::from_millis(u64::from(ms)),
    }
}

/// The batches that are batches, and a place for each that came. Here bytes are doubted for the
/// last time.
pub(super) fn check(
    batches: Vec<v1::ProduceBatch>,
) -> Result<(Vec<Slot>, Vec<ProduceEntry>), Refusal> {
    validate::count(batches.len(), "batches")?;
    let bytes = batches.iter().map(|batch| batch.records.len()).sum();
    validate::at_most(bytes, limits::PRODUCE_REQUEST_BYTES_MAX, "batches.records")?;
    let mut topics = Vec::with_capacity(batches.len());
    for (at, batch) in batches.iter().enumerate() {
        topics.push(validate::topic_id(&batch.topic_id, || format!("batches[{at}].topic_id"))?);
    }
    let mut slots = Vec::with_capacity(batches.len());
    let mut entries = Vec::with_capacity(batches.len());
    for (v1::ProduceBatch { topic_id, partition, records }, topic) in
        batches.into_iter().zip(topics)
    {
        let parsed = ValidatedBatch::parse(records);
        let refused = parsed.as_ref().err().cloned().map(ProduceError::Invalid);
        slots.push(Slot { topic_id, partition, refused });
        if let Ok(batch) = parsed {
            entries.push(ProduceEntry { topic, partition: validate::partition(partition), batch });
        }
    }
    Ok((slots, entries))
}

impl Taken {
    /// Waits for every batch, in whatever order they settle.
    async fn settle(self) -> Vec<v1::ProduceResult> {
        let Self { slots, futures, _permit } = self;
        let mut settled = join_all(futures).await.into_iter();
        let results = slots.into_iter().map(|slot| {
            let outcome = match slot.refused {
                Some(error) => Err(error),
                None => settled.next().expect("one future per batch that was handed on"),
            };
            result(slot.topic_id, slot.partition, outcome)
        });
        results.collect()
    }
}

fn result(
    topic_id: Bytes,
    partition: u32,
    outcome: Result<Produced, ProduceError>,
) -> v1::ProduceResult {
    let plain = v1::ProduceResult { topic_id, partition, ..v1::ProduceResult::default() };
    match outcome {
        Ok(produced) => v1::ProduceResult {
            base_offset: produced.base_offset.map(Offset::get),
            log_start: produced.log_start.get(),
            is_duplicate: produced.is_duplicate,
            log_append_time_ms: produced.log_append_time.map(TimestampMs::get),
            ..plain
        },
        Err(error) => v1::ProduceResult { error: Some(error_map::error(&error)), ..plain },
    }
}
