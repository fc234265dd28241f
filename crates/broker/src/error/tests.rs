//! Every error of every operation: its code, whether it may have happened, what now.

use quipu_compression::DecompressError;
use quipu_consensus::{CallError, ReadIndexError, TransferError};
use quipu_metadata::{InvalidConfig, MetadataError, Refusal};
use quipu_partition::AppendRefused;
use quipu_shard::{AppendError, ControlError};
use quipu_types::record::{Codec, InvalidBatch, RecordError};
use quipu_types::{Acks, Offset, ProducerEpoch, ReplicaId, Sequence, ShardId, TopicName};

use super::*;
use crate::checksum::ChecksumError;
use crate::delete_records::DeleteRecordsError;
use crate::fetch::FetchError;
use crate::init_producer::InitProducerError;
use crate::list_offsets::ListOffsetsError;
use crate::policies::PolicyError;
use crate::produce::ProduceError;
use crate::topics::{
    AddPartitionsError, AlterTopicError, CreateTopicError, DeleteTopicError, LookupError,
};
use crate::transfer::TransferLeaderError;
use quipu_consensus::Full;

const NODE: NodeId = NodeId::new(3);
const NEVER: Retry = Retry::Never;
const SOON: Retry = Retry::After(RETRY_SOON);
const LATER: Retry = Retry::After(RETRY_LATER);
const AT: Retry = Retry::At(NODE);
const NO: Effect = Effect::None;
const MAYBE: Effect = Effect::Unknown;

type Row<E> = (E, ErrorCode, Effect, Retry);

fn check<E: OperationError>(table: &[Row<E>]) {
    for (error, code, effect, retry) in table {
        assert_eq!(
            (error.code(), error.effect(), error.retry()),
            (*code, *effect, *retry),
            "{error}"
        );
        let words = error.to_string();
        assert!(!words.is_empty() && !words.ends_with('.'), "{words:?}");
        for (name, value) in error.fields() {
            assert!(!value.is_empty(), "{name} of {words:?}");
        }
    }
}

fn name() -> TopicName {
    TopicName::new("fees").expect("valid")
}

fn bad_name() -> quipu_types::InvalidTopicName {
    TopicName::new("a/b").expect_err("a slash")
}

fn corrupt(is_mending: bool) -> FetchError {
    FetchError::Corrupt { words: words(), asked: Offset::ZERO, is_mending }
}

fn words() -> String {
    "segment 0 at 61".to_owned()
}

#[test]
fn routes_and_names() {
    let topic = TopicId::from_bytes([7; 16]);
    let index = PartitionIndex::new(9);
    check(&[
        (RouteError::UnknownTopicId { topic }, ErrorCode::UnknownTopicId, NO, NEVER),
        (
            RouteError::UnknownPartition { index, partitions: 3 },
            ErrorCode::UnknownPartition,
            NO,
            NEVER,
        ),
        (RouteError::NotLeader { leader: Some(NODE) }, ErrorCode::NotLeader, NO, AT),
        (RouteError::NotLeader { leader: None }, ErrorCode::LeaderUnknown, NO, SOON),
        (RouteError::NotReady, ErrorCode::PartitionNotReady, NO, SOON),
        (RouteError::MetadataUnavailable, ErrorCode::ControllerUnavailable, NO, LATER),
        (RouteError::Stopping, ErrorCode::Stopping, NO, LATER),
    ]);
    let protected = TopicName::new("__groups").expect_err("the system's");
    check(&[
        (LookupError::Invalid(bad_name()), ErrorCode::InvalidTopicName, NO, NEVER),
        (LookupError::Invalid(protected), ErrorCode::TopicProtected, NO, NEVER),
        (LookupError::Unknown { name: name() }, ErrorCode::UnknownTopic, NO, NEVER),
        (LookupError::MetadataUnavailable, ErrorCode::ControllerUnavailable, NO, LATER),
    ]);
}

#[test]
fn produce() {
    let order =
        AppendRefused::OutOfOrderSequence { expected: Sequence::new(1), found: Sequence::new(2) };
    let fenced = AppendRefused::ProducerFenced { current: ProducerEpoch::new(2) };
    let appends: [Row<AppendError>; 14] = [
        (AppendError::NotLeader { leader: Some(NODE) }, ErrorCode::NotLeader, NO, AT),
        (AppendError::NotLeader { leader: None }, ErrorCode::LeaderUnknown, NO, SOON),
        (AppendError::LeadershipLost, ErrorCode::LeadershipLost, MAYBE, SOON),
        (
            AppendError::NotEnoughReplicas { live: 1, required: 2 },
            ErrorCode::NotEnoughReplicas,
            NO,
            LATER,
        ),
        (AppendError::UnknownPartition, ErrorCode::PartitionNotReady, NO, SOON),
        (AppendError::PartitionNotReady, ErrorCode::PartitionNotReady, NO, SOON),
        (AppendError::TooLarge { bytes: 9, limit: 8 }, ErrorCode::RecordTooLarge, NO, NEVER),
        (AppendError::Refused(order), ErrorCode::OutOfOrderSequence, NO, NEVER),
        (AppendError::Refused(fenced), ErrorCode::ProducerFenced, NO, NEVER),
        (
            AppendError::Refused(AppendRefused::UnknownProducer),
            ErrorCode::UnknownProducer,
            NO,
            NEVER,
        ),
        (
            AppendError::Refused(AppendRefused::DuplicateSequence),
            ErrorCode::DuplicateSequence,
            MAYBE,
            NEVER,
        ),
        (AppendError::Deadline, ErrorCode::DeadlineExceeded, MAYBE, LATER),
        (AppendError::Overloaded, ErrorCode::Overloaded, NO, LATER),
        (AppendError::Stopping, ErrorCode::Stopping, NO, LATER),
    ];
    check(
        &appends
            .map(|(error, code, effect, retry)| (ProduceError::Append(error), code, effect, retry)),
    );
    let (found, required) = (Acks::None, Acks::Quorum);
    check(&[
        (ProduceError::Route(RouteError::NotReady), ErrorCode::PartitionNotReady, NO, SOON),
        (ProduceError::WeakAcks { found, required }, ErrorCode::InvalidAcks, NO, NEVER),
        (
            ProduceError::RecordTooLarge { actual: 9, limit: 8 },
            ErrorCode::RecordTooLarge,
            NO,
            NEVER,
        ),
        (ProduceError::Invalid(InvalidBatch::NotAllowed), ErrorCode::CorruptBatch, NO, NEVER),
        (
            ProduceError::Invalid(InvalidBatch::Magic { found: 1 }),
            ErrorCode::UnsupportedCodec,
            NO,
            NEVER,
        ),
        (
            ProduceError::Record(RecordError::HeaderKeyUtf8 { position: 7 }),
            ErrorCode::CorruptBatch,
            NO,
            NEVER,
        ),
        (ProduceError::NoKey { index: 3 }, ErrorCode::KeyRequired, NO, NEVER),
        (
            ProduceError::Packed(DecompressError::TooLarge { codec: Codec::Gzip, limit: 9 }),
            ErrorCode::RecordTooLarge,
            NO,
            NEVER,
        ),
        (
            ProduceError::Packed(DecompressError::Truncated { codec: Codec::Zstd }),
            ErrorCode::CorruptBatch,
            NO,
            NEVER,
        ),
        (
            ProduceError::StorageFull(Full { free: 1, required: 2 }),
            ErrorCode::StorageFull,
            NO,
            LATER,
        ),
    ]);
}

#[test]
fn reads() {
    let (asked, log_start, high_watermark) = (Offset::new(9), Offset::new(1), Offset::new(8));
    check(&[
        (FetchError::Route(RouteError::Stopping), ErrorCode::Stopping, NO, LATER),
        (
            FetchError::OffsetOutOfRange { asked, log_start, high_watermark },
            ErrorCode::OffsetOutOfRange,
            NO,
            NEVER,
        ),
        (corrupt(false), ErrorCode::DataCorrupt, NO, NEVER),
        (corrupt(true), ErrorCode::DataCorrupt, NO, Retry::After(Duration::from_secs(1))),
        (FetchError::Io { words: words() }, ErrorCode::Internal, NO, LATER),
    ]);
    let unconfirmed = ListOffsetsError::Unconfirmed;
    check(&[
        (ListOffsetsError::Route(RouteError::NotReady), ErrorCode::PartitionNotReady, NO, SOON),
        (
            unconfirmed(ReadIndexError::NotLeader { leader: Some(NODE) }),
            ErrorCode::NotLeader,
            NO,
            AT,
        ),
        (
            unconfirmed(ReadIndexError::NotLeader { leader: None }),
            ErrorCode::LeaderUnknown,
            NO,
            SOON,
        ),
        (unconfirmed(ReadIndexError::NoQuorum), ErrorCode::LeadershipLost, NO, SOON),
        (unconfirmed(ReadIndexError::Deadline), ErrorCode::DeadlineExceeded, NO, SOON),
        (unconfirmed(ReadIndexError::Stopped), ErrorCode::Stopping, NO, LATER),
        (ListOffsetsError::Corrupt { words: words() }, ErrorCode::DataCorrupt, NO, NEVER),
        (ListOffsetsError::Io { words: words() }, ErrorCode::Internal, NO, LATER),
    ]);
    let unknown = LookupError::Unknown { name: name() };
    check(&[
        (ChecksumError::Lookup(unknown), ErrorCode::UnknownTopic, NO, NEVER),
        (ChecksumError::Route(RouteError::NotReady), ErrorCode::PartitionNotReady, NO, SOON),
        (ChecksumError::NoReplica { nodes: vec![NODE] }, ErrorCode::WrongNode, NO, AT),
        (ChecksumError::Corrupt { words: words() }, ErrorCode::DataCorrupt, NO, NEVER),
        (ChecksumError::Io { words: words() }, ErrorCode::Internal, NO, LATER),
    ]);
}

#[test]
fn delete_records() {
    let (asked, log_start, high_watermark) = (Offset::new(9), Offset::new(1), Offset::new(8));
    let call = |source| DeleteRecordsError::Call { node: NODE, source };
    let control = DeleteRecordsError::Control;
    let unknown = LookupError::Unknown { name: name() };
    let bounds =
        DeleteRecordsError::Bounds(ListOffsetsError::Unconfirmed(ReadIndexError::NoQuorum));
    check(&[
        (DeleteRecordsError::Lookup(unknown), ErrorCode::UnknownTopic, NO, NEVER),
        (DeleteRecordsError::Route(RouteError::NotReady), ErrorCode::PartitionNotReady, NO, SOON),
        (
            DeleteRecordsError::OffsetOutOfRange { asked, log_start, high_watermark },
            ErrorCode::OffsetOutOfRange,
            NO,
            NEVER,
        ),
        (bounds, ErrorCode::LeadershipLost, NO, SOON),
        (call(CallError::Deadline), ErrorCode::DeadlineExceeded, NO, LATER),
        (call(CallError::Unreachable { node: NODE }), ErrorCode::LeaderUnknown, NO, LATER),
        (control(ControlError::NotLeader { leader: Some(NODE) }), ErrorCode::NotLeader, NO, AT),
        (control(ControlError::NotLeader { leader: None }), ErrorCode::LeaderUnknown, NO, SOON),
        (control(ControlError::LeadershipLost), ErrorCode::LeadershipLost, MAYBE, SOON),
        (control(ControlError::Deadline), ErrorCode::DeadlineExceeded, MAYBE, SOON),
        (control(ControlError::Overloaded), ErrorCode::Overloaded, NO, LATER),
        (control(ControlError::Stopping), ErrorCode::Stopping, NO, LATER),
        (control(ControlError::Reply), ErrorCode::Internal, MAYBE, SOON),
    ]);
}

#[test]
fn topics() {
    let refused = || MetadataError::Refused(Refusal::TopicExists { name: name() });
    let config = || InvalidConfig::UnknownKey { key: "x".to_owned(), suggestion: None };
    let later = MetadataError::Deadline.retry();
    check(&[
        (CreateTopicError::Name(bad_name()), ErrorCode::InvalidTopicName, NO, NEVER),
        (CreateTopicError::Config(config()), ErrorCode::InvalidConfig, NO, NEVER),
        (CreateTopicError::Replication { given: 300 }, ErrorCode::InvalidReplication, NO, NEVER),
        (CreateTopicError::Metadata(refused()), ErrorCode::TopicExists, NO, NEVER),
        (
            CreateTopicError::Metadata(MetadataError::Deadline),
            ErrorCode::DeadlineExceeded,
            MAYBE,
            later,
        ),
        (
            CreateTopicError::NotServed { name: name(), waiting: 1, partitions: 3 },
            ErrorCode::DeadlineExceeded,
            MAYBE,
            LATER,
        ),
    ]);
    let unavailable = || MetadataError::ControllerUnavailable;
    check(&[
        (AlterTopicError::Name(bad_name()), ErrorCode::InvalidTopicName, NO, NEVER),
        (AlterTopicError::Config(config()), ErrorCode::InvalidConfig, NO, NEVER),
        (
            AlterTopicError::Metadata(unavailable()),
            ErrorCode::ControllerUnavailable,
            NO,
            unavailable().retry(),
        ),
    ]);
    let empty = quipu_metadata::TopicPattern::new("").expect_err("empty");
    let pattern = quipu_metadata::TopicPattern::new("a*").expect("valid");
    let no_policy = Refusal::UnknownPolicy { pattern };
    check(&[
        (PolicyError::Pattern(empty), ErrorCode::InvalidPolicy, NO, NEVER),
        (PolicyError::Config(config()), ErrorCode::InvalidConfig, NO, NEVER),
        (PolicyError::Metadata(no_policy.into()), ErrorCode::UnknownPolicy, NO, NEVER),
        (
            PolicyError::Metadata(Refusal::TooManyPolicies.into()),
            ErrorCode::InvalidPolicy,
            NO,
            NEVER,
        ),
    ]);
    let unknown = LookupError::Unknown { name: name() };
    let fewer = Refusal::FewerPartitions { name: name(), given: 2, existing: 3 };
    let gone = Refusal::UnknownTopicId { id: TopicId::from_bytes([7; 16]) };
    check(&[
        (AddPartitionsError::Lookup(unknown), ErrorCode::UnknownTopic, NO, NEVER),
        (AddPartitionsError::Metadata(fewer.into()), ErrorCode::InvalidPartitions, NO, NEVER),
        (AddPartitionsError::Metadata(gone.into()), ErrorCode::UnknownTopicId, NO, NEVER),
        (
            AddPartitionsError::NotServed { name: name(), waiting: 1, partitions: 3 },
            ErrorCode::DeadlineExceeded,
            MAYBE,
            LATER,
        ),
    ]);
    let unknown = MetadataError::Refused(Refusal::UnknownTopic { name: name() });
    check(&[
        (DeleteTopicError::Name(bad_name()), ErrorCode::InvalidTopicName, NO, NEVER),
        (DeleteTopicError::Metadata(unknown), ErrorCode::UnknownTopic, NO, NEVER),
    ]);
    check(&[
        (
            InitProducerError::Metadata(MetadataError::Deadline),
            ErrorCode::DeadlineExceeded,
            NO,
            later,
        ),
        (InitProducerError::Deadline, ErrorCode::DeadlineExceeded, NO, LATER),
    ]);
}

#[test]
fn transfers() {
    let (shard, replica) = (ShardId::new(4), ReplicaId::new(7));
    let group = TransferLeaderError::Group;
    let call = |source| TransferLeaderError::Call { node: NODE, source };
    check(&[
        (TransferLeaderError::UnknownShard { shard }, ErrorCode::Malformed, NO, NEVER),
        (TransferLeaderError::NoReplica { shard, node: NODE }, ErrorCode::Malformed, NO, NEVER),
        (group(TransferError::NotLeader { leader: Some(NODE) }), ErrorCode::NotLeader, NO, AT),
        (group(TransferError::NotLeader { leader: None }), ErrorCode::LeaderUnknown, NO, SOON),
        (group(TransferError::NotVoter(replica)), ErrorCode::Malformed, NO, NEVER),
        (group(TransferError::NotAlive(replica)), ErrorCode::NotEnoughReplicas, NO, LATER),
        (
            group(TransferError::Behind { replica, entries: 99 }),
            ErrorCode::NotEnoughReplicas,
            NO,
            LATER,
        ),
        (group(TransferError::NotTaken(replica)), ErrorCode::DeadlineExceeded, MAYBE, SOON),
        (group(TransferError::Stopped), ErrorCode::Stopping, NO, LATER),
        (call(CallError::Unreachable { node: NODE }), ErrorCode::LeaderUnknown, NO, LATER),
        (call(CallError::Lost { node: NODE }), ErrorCode::LeaderUnknown, MAYBE, LATER),
        (call(CallError::NoHandler { node: NODE, kind: 1 }), ErrorCode::LeaderUnknown, NO, LATER),
        (call(CallError::Refused(words())), ErrorCode::NotEnoughReplicas, MAYBE, LATER),
        (call(CallError::Deadline), ErrorCode::DeadlineExceeded, MAYBE, LATER),
    ]);
}
