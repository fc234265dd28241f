//! Files of format version 1: bytes that every later version must read and still write.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use quipu_types::record::{Record, ValidatedBatch};
use quipu_types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs};

use crate::sample::{BASE_MS, batch_of, header, read, record, records};

struct Golden {
    name: &'static str,
    records: Vec<Record>,
    batch: ValidatedBatch,
}

/// The record of the worked example in `docs/formats/record-batch.md`.
fn example() -> Record {
    Record {
        timestamp: TimestampMs::new(BASE_MS + 3),
        headers: vec![header("h", Some("v"))],
        ..record(Some("key"), Some("value"))
    }
}

fn idempotent() -> ValidatedBatch {
    let mut batch = batch_of(&records());
    let producer = (ProducerId::new(4_711), ProducerEpoch::new(3), Sequence::new(i32::MAX));
    batch.set_producer(producer.0, producer.1, producer.2).unwrap();
    batch
}

fn stored() -> ValidatedBatch {
    let batch = idempotent();
    let prefix = batch.stamped_prefix(Offset::new(0x0102_0304_0506), LeaderEpoch::new(9));
    ValidatedBatch::parse(Bytes::from([&prefix[..], &batch.bytes()[16..]].concat())).unwrap()
}

fn goldens() -> Vec<Golden> {
    let now = TimestampMs::new(BASE_MS + 60_000);
    let dated = records().into_iter().map(|record| Record { timestamp: now, ..record }).collect();
    let many: Vec<Record> = vec![record(None, Some("tick")); 300];
    let golden = |name, records, batch| Golden { name, records, batch };
    vec![
        golden("one-record", vec![example()], batch_of(&[example()])),
        golden("every-shape", records(), batch_of(&records())),
        golden("idempotent", records(), idempotent()),
        golden("stored", records(), stored()),
        golden("log-append-time", dated, batch_of(&records()).with_log_append_time(now)),
        golden("three-hundred", many.clone(), batch_of(&many)),
    ]
}

pub(crate) fn path(name: &str) -> PathBuf {
    Path::new("tests/golden/v1").join(format!("{name}.bin"))
}

/// `UPDATE_EXPECT=1` writes files that are missing; existing ones are what they are.
#[test]
fn golden_files_are_read_and_written_byte_for_byte() {
    for Golden { name, records, batch } in goldens() {
        let path = path(name);
        if !path.exists() && std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&path, batch.bytes()).unwrap();
        }
        let bytes = Bytes::from(std::fs::read(&path).expect(name));
        let parsed = ValidatedBatch::parse(bytes.clone()).expect(name);
        assert_eq!(read(&parsed), records, "{name}");
        assert_eq!(batch.bytes(), &bytes, "{name} is written as before");
    }
}
