//! Compressed batches against `kafka-protocol`, whose lz4 and zstd are the original C libraries,
//! and against golden files that it wrote.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;

use bytes::{Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::records::{
    Compression, Record as TheirRecord, RecordBatchDecoder, RecordBatchEncoder,
    RecordEncodeOptions, TimestampType,
};
use quipu_compression as compression;
use quipu_types::record::{BatchBuilder, Codec, Record, ValidatedBatch};
use quipu_types::{ProducerEpoch, ProducerId, Sequence, TimestampMs};

const CODECS: [(Codec, Compression); 4] = [
    (Codec::Gzip, Compression::Gzip),
    (Codec::Snappy, Compression::Snappy),
    (Codec::Lz4, Compression::Lz4),
    (Codec::Zstd, Compression::Zstd),
];
const BASE_MS: i64 = 1_700_000_000_000;
const LIMIT: usize = 16 << 20;

/// Records of about `bytes` in all, half of it hard to compress.
fn records(bytes: u32) -> Vec<Record> {
    (0..bytes.div_ceil(100))
        .map(|n| {
            let noise = u128::from(n).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
            let value = format!("{{\"case\":{n},\"hash\":\"{noise:032x}\",\"state\":\"filed\"}}");
            Record {
                timestamp: TimestampMs::new(BASE_MS + i64::from(n)),
                key: Some(Bytes::from(format!("case-{}", n % 7))),
                value: Some(Bytes::from(value)),
                headers: Vec::new(),
            }
        })
        .collect()
}

fn theirs(records: &[Record]) -> Vec<TheirRecord> {
    (0_i32..)
        .zip(records)
        .map(|(index, record)| TheirRecord {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: -1,
            producer_id: 9,
            producer_epoch: 0,
            timestamp_type: TimestampType::Creation,
            offset: i64::from(index),
            sequence: index,
            timestamp: record.timestamp.get(),
            key: record.key.clone(),
            value: record.value.clone(),
            headers: IndexMap::new(),
        })
        .collect()
}

fn encode_theirs(records: &[Record], compression: Compression) -> Bytes {
    let mut out = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression };
    RecordBatchEncoder::encode(&mut out, &theirs(records), &options).unwrap();
    out.freeze()
}

fn encode_ours(records: &[Record], codec: Codec) -> ValidatedBatch {
    let mut builder = BatchBuilder::new(TimestampMs::new(BASE_MS));
    for record in records {
        builder.push(record).unwrap();
    }
    let mut batch = compression::finish(builder, codec).unwrap();
    batch.set_producer(ProducerId::new(9), ProducerEpoch::new(0), Sequence::new(0)).unwrap();
    batch
}

fn read(batch: &ValidatedBatch) -> Vec<Record> {
    compression::records(batch, LIMIT).unwrap().map(|item| item.unwrap().1).collect()
}

#[test]
fn what_they_compress_we_read() {
    for (codec, compression) in CODECS {
        for bytes in [1_000, 60_000, 3_000_000] {
            let records = records(bytes);
            let batch = ValidatedBatch::parse(encode_theirs(&records, compression)).unwrap();
            assert_eq!(batch.codec(), codec);
            assert!(read(&batch) == records, "{codec}, {bytes} bytes");
        }
    }
}

#[test]
fn what_we_compress_they_read() {
    for (codec, _) in CODECS {
        for bytes in [1_000, 60_000, 3_000_000] {
            let records = records(bytes);
            let batch = encode_ours(&records, codec);
            assert_eq!(batch.codec(), codec);
            let decoded = RecordBatchDecoder::decode(&mut batch.bytes().clone()).unwrap();
            assert!(decoded.records == theirs(&records), "{codec}, {bytes} bytes");
        }
    }
}

/// `UPDATE_EXPECT=1` writes files that are missing; existing ones are what they are.
#[test]
fn golden_files_are_read() {
    let records = records(1_000);
    let ours = CODECS.map(|(codec, _)| (format!("ours-{codec}"), encode_ours(&records, codec)));
    let theirs = CODECS.map(|(codec, compression)| {
        let batch = ValidatedBatch::parse(encode_theirs(&records, compression)).unwrap();
        (format!("kafka-protocol-{codec}"), batch)
    });
    for (name, fresh) in ours.into_iter().chain(theirs) {
        let path = Path::new("tests/golden/v1").join(format!("{name}.bin"));
        if !path.exists() && std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&path, fresh.bytes()).unwrap();
        }
        let bytes = std::fs::read(&path).expect(&name);
        let batch = ValidatedBatch::parse(Bytes::from(bytes)).expect(&name);
        assert_eq!(batch.codec(), fresh.codec(), "{name}");
        assert!(read(&batch) == records, "{name}");
    }
}
