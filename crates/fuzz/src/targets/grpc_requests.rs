//! Requests of clients, up to where the broker is asked.

use bytes::Bytes;
use prost::Message;
use quipu_listener::fuzz::{Request, check};
use quipu_proto::v1;
use quipu_types::limits;

use crate::input::shared;
use crate::{Seed, Verdict, samples};

const REQUESTS: [Request; 8] = [
    Request::Produce,
    Request::Fetch,
    Request::ListOffsets,
    Request::Metadata,
    Request::Join,
    Request::Heartbeat,
    Request::CommitOffsets,
    Request::FetchOffsets,
];

/// The input: which request (a byte), then its message.
pub(crate) fn run(input: &[u8]) -> Verdict {
    let Some((which, message)) = input.split_first() else { return Verdict::Refused };
    let request = REQUESTS[usize::from(*which) % REQUESTS.len()];
    match check(request, shared(message)) {
        Ok(count) => {
            assert!(count <= message.len(), "each thing takes a byte");
            assert!(count <= limit(request), "{count} things in {request:?}");
            Verdict::Accepted
        }
        Err(refused) => {
            assert!(!refused.is_empty());
            Verdict::Refused
        }
    }
}

fn limit(request: Request) -> usize {
    match request {
        Request::Join | Request::Heartbeat => {
            usize::try_from(limits::CLUSTER_PARTITIONS_MAX).expect("32 bits")
        }
        Request::Produce
        | Request::Fetch
        | Request::ListOffsets
        | Request::Metadata
        | Request::CommitOffsets
        | Request::FetchOffsets => limits::REQUEST_PARTITIONS_MAX,
    }
}

fn request(which: Request, message: &impl Message) -> Vec<u8> {
    let place = REQUESTS.iter().position(|request| *request == which).expect("it is listed");
    let mut input = vec![u8::try_from(place).expect("eight")];
    input.extend(message.encode_to_vec());
    input
}

fn topic_id() -> Bytes {
    Bytes::copy_from_slice(&samples::topic().to_bytes())
}

fn produce() -> v1::ProduceRequest {
    let batch = |records: Bytes| v1::ProduceBatch { topic_id: topic_id(), partition: 2, records };
    v1::ProduceRequest {
        request_id: 5,
        acks: v1::Acks::Quorum.into(),
        timeout_ms: 30_000,
        batches: vec![
            batch(samples::batch(2, b"value").bytes().clone()),
            batch(Bytes::from_static(b"damaged")),
        ],
    }
}

fn fetch() -> v1::FetchRequest {
    let position =
        v1::FetchPosition { topic_id: topic_id(), partition: 1, offset: 9, max_bytes: 1 << 20 };
    v1::FetchRequest {
        request_id: 6,
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: 1 << 20,
        positions: vec![position.clone(), position],
    }
}

fn list_offsets() -> v1::ListOffsetsRequest {
    use v1::offset_query::At;
    let query = |at| v1::OffsetQuery { topic_id: topic_id(), partition: 0, at: Some(at) };
    let ats = [At::Earliest(v1::Earliest {}), At::Latest(v1::Latest {}), At::TimestampMs(-1)];
    v1::ListOffsetsRequest { queries: ats.map(query).to_vec(), timeout_ms: 7 }
}

fn metadata() -> v1::MetadataRequest {
    v1::MetadataRequest {
        names: vec!["fees".to_owned(), "court".to_owned()],
        topic_ids: vec![topic_id()],
        ..v1::MetadataRequest::default()
    }
}

fn topics() -> Vec<v1::TopicPartitions> {
    vec![v1::TopicPartitions {
        topic_id: topic_id(),
        topic: "fees".to_owned(),
        partitions: vec![0, 1, u32::MAX],
    }]
}

fn join() -> v1::JoinRequest {
    let subscription = v1::Subscription {
        topics: vec!["fees".to_owned()],
        patterns: vec!["court\\.[a-z]+".to_owned()],
        assignor: v1::Assignor::Range.into(),
        client: "sms-service".to_owned(),
        instance_id: "blue".to_owned(),
        session_timeout_ms: 45_000,
        processing_timeout_ms: 0,
    };
    v1::JoinRequest {
        group: "sms".to_owned(),
        member_id: "anna".to_owned(),
        epoch: 0,
        subscription: Some(subscription),
        held: Some(v1::HeldPartitions { partitions: topics() }),
        leaving: v1::Leaving::Unspecified.into(),
    }
}

fn commit_offsets() -> v1::CommitOffsetsRequest {
    let offset = v1::CommitOffset {
        topic_id: topic_id(),
        partition: 3,
        offset: 42,
        leader_epoch: -1,
        metadata: "words".to_owned(),
    };
    v1::CommitOffsetsRequest {
        group: "sms".to_owned(),
        member_id: "anna".to_owned(),
        epoch: 4,
        offsets: vec![offset.clone(), offset],
        timeout_ms: 0,
    }
}

pub(crate) fn seeds() -> Vec<Seed> {
    let beat = v1::JoinRequest { leaving: v1::Leaving::Now.into(), epoch: 5, ..join() };
    let offsets =
        v1::FetchOffsetsRequest { group: "sms".to_owned(), partitions: topics(), timeout_ms: 9 };
    vec![
        ("ok-produce", request(Request::Produce, &produce())),
        ("ok-fetch", request(Request::Fetch, &fetch())),
        ("ok-list-offsets", request(Request::ListOffsets, &list_offsets())),
        ("ok-metadata", request(Request::Metadata, &metadata())),
        ("ok-join", request(Request::Join, &join())),
        ("ok-heartbeat", request(Request::Heartbeat, &beat)),
        ("ok-commit", request(Request::CommitOffsets, &commit_offsets())),
        ("ok-fetch-offsets", request(Request::FetchOffsets, &offsets)),
    ]
}
