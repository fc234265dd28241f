//! Against `kafka-protocol`, an independent codec: what it writes we read, and the reverse.

use bytes::{Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression, Record as TheirRecord, RecordBatchDecoder, RecordBatchEncoder,
    RecordEncodeOptions, TimestampType as TheirTimestampType,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use quipu_types::record::{Record, RecordHeader, ValidatedBatch};
use quipu_types::{ProducerEpoch, ProducerId, Sequence, TimestampMs};

use crate::sample::{BASE_MS, batch_of, read};

#[derive(Clone, Copy, Debug)]
struct Producer {
    id: i64,
    epoch: i16,
    sequence: i32,
}

const NONE: Producer = Producer { id: -1, epoch: -1, sequence: -1 };

/// Their record. They give each record its own sequence; all −1 when there is no producer.
fn theirs(record: &Record, index: i32, producer: Producer) -> TheirRecord {
    let headers: IndexMap<StrBytes, Option<Bytes>> = record
        .headers
        .iter()
        .map(|header| (StrBytes::from(header.key().to_owned()), header.value().cloned()))
        .collect();
    TheirRecord {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        timestamp_type: TheirTimestampType::Creation,
        offset: i64::from(index),
        sequence: producer.sequence + index,
        timestamp: record.timestamp.get(),
        key: record.key.clone(),
        value: record.value.clone(),
        headers,
    }
}

fn all_theirs(records: &[Record], producer: Producer) -> Vec<TheirRecord> {
    (0..).zip(records).map(|(index, record)| theirs(record, index, producer)).collect()
}

fn encode_theirs(records: &[TheirRecord]) -> Bytes {
    let mut out = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut out, records, &options).unwrap();
    out.freeze()
}

/// Records both sides can hold: their headers are a map, so keys do not repeat.
fn any_record() -> impl Strategy<Value = Record> {
    let bytes = || option::of(vec(any::<u8>(), 0..200).prop_map(Bytes::from));
    let headers = btree_map(".{0,8}", bytes(), 0..4);
    (BASE_MS - 5_000..BASE_MS + 5_000, bytes(), bytes(), headers).prop_map(
        |(timestamp, key, value, headers)| Record {
            timestamp: TimestampMs::new(timestamp),
            key,
            value,
            headers: headers
                .into_iter()
                .map(|(key, value)| RecordHeader::new(key, value))
                .collect(),
        },
    )
}

fn any_producer() -> impl Strategy<Value = Producer> {
    let some = (0..=i64::MAX, 0..=i16::MAX, 0..1_000_000)
        .prop_map(|(id, epoch, sequence)| Producer { id, epoch, sequence });
    prop_oneof![Just(NONE), some]
}

proptest! {
    #[test]
    fn what_they_write_we_read(records in vec(any_record(), 1..20), producer in any_producer()) {
        let bytes = encode_theirs(&all_theirs(&records, producer));
        let batch = ValidatedBatch::parse(bytes).unwrap();
        prop_assert_eq!(batch.check_records(), Ok(()));
        prop_assert_eq!(batch.header().producer_id, ProducerId::new(producer.id));
        prop_assert_eq!(batch.header().producer_epoch, ProducerEpoch::new(producer.epoch));
        prop_assert_eq!(batch.header().base_sequence, Sequence::new(producer.sequence));
        prop_assert_eq!(read(&batch), records);
    }

    #[test]
    fn what_we_write_they_read(records in vec(any_record(), 1..20), producer in any_producer()) {
        let mut batch = batch_of(&records);
        batch
            .set_producer(
                ProducerId::new(producer.id),
                ProducerEpoch::new(producer.epoch),
                Sequence::new(producer.sequence),
            )
            .unwrap();
        let decoded = RecordBatchDecoder::decode(&mut batch.bytes().clone()).unwrap();
        prop_assert_eq!(decoded.records, all_theirs(&records, producer));
    }

    /// The same records give the same bytes when both take the same base timestamp.
    #[test]
    fn both_write_the_same_bytes(mut records in vec(any_record(), 1..20)) {
        records[0].timestamp = TimestampMs::new(BASE_MS);
        for record in &mut records {
            record.timestamp = record.timestamp.max(TimestampMs::new(BASE_MS));
        }
        let producer = Producer { id: 5, epoch: 1, sequence: 10 };
        let mut batch = batch_of(&records);
        batch.set_producer(ProducerId::new(5), ProducerEpoch::new(1), Sequence::new(10)).unwrap();
        prop_assert_eq!(batch.bytes(), &encode_theirs(&all_theirs(&records, producer)));
    }
}
