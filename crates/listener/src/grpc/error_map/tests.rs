//! Every error of every operation, as the wire says it: (name, effect, retry).

use std::collections::BTreeSet;

use quipu_broker::Full;
use quipu_broker::RouteError;
use quipu_broker::error::{RETRY_LATER, RETRY_SOON};
use quipu_broker::fetch::FetchError;
use quipu_broker::produce::ProduceError;
use quipu_broker::topics::LookupError;
use quipu_types::record::InvalidBatch;
use quipu_types::{Acks, NodeId, Offset, PartitionIndex, TimestampMs, TopicId, TopicName};

use super::*;
use crate::grpc::refusal::Refusal;

/// What the wire may say about trying again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    Never,
    Soon,
    Later,
    AtNode(u64),
}

fn again(retry: Option<v1::Retry>) -> Again {
    let millis = |pause: std::time::Duration| u32::try_from(pause.as_millis()).ok();
    match retry {
        None => Again::Never,
        Some(v1::Retry { node_id: Some(node), after_ms: Some(0) }) => Again::AtNode(node),
        Some(v1::Retry { node_id: None, after_ms }) if after_ms == millis(RETRY_SOON) => {
            Again::Soon
        }
        Some(v1::Retry { node_id: None, after_ms }) if after_ms == millis(RETRY_LATER) => {
            Again::Later
        }
        Some(other) => panic!("{other:?}"),
    }
}

fn check<E: OperationError>(table: &[(E, &str, v1::Effect, Again)]) {
    for (error, name, effect, retry) in table {
        let message = super::error(error);
        assert_eq!(message.name, *name, "{error}");
        assert_eq!(message.effect(), *effect, "{error}");
        assert_eq!(again(message.retry), *retry, "{error}");
        assert_eq!(message.message, error.to_string());
        assert_eq!(code_of(&message), Some(error.code()), "the code leads back");
        let values: Vec<&String> = message.fields.values().collect();
        assert!(values.iter().all(|value| !value.is_empty()), "{message:?}");
    }
}

const NONE: v1::Effect = v1::Effect::None;

fn topic() -> TopicId {
    TopicId::from_bytes([7; 16])
}

#[test]
fn routes() {
    let node = NodeId::new(3);
    check(&[
        (RouteError::UnknownTopicId { topic: topic() }, "UNKNOWN_TOPIC_ID", NONE, Again::Never),
        (
            RouteError::UnknownPartition { index: PartitionIndex::new(4), partitions: 4 },
            "UNKNOWN_PARTITION",
            NONE,
            Again::Never,
        ),
        (RouteError::NotLeader { leader: Some(node) }, "NOT_LEADER", NONE, Again::AtNode(3)),
        (RouteError::NotLeader { leader: None }, "LEADER_UNKNOWN", NONE, Again::Soon),
        (RouteError::NotReady, "PARTITION_NOT_READY", NONE, Again::Soon),
        (RouteError::MetadataUnavailable, "CONTROLLER_UNAVAILABLE", NONE, Again::Later),
        (RouteError::Stopping, "STOPPING", NONE, Again::Later),
    ]);
}

#[test]
fn produce() {
    let future =
        InvalidBatch::FutureTimestamp { max: TimestampMs::new(9), latest: TimestampMs::new(8) };
    check(&[
        (ProduceError::Route(RouteError::NotReady), "PARTITION_NOT_READY", NONE, Again::Soon),
        (
            ProduceError::WeakAcks { found: Acks::None, required: Acks::Quorum },
            "INVALID_ACKS",
            NONE,
            Again::Never,
        ),
        (
            ProduceError::RecordTooLarge { actual: 9, limit: 8 },
            "RECORD_TOO_LARGE",
            NONE,
            Again::Never,
        ),
        (ProduceError::Invalid(future), "INVALID_TIMESTAMP", NONE, Again::Never),
        (ProduceError::Invalid(InvalidBatch::NotAllowed), "CORRUPT_BATCH", NONE, Again::Never),
        (
            ProduceError::Invalid(InvalidBatch::Checksum { expected: 1, found: 2 }),
            "CORRUPT_BATCH",
            NONE,
            Again::Never,
        ),
        (
            ProduceError::Invalid(InvalidBatch::UnknownCodec { bits: 7 }),
            "UNSUPPORTED_CODEC",
            NONE,
            Again::Never,
        ),
        (
            ProduceError::StorageFull(Full { free: 1, required: 2 }),
            "STORAGE_FULL",
            NONE,
            Again::Later,
        ),
    ]);
}

#[test]
fn fetch() {
    let words = || "segment 0 at 61".to_owned();
    let out_of_range = FetchError::OffsetOutOfRange {
        asked: Offset::new(9),
        log_start: Offset::new(2),
        high_watermark: Offset::new(8),
    };
    let message = error(&out_of_range);
    assert_eq!(message.fields["log_start"], "2");
    assert_eq!(message.fields["high_watermark"], "8");
    check(&[
        (FetchError::Route(RouteError::Stopping), "STOPPING", NONE, Again::Later),
        (out_of_range, "OFFSET_OUT_OF_RANGE", NONE, Again::Never),
        (
            FetchError::Corrupt { words: words(), asked: Offset::ZERO, is_mending: false },
            "DATA_CORRUPT",
            NONE,
            Again::Never,
        ),
        (FetchError::Io { words: words() }, "INTERNAL", NONE, Again::Later),
    ]);
}

#[test]
fn names() {
    let bad = TopicName::new("a b").expect_err("a space");
    let protected = TopicName::new("__groups").expect_err("kept for the system");
    let name = TopicName::new("fees").expect("valid");
    check(&[
        (LookupError::Invalid(bad), "INVALID_TOPIC_NAME", NONE, Again::Never),
        (LookupError::Invalid(protected), "TOPIC_PROTECTED", NONE, Again::Never),
        (LookupError::Unknown { name }, "UNKNOWN_TOPIC", NONE, Again::Never),
        (LookupError::MetadataUnavailable, "CONTROLLER_UNAVAILABLE", NONE, Again::Later),
    ]);
}

#[test]
fn requests_refused_as_a_whole() {
    let field = || "acks".to_owned();
    check(&[
        (Refusal::malformed("a.b", "not so"), "MALFORMED", NONE, Again::Never),
        (
            Refusal::TooLarge { field: field(), actual: 9, limit: 8 },
            "REQUEST_TOO_LARGE",
            NONE,
            Again::Never,
        ),
        (Refusal::Acks { found: 9 }, "INVALID_ACKS", NONE, Again::Never),
        (Refusal::Panicked, "INTERNAL", v1::Effect::Unknown, Again::Never),
    ]);
}

#[test]
fn a_status_carries_the_whole_error() {
    let refusal = Refusal::malformed("queries[1].at", "set one");
    let status = status(&refusal);
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status.message(), "QP1101 MALFORMED: queries[1].at: set one");
    let details = <v1::Error as prost::Message>::decode(status.details()).expect("our message");
    assert_eq!(details, error(&refusal));
}

/// Only a defect is called one.
#[test]
fn every_code_has_a_status_of_its_own_kind() {
    let internal: BTreeSet<&str> = ErrorCode::ALL
        .iter()
        .filter(|code| status_code(**code) == Code::Internal)
        .map(|code| code.name())
        .collect();
    assert_eq!(internal, BTreeSet::from(["INTERNAL"]));
}
