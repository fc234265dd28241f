//! Why a batch has no acknowledgement.

use quipu_compression::DecompressError;
use quipu_partition::AppendRefused;
use quipu_shard::AppendError;
use quipu_types::record::{InvalidBatch, RecordError};
use quipu_types::{Acks, Effect, ErrorCode, Retry};

use crate::error::{
    OperationError, RETRY_LATER, RETRY_SOON, RouteError, not_leader, not_leader_code,
    not_leader_fields,
};
use quipu_consensus::Full;

/// Why a batch has no acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProduceError {
    /// The way to the partition's leader is not open.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// The topic asks for a stronger acknowledgement.
    #[error("acks {found} is weaker than this topic's minimum, {required}")]
    WeakAcks {
        /// What the request asked for.
        found: Acks,
        /// What the topic asks for.
        required: Acks,
    },
    /// The batch is above the topic's limit.
    #[error(
        "batch of {actual} bytes is above the limit of {limit}; store the blob elsewhere and send \
         a reference"
    )]
    RecordTooLarge {
        /// Bytes of the batch.
        actual: usize,
        /// What the topic allows.
        limit: usize,
    },
    /// The batch is not one that a producer may send.
    #[error(transparent)]
    Invalid(InvalidBatch),
    /// A record of the batch is damaged.
    #[error(transparent)]
    Record(RecordError),
    /// A compacted topic keeps the newest record of each key: one without cannot be kept.
    #[error("record {index} of the batch has no key, and the topic is compacted: give it one")]
    NoKey {
        /// Its place in the batch.
        index: usize,
    },
    /// The keys of a compacted topic cannot be looked at.
    #[error("the topic is compacted, so every batch is looked into: {}{}", .0, how_to_pack(.0))]
    Packed(DecompressError),
    /// The disk is nearly full.
    #[error("{} bytes are free on the disk, {} are required: the node takes no writes", .0.free, .0.required)]
    StorageFull(Full),
    /// The shard did not accept it, or lost sight of it.
    #[error("{}", append_words(.0))]
    Append(AppendError),
}

/// What to do where the batch itself is sound.
const fn how_to_pack(error: &DecompressError) -> &'static str {
    if matches!(error, DecompressError::TooLarge { .. }) {
        "; send fewer records in one"
    } else {
        ""
    }
}

fn append_words(error: &AppendError) -> String {
    if let AppendError::NotLeader { leader } = error {
        not_leader(*leader)
    } else {
        error.to_string()
    }
}

impl OperationError for ProduceError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Route(error) => error.code(),
            Self::WeakAcks { .. } => ErrorCode::InvalidAcks,
            Self::RecordTooLarge { .. } => ErrorCode::RecordTooLarge,
            Self::Invalid(refused) => refused.code(),
            Self::Record(refused) => refused.code(),
            Self::NoKey { .. } => ErrorCode::KeyRequired,
            Self::Packed(error) => error.code(),
            Self::StorageFull(_) => ErrorCode::StorageFull,
            Self::Append(error) => append_code(error),
        }
    }

    fn effect(&self) -> Effect {
        match self {
            Self::Route(error) => error.effect(),
            Self::Append(error) => error.effect(),
            Self::WeakAcks { .. }
            | Self::RecordTooLarge { .. }
            | Self::Invalid(_)
            | Self::Record(_)
            | Self::NoKey { .. }
            | Self::Packed(_)
            | Self::StorageFull(_) => Effect::None,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Route(error) => error.retry(),
            // The image may place the partition elsewhere by now.
            Self::Append(AppendError::UnknownPartition) => Retry::After(RETRY_SOON),
            Self::Append(error) => error.retry(),
            Self::StorageFull(_) => Retry::After(RETRY_LATER),
            Self::WeakAcks { .. }
            | Self::RecordTooLarge { .. }
            | Self::Invalid(_)
            | Self::Record(_)
            | Self::NoKey { .. }
            | Self::Packed(_) => Retry::Never,
        }
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Route(error) => error.fields(),
            Self::WeakAcks { found, required } => {
                vec![("found", found.to_string()), ("required", required.to_string())]
            }
            Self::RecordTooLarge { actual, limit } => {
                vec![("actual", actual.to_string()), ("limit", limit.to_string())]
            }
            Self::Invalid(refused) => invalid_fields(refused),
            Self::Record(refused) => vec![("record", refused.to_string())],
            Self::NoKey { index } => vec![("record", index.to_string())],
            Self::Packed(error) => packed_fields(error),
            Self::StorageFull(full) => {
                vec![("free", full.free.to_string()), ("required", full.required.to_string())]
            }
            Self::Append(error) => append_fields(error),
        }
    }
}

fn append_code(error: &AppendError) -> ErrorCode {
    match error {
        AppendError::NotLeader { leader } => not_leader_code(*leader),
        AppendError::LeadershipLost => ErrorCode::LeadershipLost,
        AppendError::NotEnoughReplicas { .. } => ErrorCode::NotEnoughReplicas,
        // Closed, or moved to another shard, between look-up and append.
        AppendError::UnknownPartition | AppendError::PartitionNotReady => {
            ErrorCode::PartitionNotReady
        }
        AppendError::TooLarge { .. } => ErrorCode::RecordTooLarge,
        AppendError::Refused(AppendRefused::OutOfOrderSequence { .. }) => {
            ErrorCode::OutOfOrderSequence
        }
        AppendError::Refused(AppendRefused::ProducerFenced { .. }) => ErrorCode::ProducerFenced,
        AppendError::Refused(AppendRefused::UnknownProducer) => ErrorCode::UnknownProducer,
        AppendError::Refused(AppendRefused::DuplicateSequence) => ErrorCode::DuplicateSequence,
        AppendError::Deadline => ErrorCode::DeadlineExceeded,
        AppendError::Overloaded => ErrorCode::Overloaded,
        AppendError::Stopping => ErrorCode::Stopping,
    }
}

fn append_fields(error: &AppendError) -> Vec<(&'static str, String)> {
    match error {
        AppendError::NotLeader { leader } => not_leader_fields(*leader),
        AppendError::NotEnoughReplicas { live, required } => {
            vec![("live", live.to_string()), ("required", required.to_string())]
        }
        AppendError::TooLarge { bytes, limit } => {
            vec![("actual", bytes.to_string()), ("limit", limit.to_string())]
        }
        AppendError::Refused(AppendRefused::OutOfOrderSequence { expected, found }) => {
            vec![("expected", expected.to_string()), ("found", found.to_string())]
        }
        AppendError::Refused(AppendRefused::ProducerFenced { current }) => {
            vec![("current", current.to_string())]
        }
        AppendError::Refused(AppendRefused::UnknownProducer | AppendRefused::DuplicateSequence)
        | AppendError::LeadershipLost
        | AppendError::UnknownPartition
        | AppendError::PartitionNotReady
        | AppendError::Deadline
        | AppendError::Overloaded
        | AppendError::Stopping => Vec::new(),
    }
}

/// The values of a stream that cannot be read. The enum may grow; its words say the rest.
fn packed_fields(error: &DecompressError) -> Vec<(&'static str, String)> {
    if let DecompressError::TooLarge { codec, limit } = error {
        vec![("codec", codec.to_string()), ("limit", limit.to_string())]
    } else {
        Vec::new()
    }
}

/// The values of a batch that is none. The enum may grow; new variants have words at least.
fn invalid_fields(refused: &InvalidBatch) -> Vec<(&'static str, String)> {
    let pair = |expected: &dyn ToString, found: &dyn ToString| {
        vec![("expected", expected.to_string()), ("found", found.to_string())]
    };
    #[expect(clippy::wildcard_enum_match_arm, reason = "the enum is non-exhaustive")]
    match refused {
        InvalidBatch::Short { actual } => vec![("actual", actual.to_string())],
        InvalidBatch::Length { declared, actual } => {
            vec![("declared", declared.to_string()), ("actual", actual.to_string())]
        }
        InvalidBatch::Magic { found } => vec![("found", found.to_string())],
        InvalidBatch::Checksum { expected, found } => pair(expected, found),
        InvalidBatch::UnknownCodec { bits } => vec![("codec", bits.to_string())],
        InvalidBatch::Attributes { attributes } => vec![("attributes", attributes.to_string())],
        InvalidBatch::Count { count, last_offset_delta } => {
            vec![("count", count.to_string()), ("last_offset_delta", last_offset_delta.to_string())]
        }
        InvalidBatch::TooManyRecords { count, limit } => {
            vec![("actual", count.to_string()), ("limit", limit.to_string())]
        }
        InvalidBatch::FutureTimestamp { max, latest } => {
            vec![("timestamp", max.to_string()), ("latest", latest.to_string())]
        }
        _ => Vec::new(),
    }
}
