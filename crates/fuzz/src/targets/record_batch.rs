//! A batch as a producer sends it.

use bytes::Bytes;
use quipu_types::record::{
    BatchBuilder, BatchHeader, Codec, HEADER_BYTES, Record, RecordError, ValidatedBatch,
};
use quipu_types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs, limits};

use crate::input::{also_resealed, shared};
use crate::{Seed, Verdict, reseal, samples};

/// Bytes that a compressed batch may become here.
const PLAIN_BYTES_MAX: usize = 1 << 20;

pub(crate) fn run(input: &[u8]) -> Verdict {
    also_resealed(input, reseal::batch, check)
}

pub(crate) fn seeds() -> Vec<Seed> {
    let bytes = |batch: &ValidatedBatch| batch.bytes().to_vec();
    vec![
        ("ok-one", bytes(&samples::batch(1, b"value"))),
        ("ok-three", bytes(&samples::batch(3, b"value"))),
        ("ok-many", bytes(&samples::batch(40, b"0123456789"))),
        ("ok-producer", bytes(&samples::from_producer(9, 0, 2))),
        ("ok-log-append", bytes(&samples::batch(2, b"v").with_log_append_time(noon(5)))),
        ("ok-gzip", bytes(&samples::compressed(20, &[7; 60], Codec::Gzip))),
        ("ok-snappy", bytes(&samples::compressed(20, &[7; 60], Codec::Snappy))),
        ("ok-lz4", bytes(&samples::compressed(20, &[7; 60], Codec::Lz4))),
        ("ok-zstd", bytes(&samples::compressed(20, &[7; 60], Codec::Zstd))),
    ]
}

fn noon(later: i64) -> TimestampMs {
    TimestampMs::new(samples::NOON + later)
}

fn check(bytes: &[u8]) -> Verdict {
    let whole = shared(bytes);
    let batch = match ValidatedBatch::parse(whole.clone()) {
        Ok(batch) => batch,
        Err(refused) => {
            assert!(!refused.to_string().is_empty());
            let mut rest = whole.clone();
            if ValidatedBatch::split_first(&mut rest).is_err() {
                assert_eq!(rest, whole, "a refusal takes nothing away");
            }
            return Verdict::Refused;
        }
    };
    assert_eq!(*batch.bytes(), whole);
    header_is_written_the_same(&batch);
    changes_keep_it_valid(&batch);
    for now in [i64::MIN, 0, samples::NOON, i64::MAX] {
        let _ = batch.check_from_producer(TimestampMs::new(now));
    }
    records(&batch);
    Verdict::Accepted
}

fn header_is_written_the_same(batch: &ValidatedBatch) {
    let mut header = [0; HEADER_BYTES];
    batch.header().encode_into(&mut header);
    assert_eq!(header, batch.bytes()[..HEADER_BYTES]);
    let count = usize::try_from(batch.record_count()).expect("32 bits");
    assert!((1..=usize::try_from(limits::BATCH_RECORDS_MAX).expect("small")).contains(&count));
}

/// What a client and a leader change.
fn changes_keep_it_valid(batch: &ValidatedBatch) {
    let stamped = batch.stamped_prefix(Offset::new(u64::MAX), LeaderEpoch::new(i32::MAX));
    let bytes = Bytes::from([&stamped[..], &batch.bytes()[16..]].concat());
    let stamped = ValidatedBatch::parse(bytes).expect("the checksum covers neither");
    assert_eq!(stamped.header().base_offset, Offset::new(u64::MAX));
    let late = batch.with_log_append_time(noon(0));
    ValidatedBatch::parse(late.bytes().clone()).expect("as valid as before");
    let mut owned = batch.clone();
    let set = owned.set_producer(ProducerId::new(1), ProducerEpoch::new(2), Sequence::new(3));
    set.expect("all three are set");
    let parsed = ValidatedBatch::parse(owned.bytes().clone()).expect("as valid as before");
    assert_eq!(parsed.header(), owned.header());
}

fn records(batch: &ValidatedBatch) {
    let section = match batch.codec() {
        Codec::None => batch.section(),
        codec @ (Codec::Gzip | Codec::Snappy | Codec::Lz4 | Codec::Zstd) => {
            assert_eq!(batch.check_records(), Err(RecordError::Compressed { codec }));
            let section = batch.section();
            match quipu_compression::decompress(codec, &section, PLAIN_BYTES_MAX) {
                Ok(plain) => plain,
                Err(refused) => return assert!(!refused.to_string().is_empty()),
            }
        }
    };
    assert!(section.len() <= PLAIN_BYTES_MAX.max(batch.bytes().len()));
    let decoded: Result<Vec<(Offset, Record)>, RecordError> = batch.records_of(section).collect();
    if batch.codec() == Codec::None {
        assert_eq!(batch.check_records(), decoded.as_ref().map(|_| ()).map_err(Clone::clone));
    }
    if let Ok(decoded) = decoded {
        assert_eq!(decoded.len(), usize::try_from(batch.record_count()).expect("32 bits"));
        for (n, (offset, _)) in (0..).zip(&decoded) {
            assert_eq!(*offset, batch.header().base_offset.plus(n));
        }
        rebuilt(batch.header(), &decoded);
    }
}

/// Records that were read can be sent again, and are read the same.
fn rebuilt(header: &BatchHeader, decoded: &[(Offset, Record)]) {
    let mut builder = BatchBuilder::new(header.base_timestamp);
    for (_, record) in decoded {
        builder.push(record).expect("what was read keeps the limits of writers");
    }
    let again = builder.finish_plain();
    let read: Result<Vec<(Offset, Record)>, RecordError> =
        again.records().expect("a plain batch").collect();
    let read: Vec<Record> = read.expect("just built").into_iter().map(|it| it.1).collect();
    let expected: Vec<Record> = decoded.iter().map(|it| it.1.clone()).collect();
    assert_eq!(read, expected);
}
