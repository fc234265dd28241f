//! What holds for all records and all bytes.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use quipu_types::record::{
    BatchBuilder, BatchHeader, Codec, HEADER_BYTES, InvalidBatch, PushError, Record, RecordHeader,
    ValidatedBatch,
};
use quipu_types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs, limits};

use crate::sample::{BASE_MS, batch_header, batch_of, read, record, records, sealed};

fn any_bytes() -> impl Strategy<Value = Option<Bytes>> {
    option::of(vec(any::<u8>(), 0..300).prop_map(Bytes::from))
}

fn any_record() -> impl Strategy<Value = Record> {
    let header = (".{0,12}", any_bytes()).prop_map(|(key, value)| RecordHeader::new(key, value));
    let timestamp = prop_oneof![0..=i64::MAX, BASE_MS - 9_999..BASE_MS + 9_999];
    (timestamp, any_bytes(), any_bytes(), vec(header, 0..6)).prop_map(
        |(timestamp, key, value, headers)| Record {
            timestamp: TimestampMs::new(timestamp),
            key,
            value,
            headers,
        },
    )
}

proptest! {
    #[test]
    fn records_come_back_as_they_went_in(
        records in vec(any_record(), 1..40),
        base in 0..=i64::MAX,
    ) {
        let mut builder = BatchBuilder::new(TimestampMs::new(base));
        for (done, record) in (0_u32..).zip(&records) {
            prop_assert_eq!(builder.record_count(), done);
            let expected = builder.size_bytes_with(record);
            builder.push(record).unwrap();
            prop_assert_eq!(builder.size_bytes(), expected);
        }
        let size = builder.size_bytes();
        let batch = builder.finish_plain();
        prop_assert_eq!(batch.bytes().len(), size);
        let parsed = ValidatedBatch::parse(batch.bytes().clone()).unwrap();
        prop_assert_eq!(parsed.header(), batch.header());
        prop_assert_eq!(parsed.check_records(), Ok(()));
        prop_assert_eq!(read(&parsed), records);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        prop_assert!(ValidatedBatch::parse(Bytes::from(bytes)).is_err());
    }

    /// Past the checksum: a header that agrees with itself around arbitrary records.
    #[test]
    fn arbitrary_records_never_panic(
        section in vec(any::<u8>(), 7..400),
        count in 1..40_i32,
        is_log_append: bool,
    ) {
        let attributes = if is_log_append { 0x08 } else { 0 };
        let header = BatchHeader { attributes, ..batch_header(count) };
        if let Ok(batch) = ValidatedBatch::parse(Bytes::from(sealed(header, &section))) {
            let decoded: Result<Vec<_>, _> = batch.records().unwrap().collect();
            prop_assert_eq!(batch.check_records(), decoded.map(drop));
        }
    }

    /// Small damage keeps most of the structure intact and reaches deeper than noise.
    #[test]
    fn damaged_records_never_panic_and_both_readers_agree(
        damage in vec((0..400_usize, any::<u8>()), 1..4),
    ) {
        let batch = batch_of(&records());
        let mut section = batch.section().to_vec();
        for (at, byte) in damage {
            let at = at % section.len();
            section[at] = byte;
        }
        let bytes = sealed(*batch.header(), &section);
        let batch = ValidatedBatch::parse(Bytes::from(bytes)).unwrap();
        let decoded: Result<Vec<_>, _> = batch.records().unwrap().collect();
        prop_assert_eq!(batch.check_records(), decoded.map(drop));
    }

    #[test]
    fn any_header_survives_encoding(fields: [i64; 8], small: [i32; 4], epoch: i16, bits: i16) {
        let header = BatchHeader {
            base_offset: Offset::new(fields[0].cast_unsigned()),
            batch_length: small[0],
            leader_epoch: LeaderEpoch::new(small[1]),
            crc: small[2].cast_unsigned(),
            attributes: bits,
            last_offset_delta: small[3],
            base_timestamp: TimestampMs::new(fields[1]),
            max_timestamp: TimestampMs::new(fields[2]),
            producer_id: ProducerId::new(fields[3]),
            producer_epoch: ProducerEpoch::new(epoch),
            base_sequence: Sequence::new(small[0]),
            record_count: small[1],
        };
        let mut bytes = [0; HEADER_BYTES];
        header.encode_into(&mut bytes);
        prop_assert_eq!(BatchHeader::decode(&bytes), Some(header));
    }

    #[test]
    fn a_producer_set_later_is_as_if_it_had_been_there(
        id in 0..=i64::MAX,
        epoch in 0..=i16::MAX,
        sequence in 0..=i32::MAX,
    ) {
        let plain = batch_of(&records());
        let mut batch = plain.clone();
        let producer = (ProducerId::new(id), ProducerEpoch::new(epoch), Sequence::new(sequence));
        batch.set_producer(producer.0, producer.1, producer.2).unwrap();
        let parsed = ValidatedBatch::parse(batch.bytes().clone()).unwrap();
        prop_assert_eq!(parsed.header(), batch.header());
        prop_assert_eq!(parsed.header().producer_id, producer.0);
        prop_assert_eq!(parsed.header().producer_epoch, producer.1);
        prop_assert_eq!(parsed.header().base_sequence, producer.2);
        prop_assert!(parsed.header().is_idempotent());
        prop_assert_eq!(parsed.section(), plain.section());
        prop_assert!(!plain.header().is_idempotent(), "the shared original is untouched");
    }
}

#[test]
fn a_producer_is_set_whole_or_not_at_all() {
    let mut batch = batch_of(&records());
    let before = batch.bytes().clone();
    let refused = batch.set_producer(ProducerId::new(7), ProducerEpoch::new(-1), Sequence::new(0));
    assert_eq!(refused, Err(InvalidBatch::Producer { id: 7, epoch: -1, sequence: 0 }));
    assert_eq!(batch.bytes(), &before);
    let set = (ProducerId::new(7), ProducerEpoch::new(1), Sequence::new(0));
    batch.set_producer(set.0, set.1, set.2).unwrap();
    assert_ne!(batch.bytes(), &before);
    let none = (ProducerId::new(-1), ProducerEpoch::new(-1), Sequence::new(-1));
    batch.set_producer(none.0, none.1, none.2).unwrap();
    assert_eq!(batch.bytes(), &before);
}

#[test]
fn an_unshared_batch_gets_its_producer_without_a_copy() {
    let mut batch = ValidatedBatch::parse(Bytes::from(batch_of(&records()).bytes().to_vec()))
        .expect("well-formed");
    let address = batch.bytes().as_ptr();
    batch.set_producer(ProducerId::new(1), ProducerEpoch::new(0), Sequence::new(0)).unwrap();
    assert_eq!(batch.bytes().as_ptr(), address);
}

#[test]
fn stamping_moves_offsets_and_keeps_the_checksum() {
    let batch = batch_of(&records());
    let prefix = batch.stamped_prefix(Offset::new(1_000), LeaderEpoch::new(12));
    let stored = [&prefix[..], &batch.bytes()[16..]].concat();
    let stored = ValidatedBatch::parse(Bytes::from(stored)).unwrap();
    assert_eq!(stored.header().leader_epoch, LeaderEpoch::new(12));
    let offsets: Vec<u64> = stored.records().unwrap().map(|item| item.unwrap().0.get()).collect();
    assert_eq!(offsets, [1_000, 1_001, 1_002, 1_003, 1_004]);
}

#[test]
fn log_append_time_is_what_every_reader_sees() {
    let now = TimestampMs::new(BASE_MS + 77);
    let batch = batch_of(&records()).with_log_append_time(now);
    let parsed = ValidatedBatch::parse(batch.bytes().clone()).unwrap();
    assert_eq!(parsed.header(), batch.header());
    assert!(read(&parsed).iter().all(|record| record.timestamp == now));
}

#[test]
fn decoded_records_share_the_batch() {
    let batch = batch_of(&[record(Some("key"), Some("value"))]);
    let range = batch.bytes().as_ptr_range();
    let value = read(&batch).remove(0).value.unwrap();
    assert!(range.contains(&value.as_ptr()));
}

#[test]
fn a_batch_keeps_the_smaller_of_plain_and_compressed() {
    let build = || {
        let mut builder = BatchBuilder::new(TimestampMs::new(BASE_MS));
        builder.push(&record(Some("key"), Some("value"))).unwrap();
        builder
    };
    let finish = |bytes: usize| {
        build().finish::<()>(Codec::Zstd, |_| Ok(Bytes::from(vec![7; bytes]))).unwrap()
    };
    let plain = build().finish_plain();
    assert_eq!(finish(plain.section().len()).codec(), Codec::None);
    assert_eq!(finish(plain.section().len()).bytes(), plain.bytes());
    let smaller = finish(plain.section().len() - 1);
    assert_eq!(smaller.codec(), Codec::Zstd);
    assert_eq!(smaller.section(), vec![7; plain.section().len() - 1]);
    assert!(ValidatedBatch::parse(smaller.bytes().clone()).is_ok());
    assert_eq!(build().finish(Codec::Gzip, |_| Err("no memory")).map(drop), Err("no memory"));
}

#[test]
fn the_builder_refuses_what_no_reader_takes_and_stays_as_it_was() {
    let mut builder = BatchBuilder::new(TimestampMs::new(BASE_MS));
    builder.push(&record(None, Some("first"))).unwrap();
    let size = builder.size_bytes();

    let limit = limits::RECORD_HEADERS_MAX;
    let many =
        Record { headers: vec![RecordHeader::new("k", None); limit + 1], ..record(None, None) };
    let refused = builder.push(&many);
    assert_eq!(refused, Err(PushError::TooManyHeaders { actual: limit + 1, limit }));

    let early = TimestampMs::new(-1);
    let refused = builder.push(&Record { timestamp: early, ..record(None, None) });
    assert_eq!(refused, Err(PushError::Timestamp { timestamp: early }));

    let limit = limits::DECOMPRESSED_BYTES_MAX;
    let huge = Record { value: Some(Bytes::from(vec![0; limit])), ..record(None, None) };
    let actual = builder.size_bytes_with(&huge);
    assert_eq!(builder.push(&huge), Err(PushError::TooLarge { actual, limit }));

    assert_eq!((builder.record_count(), builder.size_bytes()), (1, size));
    assert_eq!(read(&builder.finish_plain()), [record(None, Some("first"))]);
}

#[test]
fn a_stream_of_batches_is_split_one_by_one() {
    let first = batch_of(&records());
    let second = batch_of(&[record(None, Some("alone"))]);
    let mut stream = Bytes::from([&first.bytes()[..], second.bytes()].concat());
    assert_eq!(ValidatedBatch::split_first(&mut stream).unwrap().bytes(), first.bytes());
    assert_eq!(ValidatedBatch::split_first(&mut stream).unwrap().bytes(), second.bytes());
    assert!(stream.is_empty());
    let refused = ValidatedBatch::split_first(&mut stream).map(drop);
    assert_eq!(refused, Err(InvalidBatch::Short { actual: 0 }));
}
