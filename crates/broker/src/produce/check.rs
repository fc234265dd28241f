//! What a topic asks of a batch, beyond being one.

use quipu_compression::decompress;
use quipu_metadata::TopicConfig;
use quipu_types::limits::COMPACTED_PLAIN_BYTES_MAX;
use quipu_types::record::{InvalidBatch, RecordError, TimestampType, ValidatedBatch};
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
    let batch = match (batch.check_from_producer(now), config.timestamp_type) {
        // The leader's time replaces whatever the producer's clock said.
        (Ok(()) | Err(InvalidBatch::FutureTimestamp { .. }), TimestampType::LogAppend) => {
            batch.with_log_append_time(now)
        }
        (Ok(()), TimestampType::Create) => batch,
        (Err(refused), TimestampType::Create | TimestampType::LogAppend) => {
            return Err(ProduceError::Invalid(refused));
        }
    };
    records(&batch)?;
    if config.cleanup.is_compacted() {
        keys(&batch)?;
    }
    Ok(batch)
}

/// Every record of a compacted topic has a key that the broker can see. Compaction looks at them as
/// well, so a compressed batch must not become larger than it takes there.
fn keys(batch: &ValidatedBatch) -> Result<(), ProduceError> {
    let section = decompress(batch.codec(), &batch.section(), COMPACTED_PLAIN_BYTES_MAX)
        .map_err(ProduceError::Packed)?;
    for (index, record) in batch.records_of(section).enumerate() {
        let (_, record) = record.map_err(ProduceError::Record)?;
        if record.key.is_none() {
            return Err(ProduceError::NoKey { index });
        }
    }
    Ok(())
}

/// Walks the records of a plain batch: one that no reader could decode would end every reader of
/// the partition. Compressed ones are their producer's word where the topic is not compacted;
/// readers bound what they unpack.
fn records(batch: &ValidatedBatch) -> Result<(), ProduceError> {
    match batch.check_records() {
        Ok(()) | Err(RecordError::Compressed { .. }) => Ok(()),
        Err(refused) => Err(ProduceError::Record(refused)),
    }
}

const fn strength(acks: Acks) -> u8 {
    match acks {
        Acks::None => 0,
        Acks::Leader => 1,
        Acks::Quorum => 2,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quipu_compression::DecompressError;
    use quipu_metadata::topic_config::Cleanup;
    use quipu_types::limits;
    use quipu_types::record::{BatchBuilder, BatchHeader, Codec, HEADER_BYTES, Record};

    use super::*;

    const NOW: TimestampMs = TimestampMs::new(1_700_000_000_000);

    fn batch_at(timestamp: TimestampMs) -> ValidatedBatch {
        let mut builder = BatchBuilder::new(timestamp);
        let value = Some(Bytes::from_static(b"value"));
        builder.push(&Record { timestamp, key: None, value, headers: Vec::new() }).expect("small");
        builder.finish_plain()
    }

    fn config() -> TopicConfig {
        TopicConfig::default()
    }

    #[test]
    fn acks_weaker_than_the_topic_allows_are_refused() {
        let ranked = [Acks::None, Acks::Leader, Acks::Quorum];
        for (least, min_acks) in ranked.into_iter().enumerate() {
            for (asked, acks) in ranked.into_iter().enumerate() {
                let config = TopicConfig { min_acks, ..config() };
                let checked = batch(batch_at(NOW), &config, acks, NOW);
                assert_eq!(checked.is_ok(), asked >= least, "{acks} of at least {min_acks}");
            }
        }
    }

    #[test]
    fn a_batch_above_the_topics_limit_is_refused_with_both_numbers() {
        let whole = batch_at(NOW);
        let actual = whole.bytes().len();
        let limited = |max_batch_bytes| TopicConfig { max_batch_bytes, ..config() };
        assert!(batch(whole.clone(), &limited(actual), Acks::Quorum, NOW).is_ok());
        let refused = batch(whole, &limited(actual - 1), Acks::Quorum, NOW).map(drop);
        assert_eq!(refused, Err(ProduceError::RecordTooLarge { actual, limit: actual - 1 }));
    }

    #[test]
    fn a_timestamp_may_run_ahead_by_the_tolerance_and_no_more() {
        let ahead = |ms| TimestampMs::new(NOW.get() + limits::TIMESTAMP_AHEAD_MS_MAX + ms);
        assert!(batch(batch_at(ahead(0)), &config(), Acks::Quorum, NOW).is_ok());
        let refused = batch(batch_at(ahead(1)), &config(), Acks::Quorum, NOW).map(drop);
        let (max, latest) = (ahead(1), ahead(0));
        let expected = InvalidBatch::FutureTimestamp { max, latest };
        assert_eq!(refused, Err(ProduceError::Invalid(expected)));
        assert!(batch(batch_at(TimestampMs::new(0)), &config(), Acks::Quorum, NOW).is_ok());
    }

    #[test]
    fn the_leaders_time_replaces_even_a_mad_clocks() {
        let timestamp_type = TimestampType::LogAppend;
        let config = TopicConfig { timestamp_type, ..config() };
        let stamped = batch(batch_at(TimestampMs::new(i64::MAX)), &config, Acks::Quorum, NOW);
        let header = *stamped.expect("stamped").header();
        assert_eq!(header.max_timestamp, NOW);
        assert_eq!(header.timestamp_type(), TimestampType::LogAppend);
    }

    #[test]
    fn a_compacted_topic_takes_records_with_a_key_that_can_be_seen() {
        let keyed = |keys: &[Option<&'static str>]| {
            let mut builder = BatchBuilder::new(NOW);
            for key in keys {
                let key = key.map(|key| Bytes::from_static(key.as_bytes()));
                let record = Record { timestamp: NOW, key, value: None, headers: Vec::new() };
                builder.push(&record).expect("small");
            }
            builder
        };
        for cleanup in [Cleanup::Compact, Cleanup::CompactAndDelete] {
            let config = TopicConfig { cleanup, ..config() };
            let sent = |sent| batch(sent, &config, Acks::Quorum, NOW).map(drop);
            assert_eq!(sent(keyed(&[Some("a"), Some("")]).finish_plain()), Ok(()));
            let refused = sent(keyed(&[Some("a"), None]).finish_plain());
            assert_eq!(refused, Err(ProduceError::NoKey { index: 1 }));
        }
    }

    #[test]
    fn a_compacted_topic_looks_into_compressed_batches_up_to_a_bound() {
        let config = TopicConfig { cleanup: Cleanup::Compact, ..config() };
        let of = |key: Option<&'static str>, bytes: usize, codec| {
            let mut builder = BatchBuilder::new(NOW);
            for key in [Some("first"), key] {
                let key = key.map(|key| Bytes::from_static(key.as_bytes()));
                let value = Some(Bytes::from(vec![0; bytes / 2]));
                let record = Record { timestamp: NOW, key, value, headers: Vec::new() };
                builder.push(&record).expect("below the limit of readers");
            }
            let packed = quipu_compression::finish(builder, codec).expect("compressed");
            assert_eq!(packed.codec(), codec);
            batch(packed, &config, Acks::Quorum, NOW).map(drop)
        };
        let limit = COMPACTED_PLAIN_BYTES_MAX;
        for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            assert_eq!(of(Some("a"), 900, codec), Ok(()), "{codec}");
            assert_eq!(of(None, 900, codec), Err(ProduceError::NoKey { index: 1 }), "{codec}");
            let bomb = DecompressError::TooLarge { codec, limit };
            assert_eq!(of(Some("a"), limit, codec), Err(ProduceError::Packed(bomb)), "{codec}");
            let noise = with_damaged_record(codec);
            let refused = batch(noise, &config, Acks::Quorum, NOW).map(drop);
            assert!(matches!(refused, Err(ProduceError::Packed(_))), "{codec}: {refused:?}");
        }
        // A stream that is sound, and no records in it.
        let mut builder = BatchBuilder::new(NOW);
        let value = Some(Bytes::from(vec![0; 900]));
        builder.push(&Record { value, ..Record::default() }).expect("small");
        let packed = builder
            .finish(Codec::Zstd, |plain| quipu_compression::compress(Codec::Zstd, &plain[1..]));
        let refused = batch(packed.expect("made"), &config, Acks::Quorum, NOW).map(drop);
        assert!(matches!(refused, Err(ProduceError::Record(_))), "{refused:?}");
    }

    #[test]
    fn only_the_leader_stamps() {
        let forged = batch_at(NOW).with_log_append_time(NOW);
        let refused = batch(forged, &config(), Acks::Quorum, NOW).map(drop);
        assert_eq!(refused, Err(ProduceError::Invalid(InvalidBatch::NotAllowed)));
    }

    /// The batch is sound, its only record is not.
    fn with_damaged_record(codec: Codec) -> ValidatedBatch {
        let whole = batch_at(NOW);
        let header = BatchHeader {
            attributes: BatchHeader::attributes(codec, TimestampType::Create),
            ..*whole.header()
        };
        let mut bytes = whole.bytes().to_vec();
        header.encode_into(&mut bytes);
        bytes[HEADER_BYTES + 1] = 0x7F;
        BatchHeader::seal_checksum(&mut bytes);
        ValidatedBatch::parse(Bytes::from(bytes)).expect("header and checksum are right")
    }

    #[test]
    fn a_record_that_no_reader_could_decode_is_refused() {
        let damaged = with_damaged_record(Codec::None);
        let refused = batch(damaged, &config(), Acks::Quorum, NOW).map(drop);
        assert!(
            matches!(&refused, Err(ProduceError::Record(RecordError::Attributes { .. }))),
            "{refused:?}"
        );
        let unseen = with_damaged_record(Codec::Zstd);
        assert!(batch(unseen, &config(), Acks::Quorum, NOW).is_ok(), "nobody unpacks it here");
    }
}
