//! Calls without the client library: what a node says is written down as it came.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::StreamExt;
use quipu_proto::v1;
use quipu_proto::v1::cluster_client::ClusterClient;
use quipu_proto::v1::log_client::LogClient;
use quipu_types::record::ValidatedBatch;
use tonic::transport::{Channel, Endpoint};

use super::payload;
use super::place::{Place, TOPICS};
use super::refusal::{of_wire, unclear};
use crate::history::{Batch, Failure, Polled, Stamp, Value};

/// How long one call may take.
const CALL_WAIT: Duration = Duration::from_secs(4);
/// What one fetch brings at most.
const FETCH_BYTES: u32 = 128 << 10;
/// Headroom for an answer around its records.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Connections to all nodes, and who leads what.
#[derive(Debug)]
pub(super) struct Bare {
    nodes: BTreeMap<u64, Channel>,
    ids: BTreeMap<String, Bytes>,
    leaders: BTreeMap<Place, u64>,
}

impl Bare {
    /// Connects when it is used.
    pub(super) fn new(addresses: &BTreeMap<u64, SocketAddr>) -> Result<Self> {
        let connect = |(id, address): (&u64, &SocketAddr)| {
            let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
            let endpoint = endpoint.connect_timeout(Duration::from_secs(1)).tcp_nodelay(true);
            // A connection through a cut wire is given up, not waited for.
            let endpoint = endpoint
                .http2_keep_alive_interval(Duration::from_secs(1))
                .keep_alive_timeout(Duration::from_secs(2))
                .keep_alive_while_idle(true);
            Ok((*id, endpoint.connect_lazy()))
        };
        let nodes = addresses.iter().map(connect).collect::<Result<_>>()?;
        Ok(Self { nodes, ids: BTreeMap::new(), leaders: BTreeMap::new() })
    }

    /// The node that was heard to lead a partition.
    pub(super) fn leader(&self, place: &Place) -> Option<u64> {
        self.leaders.get(place).copied()
    }

    /// Any node, by a random number.
    pub(super) fn node(&self, chance: u64) -> Option<u64> {
        let place = usize::try_from(chance).ok()? % self.nodes.len().max(1);
        self.nodes.keys().nth(place).copied()
    }

    /// Asks one node after the other who leads what, until one answers.
    pub(super) async fn look(&mut self) -> Result<()> {
        let mut last = None;
        for channel in self.nodes.values().cloned() {
            match metadata(channel).await {
                Ok(answer) => {
                    self.learn(answer);
                    return Ok(());
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("there are no nodes")?)
    }

    fn learn(&mut self, answer: v1::MetadataResponse) {
        for topic in answer.topics.into_iter().filter(|topic| topic.error.is_none()) {
            for (index, partition) in (0..).zip(&topic.partitions) {
                let place = Place::new(&topic.name, index);
                match partition.leader_node {
                    Some(leader) => self.leaders.insert(place, leader),
                    None => self.leaders.remove(&place),
                };
            }
            self.ids.insert(topic.name, topic.topic_id);
        }
    }

    fn at(&self, node: u64, place: &Place) -> Result<(LogClient<Channel>, Bytes), Failure> {
        let channel = self.nodes.get(&node).ok_or_else(|| unclear("UNKNOWN_NODE"))?;
        let topic = self.ids.get(&*place.topic).ok_or_else(|| unclear("UNKNOWN_TOPIC_ID"))?;
        let client = LogClient::new(channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX);
        Ok((client, topic.clone()))
    }

    /// Fetches from an offset; what lies below it is left out.
    pub(super) async fn fetch(
        &self,
        node: u64,
        (place, from): (&Place, u64),
        wait_ms: u32,
    ) -> Result<Polled, Failure> {
        let (mut client, topic_id) = self.at(node, place)?;
        let position = v1::FetchPosition {
            topic_id,
            partition: place.index,
            offset: from,
            max_bytes: FETCH_BYTES,
        };
        let request = v1::FetchRequest {
            request_id: 1,
            max_wait_ms: wait_ms,
            min_bytes: 1,
            max_bytes: FETCH_BYTES,
            positions: vec![position],
        };
        // The stream stays open until the answer is here.
        let requests = futures::stream::iter([request]).chain(futures::stream::pending());
        let answered = async {
            let mut answers = client.fetch(requests).await?.into_inner();
            answers.message().await
        };
        let answer = bounded(answered).await?.ok_or_else(|| unclear("STREAM_ENDED"))?;
        polled(place, from, answer)
    }

    /// Log start and end. The end first: its confirmation makes the log start as fresh.
    pub(super) async fn offsets(&self, node: u64, place: &Place) -> Result<(u64, u64), Failure> {
        use v1::offset_query::At;
        let high_watermark = self.offset(node, place, At::Latest(v1::Latest {})).await?;
        let log_start = self.offset(node, place, At::Earliest(v1::Earliest {})).await?;
        Ok((log_start, high_watermark))
    }

    async fn offset(
        &self,
        node: u64,
        place: &Place,
        at: v1::offset_query::At,
    ) -> Result<u64, Failure> {
        let (mut client, topic_id) = self.at(node, place)?;
        let query = v1::OffsetQuery { topic_id, partition: place.index, at: Some(at) };
        let request = v1::ListOffsetsRequest { queries: vec![query], timeout_ms: 3_000 };
        let asked = async { client.list_offsets(request).await.map(tonic::Response::into_inner) };
        let mut answers = bounded(asked).await?.answers;
        let answer = answers.pop().ok_or_else(|| unclear("NO_ANSWER"))?;
        match (answer.error, answer.offset) {
            (Some(error), _) => Err(of_wire(&error)),
            (None, offset) => offset.ok_or_else(|| unclear("NO_OFFSET")),
        }
    }
}

async fn metadata(channel: Channel) -> Result<v1::MetadataResponse> {
    let names = TOPICS.iter().map(|topic| topic.name.to_owned()).collect();
    let request = v1::MetadataRequest { names, ..v1::MetadataRequest::default() };
    let mut client = ClusterClient::new(channel);
    let answer = tokio::time::timeout(CALL_WAIT, client.metadata(request)).await??.into_inner();
    ensure!(!answer.topics.is_empty(), "no topic is known");
    Ok(answer)
}

async fn bounded<T>(call: impl Future<Output = Result<T, tonic::Status>>) -> Result<T, Failure> {
    match tokio::time::timeout(CALL_WAIT, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_broken)) => Err(unclear("UNREACHABLE")),
        Err(_late) => Err(unclear("TIMED_OUT")),
    }
}

fn polled(place: &Place, from: u64, answer: v1::FetchResponse) -> Result<Polled, Failure> {
    if let Some(error) = answer.error {
        return Err(of_wire(&error));
    }
    let empty =
        Polled { partition: place.name(), log_start: None, high_watermark: None, batches: vec![] };
    // Nothing new came, and no bound moved.
    let Some(fetched) = answer.partitions.into_iter().next() else { return Ok(empty) };
    if let Some(error) = fetched.error {
        return Err(of_wire(&error));
    }
    Ok(Polled {
        log_start: Some(fetched.log_start),
        high_watermark: Some(fetched.high_watermark),
        batches: batches(fetched.records, from),
        ..empty
    })
}

/// The records from an offset on, batch by batch.
fn batches(mut bytes: Bytes, from: u64) -> Vec<Batch> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let Some(batch) = next(&mut bytes, from) else {
            found.push(Batch { offset: from, producer: None, values: vec![payload::unreadable()] });
            return found;
        };
        found.push(batch);
    }
    found.retain(|batch| !batch.values.is_empty());
    found
}

/// The next batch; none when it is damaged.
fn next(bytes: &mut Bytes, from: u64) -> Option<Batch> {
    let batch = ValidatedBatch::split_first(bytes).ok()?;
    let base = batch.header().base_offset.get();
    let skipped = usize::try_from(from.saturating_sub(base)).ok()?;
    let mut values: Vec<Value> = Vec::new();
    for record in batch.records().ok()? {
        let (_, record) = record.ok()?;
        let at = record.timestamp.get();
        values.push(payload::read(&record.key, &record.value, &record.headers, at));
    }
    let values = values.split_off(skipped.min(values.len()));
    let producer = stamp(&batch).map(|stamp| stamp.after(skipped));
    Some(Batch { offset: base.max(from), producer, values })
}

fn stamp(batch: &ValidatedBatch) -> Option<Stamp> {
    let header = batch.header();
    header.is_idempotent().then_some(())?;
    Some(Stamp {
        id: u64::try_from(header.producer_id.get()).ok()?,
        epoch: u16::try_from(header.producer_epoch.get()).ok()?,
        sequence: header.base_sequence.get(),
    })
}
