//! Errors as messages: the only place of wire codes.

use quipu_broker::OperationError;
use quipu_proto::v1;
use quipu_types::{Effect, ErrorCode, Retry};
use tonic::{Code, Status};

/// The message of an error.
pub(crate) fn error(error: &impl OperationError) -> v1::Error {
    let code = error.code();
    let effect = match error.effect() {
        Effect::None => v1::Effect::None,
        Effect::Unknown => v1::Effect::Unknown,
    };
    let fields = error.fields().into_iter().map(|(name, value)| (name.to_owned(), value));
    v1::Error {
        code: code.to_string(),
        name: code.name().to_owned(),
        message: error.to_string(),
        effect: effect.into(),
        retry: retry(error.retry()),
        fields: fields.collect(),
    }
}

fn retry(retry: Retry) -> Option<v1::Retry> {
    match retry {
        Retry::Never => None,
        Retry::After(pause) => {
            let after_ms = u32::try_from(pause.as_millis()).unwrap_or(u32::MAX);
            Some(v1::Retry { after_ms: Some(after_ms), node_id: None })
        }
        Retry::At(node) => Some(v1::Retry { after_ms: Some(0), node_id: Some(node.get()) }),
    }
}

/// The code in a message, for counting.
pub(crate) fn code_of(error: &v1::Error) -> Option<ErrorCode> {
    ErrorCode::from_number(error.code.strip_prefix("QP")?.parse().ok()?)
}

/// The status of a call whose answer has no place for an error; the message is in its details.
pub(crate) fn status(refused: &impl OperationError) -> Status {
    let message = error(refused);
    let words = format!("{} {}: {}", message.code, message.name, message.message);
    let details = prost::Message::encode_to_vec(&message);
    Status::with_details(status_code(refused.code()), words, details.into())
}

/// The nearest of gRPC's own codes.
fn status_code(code: ErrorCode) -> Code {
    use ErrorCode as E;
    #[expect(clippy::wildcard_enum_match_arm, reason = "the enum is non-exhaustive")]
    match code {
        E::Malformed
        | E::InvalidAcks
        | E::InvalidTopicName
        | E::InvalidPartitions
        | E::InvalidReplication
        | E::InvalidConfig
        | E::InvalidGroup
        | E::InvalidSubscription
        | E::InvalidCommit
        | E::InvalidPlacement
        | E::InvalidPolicy
        | E::CorruptBatch
        | E::KeyRequired
        | E::UnsupportedCodec
        | E::InvalidTimestamp => Code::InvalidArgument,
        E::RequestTooLarge | E::RecordTooLarge | E::OffsetOutOfRange => Code::OutOfRange,
        E::UnknownTopic
        | E::UnknownTopicId
        | E::UnknownPartition
        | E::UnknownGroup
        | E::UnknownNode
        | E::UnknownPolicy
        | E::UnknownShard => Code::NotFound,
        E::TopicExists => Code::AlreadyExists,
        E::TopicProtected => Code::PermissionDenied,
        E::OutOfOrderSequence
        | E::ProducerFenced
        | E::UnknownProducer
        | E::DuplicateSequence
        | E::FencedEpoch
        | E::UnknownEpoch
        | E::WrongNode
        | E::NodeInUse
        | E::LevelUnsupported
        | E::WrongCluster
        | E::GroupNotEmpty
        | E::UnknownMember
        | E::StaleMemberEpoch
        | E::InstanceInUse => Code::FailedPrecondition,
        E::NotLeader
        | E::LeaderUnknown
        | E::LeadershipLost
        | E::PartitionNotReady
        | E::ControllerUnavailable
        | E::NotEnoughReplicas
        | E::Stopping => Code::Unavailable,
        E::StorageFull | E::Overloaded | E::GroupFull => Code::ResourceExhausted,
        E::DeadlineExceeded => Code::DeadlineExceeded,
        E::DataCorrupt => Code::DataLoss,
        _ => Code::Internal,
    }
}

#[cfg(test)]
mod tests;
