//! Single calls on one connection, answers and refusals sorted out.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::{Stream, StreamExt};
use quipu_proto::v1;
use quipu_proto::v1::admin_client::AdminClient;
use quipu_proto::v1::cluster_client::ClusterClient;
use quipu_proto::v1::log_client::LogClient;
use tokio::sync::oneshot;
use tonic::transport::Channel;
use tonic::{Code, Response, Status, Streaming};

use crate::refusal::{Answer, Refusal, Reply, only};

const WAIT: Duration = Duration::from_secs(40);

/// Bounds a call; whoever stays silent fails the family.
pub(crate) async fn bounded<T>(what: &str, call: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(WAIT, call).await.with_context(|| format!("{what}: no answer in {WAIT:?}"))
}

/// The log service; nothing is too large to be sent.
pub(crate) fn log(channel: &Channel) -> LogClient<Channel> {
    LogClient::new(channel.clone())
        .max_encoding_message_size(usize::MAX)
        .max_decoding_message_size(usize::MAX)
}

/// The admin service.
pub(crate) fn admin(channel: &Channel) -> AdminClient<Channel> {
    AdminClient::new(channel.clone())
}

/// The cluster service.
pub(crate) fn cluster(channel: &Channel) -> ClusterClient<Channel> {
    ClusterClient::new(channel.clone())
}

/// What a unary call came to, with a refusal inside the answer taken out.
pub(crate) fn settle<T: Answer>(outcome: Result<Response<T>, Status>) -> Reply<T> {
    outcome.map_err(Refusal::from)?.into_inner().reply()
}

/// The first answer of a stream.
async fn first<T: Answer>(outcome: Result<Response<Streaming<T>>, Status>) -> Reply<T> {
    let silent = || Refusal::Grpc(Code::Unknown, "the stream ended without an answer".to_owned());
    outcome?.into_inner().next().await.ok_or_else(silent)??.reply()
}

/// A stream of one request that stays open until the guard goes, as a client's would.
fn held<T>(request: T) -> (impl Stream<Item = T>, oneshot::Sender<()>) {
    let (guard, gone) = oneshot::channel();
    let end = futures::stream::once(gone).filter_map(|_| std::future::ready(None));
    (futures::stream::iter([request]).chain(end), guard)
}

/// Sends one produce request; the stream stays open until it is answered.
pub(crate) async fn produce(
    channel: &Channel,
    request: v1::ProduceRequest,
) -> Result<Reply<v1::ProduceResponse>> {
    let (requests, _guard) = held(request);
    bounded("produce", async { first(log(channel).produce(requests).await).await }).await
}

/// Sends one batch.
pub(crate) async fn append(
    channel: &Channel,
    acks: i32,
    batch: v1::ProduceBatch,
) -> Result<Reply<v1::ProduceResult>> {
    let request =
        v1::ProduceRequest { request_id: 7, acks, timeout_ms: 20_000, batches: vec![batch] };
    let answered = produce(channel, request).await?;
    Ok(answered.and_then(|response| only(response.results)))
}

/// Sends one fetch request.
pub(crate) async fn fetch(
    channel: &Channel,
    request: v1::FetchRequest,
) -> Result<Reply<v1::FetchResponse>> {
    let (requests, _guard) = held(request);
    bounded("fetch", async { first(log(channel).fetch(requests).await).await }).await
}

/// Fetches from one place; waits as long as a consumer would.
pub(crate) async fn fetch_one(
    channel: &Channel,
    position: v1::FetchPosition,
) -> Result<Reply<v1::FetchedPartition>> {
    fetch_within(channel, position, 5_000).await
}

/// Fetches from one place with a wait of so many milliseconds.
pub(crate) async fn fetch_within(
    channel: &Channel,
    position: v1::FetchPosition,
    max_wait_ms: u32,
) -> Result<Reply<v1::FetchedPartition>> {
    let request = v1::FetchRequest {
        request_id: 9,
        max_wait_ms,
        min_bytes: 1,
        max_bytes: 1 << 20,
        positions: vec![position],
    };
    Ok(fetch(channel, request).await?.and_then(|response| only(response.partitions)))
}

/// Asks for one offset.
pub(crate) async fn offset(
    channel: &Channel,
    query: v1::OffsetQuery,
) -> Result<Reply<v1::OffsetAnswer>> {
    let request = v1::ListOffsetsRequest { queries: vec![query], timeout_ms: 20_000 };
    let answered = bounded("list offsets", log(channel).list_offsets(request)).await?;
    Ok(answered.map_err(Refusal::from).and_then(|answer| only(answer.into_inner().answers)))
}

/// Creates a topic.
pub(crate) async fn create(
    channel: &Channel,
    request: v1::CreateTopicRequest,
) -> Result<Reply<v1::TopicDescription>> {
    let answered = bounded("create topic", admin(channel).create_topic(request)).await?;
    Ok(settle(answered).and_then(|answer| {
        let missing = || Refusal::Grpc(Code::Unknown, "neither topic nor error".to_owned());
        answer.topic.ok_or_else(missing)
    }))
}

/// Deletes the records of one partition below an offset.
pub(crate) async fn delete_records(
    channel: &Channel,
    target: v1::DeleteRecordsTarget,
) -> Result<Reply<v1::DeleteRecordsResult>> {
    let request = v1::DeleteRecordsRequest { targets: vec![target], timeout_ms: 20_000 };
    let answered = bounded("delete records", admin(channel).delete_records(request)).await?;
    Ok(answered.map_err(Refusal::from).and_then(|answer| only(answer.into_inner().results)))
}

/// Describes one topic.
pub(crate) async fn describe(channel: &Channel, name: &str) -> Result<Reply<v1::TopicDescription>> {
    let request = v1::DescribeTopicsRequest { names: vec![name.to_owned()] };
    let answered = bounded("describe", admin(channel).describe_topics(request)).await?;
    Ok(answered.map_err(Refusal::from).and_then(|answer| only(answer.into_inner().topics)))
}

/// Looks one topic up by name.
pub(crate) async fn metadata_of(channel: &Channel, name: &str) -> Result<Reply<v1::TopicMetadata>> {
    let request = v1::MetadataRequest { names: vec![name.to_owned()], ..Default::default() };
    metadata(channel, request).await
}

/// Looks one topic up.
pub(crate) async fn metadata(
    channel: &Channel,
    request: v1::MetadataRequest,
) -> Result<Reply<v1::TopicMetadata>> {
    let answered = bounded("metadata", cluster(channel).metadata(request)).await?;
    Ok(answered.map_err(Refusal::from).and_then(|answer| only(answer.into_inner().topics)))
}

/// Asks a node for the checksum of its replica.
pub(crate) async fn checksum(
    channel: &Channel,
    topic: &str,
    partition: u32,
) -> Result<Reply<v1::PartitionChecksumResponse>> {
    let request = v1::PartitionChecksumRequest { topic: topic.to_owned(), partition };
    let answered = bounded("checksum", cluster(channel).partition_checksum(request)).await?;
    Ok(settle(answered))
}
