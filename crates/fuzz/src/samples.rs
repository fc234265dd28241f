//! Values that targets begin with.

use bytes::Bytes;
use quipu_types::record::{BatchBuilder, Codec, Record, RecordHeader, ValidatedBatch};
use quipu_types::{
    EntryId, LogIndex, PartitionId, PartitionIndex, ProducerEpoch, ProducerId, Sequence, ShardId,
    Term, TimestampMs, TopicId,
};

/// Noon of some day.
pub(crate) const NOON: i64 = 1_767_268_800_000;
/// The shard of every target.
pub(crate) const SHARD: ShardId = ShardId::new(3);

/// A batch of so many records with this value.
pub(crate) fn batch(records: u32, value: &[u8]) -> ValidatedBatch {
    builder(records, value).finish_plain()
}

/// The same, compressed.
pub(crate) fn compressed(records: u32, value: &[u8], codec: Codec) -> ValidatedBatch {
    quipu_compression::finish(builder(records, value), codec).expect("a small batch")
}

fn builder(records: u32, value: &[u8]) -> BatchBuilder {
    let mut builder = BatchBuilder::new(TimestampMs::new(NOON));
    for n in 0..records {
        let record = Record {
            timestamp: TimestampMs::new(NOON + i64::from(n)),
            key: (n % 2 == 0).then(|| Bytes::from(format!("key-{n}"))),
            value: (n % 3 != 2).then(|| Bytes::copy_from_slice(value)),
            headers: header(n),
        };
        builder.push(&record).expect("a small record");
    }
    builder
}

fn header(n: u32) -> Vec<RecordHeader> {
    let header = |value: Option<Bytes>| RecordHeader::new("trace", value);
    match n {
        0 => Vec::new(),
        1 => vec![header(None)],
        _ => vec![header(Some(Bytes::from_static(b"1"))), header(Some(Bytes::new()))],
    }
}

/// A batch of an idempotent producer.
pub(crate) fn from_producer(id: i64, sequence: i32, records: u32) -> ValidatedBatch {
    let mut batch = batch(records, b"value");
    let (id, epoch) = (ProducerId::new(id), ProducerEpoch::new(0));
    batch.set_producer(id, epoch, Sequence::new(sequence)).expect("all three are set");
    batch
}

/// A partition of the targets' topic.
pub(crate) fn partition(index: u32) -> PartitionId {
    PartitionId::new(topic(), PartitionIndex::new(index))
}

/// The topic of every target.
pub(crate) fn topic() -> TopicId {
    TopicId::from_bytes([7; 16])
}

/// The name of an entry.
pub(crate) fn entry(term: u64, index: u64) -> EntryId {
    EntryId::new(Term::new(term), LogIndex::new(index))
}
