//! Compaction of a log with a batch of any bytes in it, compressed or not.

use std::collections::BTreeMap;

use bytes::Bytes;
use quipu_compression::decompress;
use quipu_segment::{CompactionRule, LogEnd, SegmentLog};
use quipu_types::limits::COMPACTED_PLAIN_BYTES_MAX;
use quipu_types::record::{Codec, Record, ValidatedBatch};
use quipu_types::{LeaderEpoch, Offset, TimestampMs};

use super::segment_rig::{append, open};
use crate::input::{also_resealed, disk, shared};
use crate::{Seed, Verdict, reseal, samples};

const ROUNDS: i64 = 5;
const EPOCH: LeaderEpoch = LeaderEpoch::new(1);

pub(crate) fn run(input: &[u8]) -> Verdict {
    also_resealed(input, reseal::batch, check)
}

pub(crate) fn seeds() -> Vec<Seed> {
    let zipped = |codec| samples::compressed(20, &[7; 60], codec).bytes().to_vec();
    vec![
        ("ok-plain", samples::batch(9, b"value").bytes().to_vec()),
        ("ok-gzip", zipped(Codec::Gzip)),
        ("ok-snappy", zipped(Codec::Snappy)),
        ("ok-lz4", zipped(Codec::Lz4)),
        ("ok-zstd", zipped(Codec::Zstd)),
    ]
}

/// The batch comes twice, so that what has a key goes from the first.
fn check(input: &[u8]) -> Verdict {
    let Ok(batch) = ValidatedBatch::parse(shared(input)) else { return Verdict::Refused };
    let is_sound = batch.codec() != Codec::None || batch.check_records().is_ok();
    if !is_sound || batch.header().max_timestamp > TimestampMs::new(i64::MAX / 2) {
        // Refused before it is stored.
        return Verdict::Refused;
    }
    let disk = disk();
    let mut log = open(&disk, Offset::ZERO, LogEnd::default()).expect("an empty log");
    for batch in [&batch, &batch, &samples::batch(1, &[0; 400]), &samples::batch(1, b"grows")] {
        let base = log.end().next;
        append(&mut log, base, EPOCH, batch);
    }
    let end = log.flush().expect("a disk without faults");
    log.settle(end);
    let before = stored(&log);
    // A round for each of three segments at most, and for tombstones.
    for round in 1..=ROUNDS {
        log.reader().compact(&rule(i64::MAX - 10 + round)).expect("a disk without faults");
        let sealed = if round == ROUNDS { end.segment } else { Offset::ZERO };
        compare(&before, &stored(&log), sealed);
    }
    Verdict::Accepted
}

fn rule(now: i64) -> CompactionRule {
    CompactionRule {
        until: Offset::new(u64::MAX),
        now: TimestampMs::new(now),
        lag_min_ms: 0,
        lag_max_ms: 0,
        tombstone_ms: 1,
        keys_max: 7,
    }
}

fn stored(log: &SegmentLog) -> Vec<ValidatedBatch> {
    let (mut all, mut at) = (Vec::new(), Offset::ZERO);
    while at < log.end().next {
        for bytes in log.reader().read(at, log.end().next, 1 << 20).expect("it is whole") {
            let batch = ValidatedBatch::parse(bytes).expect("a stored batch is sound");
            assert_eq!(batch.header().base_offset, at, "batches follow one another");
            at = at.plus(batch.record_count().into());
            all.push(batch);
        }
    }
    all
}

/// Of each batch that can be looked into, the records.
fn records(batches: &[ValidatedBatch]) -> BTreeMap<Offset, Record> {
    let open = |batch: &ValidatedBatch| -> Option<Vec<(Offset, Record)>> {
        let section: Bytes =
            decompress(batch.codec(), &batch.section(), COMPACTED_PLAIN_BYTES_MAX).ok()?;
        batch.records_of(section).collect::<Result<_, _>>().ok()
    };
    batches.iter().filter_map(open).flatten().collect()
}

/// What is below `sealed` was compacted to the end.
fn compare(before: &[ValidatedBatch], after: &[ValidatedBatch], sealed: Offset) {
    for (before, after) in before.iter().zip(after) {
        assert_eq!(before.record_count(), after.record_count());
        assert_eq!(before.header().max_timestamp, after.header().max_timestamp);
        let is_plain = after.codec() == Codec::None;
        assert!(is_plain || after.codec() == before.codec());
    }
    let (before, after) = (records(before), records(after));
    assert!(after.iter().all(|(offset, record)| before.get(offset) == Some(record)));
    let mut newest: BTreeMap<&Bytes, Offset> = BTreeMap::new();
    for (offset, record) in before.range(..sealed) {
        match &record.key {
            Some(key) => drop(newest.insert(key, *offset)),
            None => assert!(after.contains_key(offset), "{offset} has no key and is gone"),
        }
    }
    for (offset, record) in before.range(..sealed) {
        let Some(key) = &record.key else { continue };
        let is_newest = newest[key] == *offset;
        if is_newest && record.value.is_some() {
            assert!(after.contains_key(offset), "the newest of {key:?} is gone");
        }
        assert!(is_newest || !after.contains_key(offset), "an old one of {key:?} is there");
    }
}
