//! Batches to test with, and a writer of records that is independent of the code under test.

use bytes::Bytes;
use quipu_types::record::{
    BatchBuilder, BatchHeader, Codec, HEADER_BYTES, Record, RecordHeader, TimestampType,
    ValidatedBatch,
};
use quipu_types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs};

/// 2023-11-14T22:13:20Z.
pub(crate) const BASE_MS: i64 = 1_700_000_000_000;

pub(crate) fn record(key: Option<&'static str>, value: Option<&'static str>) -> Record {
    Record {
        timestamp: TimestampMs::new(BASE_MS),
        key: key.map(Bytes::from),
        value: value.map(Bytes::from),
        headers: Vec::new(),
    }
}

pub(crate) fn header(key: &str, value: Option<&'static str>) -> RecordHeader {
    RecordHeader::new(key, value.map(Bytes::from))
}

/// Every shape of record: nulls, empties, repeated headers, timestamps that go back.
pub(crate) fn records() -> Vec<Record> {
    let full = Record {
        timestamp: TimestampMs::new(BASE_MS + 250),
        headers: vec![
            header("trace", Some("a1")),
            header("trace", Some("b2")),
            header("empty", Some("")),
            header("null", None),
            header("", Some("no name")),
            header("größe", Some("ü")),
        ],
        ..record(Some("order-7"), Some("{\"total\":42}"))
    };
    let late = Record { timestamp: TimestampMs::new(BASE_MS - 1_000), ..record(None, None) };
    vec![
        record(Some("order-7"), Some("created")),
        full,
        late,
        record(Some(""), Some("")),
        record(Some("order-7"), None),
    ]
}

pub(crate) fn batch_of(records: &[Record]) -> ValidatedBatch {
    let mut builder = BatchBuilder::new(TimestampMs::new(BASE_MS));
    for record in records {
        builder.push(record).unwrap();
    }
    builder.finish_plain()
}

pub(crate) fn read(batch: &ValidatedBatch) -> Vec<Record> {
    batch.records().unwrap().map(|item| item.unwrap().1).collect()
}

/// A header whose fields agree with each other.
pub(crate) fn batch_header(count: i32) -> BatchHeader {
    BatchHeader {
        base_offset: Offset::ZERO,
        batch_length: 0,
        leader_epoch: LeaderEpoch::new(-1),
        crc: 0,
        attributes: BatchHeader::attributes(Codec::None, TimestampType::Create),
        last_offset_delta: count - 1,
        base_timestamp: TimestampMs::new(BASE_MS),
        max_timestamp: TimestampMs::new(BASE_MS + 1_000),
        producer_id: ProducerId::new(-1),
        producer_epoch: ProducerEpoch::new(-1),
        base_sequence: Sequence::new(-1),
        record_count: count,
    }
}

/// A batch with right length and checksum, whatever its other fields and its section say.
pub(crate) fn sealed(header: BatchHeader, section: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_BYTES];
    bytes.extend_from_slice(section);
    let batch_length = i32::try_from(bytes.len() - 12).unwrap();
    BatchHeader { batch_length, ..header }.encode_into(&mut bytes);
    BatchHeader::seal_checksum(&mut bytes);
    bytes
}

/// A zigzag varint, written from its definition.
pub(crate) fn varint(value: i64) -> Vec<u8> {
    let mut rest = if value >= 0 { i128::from(value) * 2 } else { -2 * i128::from(value) - 1 };
    let mut out = Vec::new();
    loop {
        let low = u8::try_from(rest % 128).unwrap();
        rest /= 128;
        if rest == 0 {
            out.push(low);
            return out;
        }
        out.push(low + 128);
    }
}

/// A record put together from arbitrary parts: by default one without key, value and headers.
#[derive(Clone)]
pub(crate) struct Parts {
    /// Length field; right by itself when `None`.
    pub(crate) length: Option<Vec<u8>>,
    pub(crate) attributes: Vec<u8>,
    pub(crate) timestamp_delta: Vec<u8>,
    pub(crate) offset_delta: Vec<u8>,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
    pub(crate) headers: Vec<u8>,
    pub(crate) rest: Vec<u8>,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            length: None,
            attributes: vec![0],
            timestamp_delta: varint(0),
            offset_delta: varint(0),
            key: varint(-1),
            value: varint(-1),
            headers: varint(0),
            rest: Vec::new(),
        }
    }
}

impl Parts {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let body = [
            &self.attributes[..],
            &self.timestamp_delta,
            &self.offset_delta,
            &self.key,
            &self.value,
            &self.headers,
            &self.rest,
        ]
        .concat();
        let length = self.length.clone().unwrap_or_else(|| varint(as_i64(body.len())));
        [length, body].concat()
    }
}

pub(crate) fn as_i64(length: usize) -> i64 {
    i64::try_from(length).unwrap()
}

/// `bytes` after their length.
pub(crate) fn sized(bytes: &[u8]) -> Vec<u8> {
    [varint(as_i64(bytes.len())), bytes.to_vec()].concat()
}
