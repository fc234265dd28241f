//! What a topic asks of a batch, beyond being one.

use quipu_metadata::TopicConfig;
use quipu_types::record::{InvalidBatch, TimestampType, ValidatedBatch};
use quipu_types::{Acks, TimestampMs};

use super::ProduceError;

/// Checks a batch against its topic's settings, and writes the leader's time into it if they ask
/// for that.
pub(super) fn batch(
    batch: ValidatedBatch,
    config: &TopicConfig,
    acks: Acks,
    now: TimestampMs,
) -> Result<ValidatedBatch, ProduceError> {
    if strength(acks) < strength(config.min_acks) {
        return Err(ProduceError::WeakAcks { found: acks, required: config.min_acks });
    }
    let (actual, limit) = (batch.bytes().len(), config.max_batch_bytes);
    if actual > limit {
        return Err(ProduceError::RecordTooLarge { actual, limit });
    }
    match (batch.check_from_producer(now), config.timestamp_type) {
        // The leader's time replaces whatever the producer's clock said.
        (Ok(()) | Err(InvalidBatch::FutureTimestamp { .. }), TimestampType::LogAppend) => {
            Ok(batch.with_log_append_time(now))
        }
        (Ok(()), TimestampType::Create) => Ok(batch),
        (Err(refused), TimestampType::Create | TimestampType::LogAppend) => {
            Err(ProduceError::Invalid(refused))
        }
    }
}

const fn strength(acks: Acks) -> u8 {
    match acks {
        Acks::None => 0,
        Acks::Leader => 1,
        Acks::Quorum => 2,
    }
}
