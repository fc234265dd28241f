//! Compaction of compressed batches.

use bytes::Bytes;
use quipu_types::limits::COMPACTED_PLAIN_BYTES_MAX;
use quipu_types::record::{BatchBuilder, Codec, Record, ValidatedBatch};

use super::compaction::{kept, rule};
use super::*;
use crate::CompactionReport;
use crate::contents;

const CODECS: [Codec; 4] = [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

/// Records of keys and the lengths of their values; tombstones have none.
fn builder(records: &[(&str, Option<usize>)]) -> BatchBuilder {
    let mut builder = BatchBuilder::new(TimestampMs::new(0));
    for (key, length) in records {
        let key = Some(Bytes::copy_from_slice(key.as_bytes()));
        let value = length.map(|length| Bytes::from(vec![b'v'; length]));
        builder.push(&Record { key, value, ..Record::default() }).unwrap();
    }
    builder
}

fn packed(records: &[(&str, Option<usize>)], codec: Codec) -> ValidatedBatch {
    let packed = quipu_compression::finish(builder(records), codec).unwrap();
    assert_eq!(packed.codec(), codec, "it is smaller so");
    packed
}

/// A log with a segment for each batch, everything but the last one sealed and durable.
fn settled(batches: &[ValidatedBatch]) -> SegmentLog {
    let disk = faulty(7);
    let mut log = open(&disk, &config(1, 0), 0, LogEnd::default());
    let mut model = Model::default();
    for batch in batches {
        append(&mut log, model.push(batch.clone(), 1)).unwrap();
    }
    let end = log.flush().unwrap();
    log.settle(end);
    log
}

fn stored(log: &SegmentLog) -> Vec<ValidatedBatch> {
    let all = read_all(log, Offset::ZERO, log.end().next, usize::MAX).unwrap();
    all.into_iter().map(|bytes| ValidatedBatch::parse(bytes).unwrap()).collect()
}

#[test]
fn what_is_left_of_a_compressed_batch_keeps_its_codec_and_its_bounds() {
    for codec in CODECS {
        let first = [("a", Some(900)), ("b", Some(900)), ("c", Some(900)), ("a", Some(901))];
        let batches = [
            packed(&first, codec),
            packed(&[("b", Some(902)), ("d", None), ("e", Some(3))], codec),
            packed(&[("e", Some(900))], codec),
        ];
        let log = settled(&batches);
        let report = log.reader().compact(&rule(10_000)).unwrap();
        // The last batch grows: that its key was there before is not seen.
        assert_eq!((report.segments, report.records), (1, 2), "{codec}");
        assert_eq!(kept(&log), [2, 3, 4, 5, 6, 7], "{codec}");
        let after = stored(&log);
        for (before, after) in batches.iter().zip(&after) {
            assert_eq!(after.codec(), codec);
            assert_eq!(after.record_count(), before.record_count());
            assert_eq!(after.header().max_timestamp, before.header().max_timestamp);
        }
        assert!(after[0].header().has_gaps() && !after[1].header().has_gaps());
        let records: Vec<_> = after[0].records_of(contents::plain(&after[0]).unwrap()).collect();
        let (offset, record) = records[1].clone().unwrap();
        assert_eq!((records.len(), offset), (2, Offset::new(3)));
        assert_eq!(record.value.unwrap().len(), 901);
        // What was thinned is thinned again.
        assert_eq!(log.reader().compact(&rule(10_001)).unwrap(), CompactionReport::default());
        let sum =
            |log: &SegmentLog| log.reader().key_checksum(Offset::ZERO, log.end().next, 2).unwrap();
        assert_eq!(sum(&log), sum(&settled(&batches)), "{codec}: as one that never compacted");
    }
}

#[test]
fn what_is_left_is_plain_where_that_is_smaller() {
    for codec in CODECS {
        let batches = [
            packed(&[("long", Some(900)), ("x", Some(1))], codec),
            packed(&[("long", Some(900))], codec),
            packed(&[("end", Some(900))], codec),
        ];
        let log = settled(&batches);
        assert_eq!(log.reader().compact(&rule(10_000)).unwrap().records, 1);
        let after = stored(&log);
        assert_eq!((after[0].codec(), after[1].codec()), (Codec::None, codec));
        assert!(after[0].bytes().len() < batches[0].bytes().len());
        assert_eq!(kept(&log), [1, 2, 3], "{codec}");
    }
}

/// From before the topic was compacted: a bomb, and a stream that is none.
#[test]
fn what_nobody_can_look_into_stays_whole_and_keeps_tombstones_behind_it() {
    let zeros = COMPACTED_PLAIN_BYTES_MAX / 2;
    let bomb = packed(&[("a", Some(zeros)), ("b", Some(zeros))], Codec::Zstd);
    assert!(contents::plain(&bomb).is_none());
    let noise = crate::test_batch::compressed(&[0], 30);
    for opaque in [bomb, noise] {
        let count = u64::from(opaque.record_count());
        let batches = [
            packed(&[("a", Some(900)), ("z", Some(900))], Codec::Lz4),
            packed(&[("z", None), ("y", Some(900))], Codec::Lz4),
            opaque.clone(),
            packed(&[("a", None), ("y", Some(900))], Codec::Lz4),
            packed(&[("end", Some(900))], Codec::Lz4),
        ];
        let log = settled(&batches);
        let reader = log.reader();
        assert_eq!(reader.compact(&rule(10_000)).unwrap().records, 3);
        let behind = 4 + count;
        let expected = [2, behind, behind + 1, behind + 2];
        assert_eq!(kept(&log), expected);
        assert_eq!(stored(&log)[2].bytes()[16..], opaque.bytes()[16..], "byte by byte");
        // The tombstone before it goes in its time, the one behind it stays.
        assert_eq!(reader.compact(&rule(99_000)).unwrap().records, 1);
        assert_eq!(kept(&log), expected[1..]);
        assert_eq!(reader.compact(&rule(999_000)).unwrap(), CompactionReport::default());
    }
}
