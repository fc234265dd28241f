//! Batches whose header or frame is wrong: each is refused with its own error.

use bytes::Bytes;
use quipu_types::record::{BatchHeader, HEADER_BYTES, InvalidBatch, ValidatedBatch};
use quipu_types::{ErrorCode, ProducerEpoch, ProducerId, Sequence, TimestampMs, limits};

use crate::sample::{BASE_MS, Parts, batch_header, batch_of, records, sealed, varint};

struct Case {
    name: String,
    bytes: Vec<u8>,
    expected: InvalidBatch,
}

fn case(name: impl Into<String>, bytes: Vec<u8>, expected: InvalidBatch) -> Case {
    Case { name: name.into(), bytes, expected }
}

fn good() -> Vec<u8> {
    batch_of(&records()).bytes().to_vec()
}

/// Two records, so that counts can be wrong in both directions.
fn section() -> Vec<u8> {
    let second = Parts { offset_delta: varint(1), ..Parts::default() };
    [Parts::default().bytes(), second.bytes()].concat()
}

/// A batch of two records with its header changed, length and checksum right.
fn with_header(change: impl FnOnce(&mut BatchHeader)) -> Vec<u8> {
    let mut header = batch_header(2);
    change(&mut header);
    sealed(header, &section())
}

/// The frame around a batch: too short, too long, another length than it says.
fn frames() -> Vec<Case> {
    let good = good();
    let actual = good.len();
    let with_length = |length: i32| {
        let mut bytes = good.clone();
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        case(
            format!("length field {length}"),
            bytes,
            InvalidBatch::Length { declared: i64::from(length) + 12, actual },
        )
    };
    let right = i32::try_from(actual - 12).unwrap();
    let mut cases: Vec<Case> =
        [right - 1, right + 1, 0, 1, 48, 49, -1, -12, -13, i32::MAX, i32::MIN]
            .into_iter()
            .map(with_length)
            .collect();
    for length in [0, 1, 16, 17, HEADER_BYTES - 1] {
        let expected = InvalidBatch::Short { actual: length };
        cases.push(case(format!("first {length} bytes"), good[..length].to_vec(), expected));
    }
    let declared = i64::try_from(actual).unwrap();
    for length in [HEADER_BYTES, HEADER_BYTES + 1, actual - 1] {
        let expected = InvalidBatch::Length { declared, actual: length };
        cases.push(case(format!("cut after {length}"), good[..length].to_vec(), expected));
    }
    let longer = [&good[..], &[0]].concat();
    cases.push(case("a byte more", longer, InvalidBatch::Length { declared, actual: actual + 1 }));
    let twice = [&good[..], &good].concat();
    let expected = InvalidBatch::Length { declared, actual: actual * 2 };
    cases.push(case("two batches where one is due", twice, expected));
    for found in [0, 1, 3, 0x80, 0xFF] {
        let mut bytes = good.clone();
        bytes[16] = found;
        cases.push(case(format!("magic {found}"), bytes, InvalidBatch::Magic { found }));
    }
    cases
}

/// One flipped bit in every class of bytes the checksum covers, and in the checksum itself.
fn checksums() -> Vec<Case> {
    let mut good = ValidatedBatch::parse(Bytes::from(good())).unwrap();
    good.set_producer(ProducerId::new(8), ProducerEpoch::new(2), Sequence::new(64)).unwrap();
    let last = good.bytes().len() - 1;
    let classes: [(&str, usize, u8); 13] = [
        ("checksum, high bit", 17, 0x80),
        ("checksum, low bit", 20, 0x01),
        ("attributes, delete horizon", 22, 0x40),
        ("base timestamp, low bit", 34, 0x01),
        ("largest timestamp, low bit", 42, 0x01),
        ("producer id", 50, 0x01),
        ("producer epoch", 52, 0x01),
        ("base sequence", 56, 0x01),
        ("first record's length", HEADER_BYTES, 0x01),
        ("first record's attributes", HEADER_BYTES + 1, 0x01),
        ("a key", HEADER_BYTES + 6, 0x20),
        ("a value", HEADER_BYTES + 14, 0x20),
        ("the last byte", last, 0x80),
    ];
    classes
        .into_iter()
        .map(|(name, at, bit)| {
            let mut bytes = good.bytes().to_vec();
            bytes[at] ^= bit;
            let found = u32::from_be_bytes(bytes[17..21].try_into().unwrap());
            let expected = crc32c::crc32c(&bytes[21..]);
            assert_ne!(expected, found, "{name}");
            case(name, bytes, InvalidBatch::Checksum { expected, found })
        })
        .collect()
}

fn attributes() -> Vec<Case> {
    let mut cases = Vec::new();
    for bits in 5..=7 {
        let bytes = with_header(|header| header.attributes = bits);
        cases.push(case(format!("codec {bits}"), bytes, InvalidBatch::UnknownCodec { bits }));
    }
    for bit in 8..16 {
        let attributes = i16::from_be_bytes((1_u16 << bit).to_be_bytes());
        let bytes = with_header(|header| header.attributes = attributes);
        let expected = InvalidBatch::Attributes { attributes };
        cases.push(case(format!("attribute bit {bit}"), bytes, expected));
    }
    cases
}

fn counts() -> Vec<Case> {
    let mut cases = Vec::new();
    for (count, delta) in [
        (0, -1),
        (0, 0),
        (0, 1),
        (-1, -2),
        (-1, 0),
        (i32::MIN, i32::MAX),
        (i32::MIN, 0),
        (2, 0),
        (2, 2),
        (2, -1),
        (2, i32::MAX),
        (2, i32::MIN),
        (i32::MAX, 1),
    ] {
        let bytes = with_header(|header| {
            header.record_count = count;
            header.last_offset_delta = delta;
        });
        let expected = InvalidBatch::Count { count, last_offset_delta: delta };
        cases.push(case(format!("count {count}, last delta {delta}"), bytes, expected));
    }
    let limit = limits::BATCH_RECORDS_MAX;
    for (codec, count, limit) in [
        (0, 3, 2),
        (0, i32::MAX, 2),
        (1, i32::MAX, limit),
        (2, i32::try_from(limit).unwrap() + 1, limit),
        (3, i32::MAX - 1, limit),
        (4, 0x4000_0000, limit),
    ] {
        let bytes = with_header(|header| {
            header.attributes = codec;
            header.record_count = count;
            header.last_offset_delta = count - 1;
        });
        let expected = InvalidBatch::TooManyRecords { count, limit };
        cases.push(case(format!("codec {codec} with {count} records"), bytes, expected));
    }
    let no_records = sealed(batch_header(1), &[]);
    let expected = InvalidBatch::TooManyRecords { count: 1, limit: 0 };
    cases.push(case("a record but no bytes", no_records, expected));
    cases
}

fn timestamps() -> Vec<Case> {
    [
        (0, -1, BASE_MS),
        (0, BASE_MS, -1),
        (0, -1, -1),
        (0, i64::MIN, BASE_MS),
        (0, BASE_MS, i64::MIN),
        (0, BASE_MS + 1, BASE_MS),
        (0, i64::MAX, 0),
        (8, BASE_MS, -1),
        (8, BASE_MS, i64::MIN),
    ]
    .into_iter()
    .map(|(attributes, base, max)| {
        let (base, max) = (TimestampMs::new(base), TimestampMs::new(max));
        let bytes = with_header(|header| {
            header.attributes = attributes;
            header.base_timestamp = base;
            header.max_timestamp = max;
        });
        let name = format!("attributes {attributes}, timestamps {base} to {max}");
        case(name, bytes, InvalidBatch::Timestamps { base, max })
    })
    .collect()
}

fn producers() -> Vec<Case> {
    [
        (0, -1, -1),
        (-1, 0, -1),
        (-1, -1, 0),
        (-1, 0, 0),
        (7, -1, 0),
        (7, 0, -1),
        (-2, -1, -1),
        (-2, 0, 0),
        (7, -2, 0),
        (7, 0, -2),
        (i64::MIN, i16::MIN, i32::MIN),
        (i64::MAX, 0, i32::MIN),
    ]
    .into_iter()
    .map(|(id, epoch, sequence)| {
        let bytes = with_header(|header| {
            header.producer_id = ProducerId::new(id);
            header.producer_epoch = ProducerEpoch::new(epoch);
            header.base_sequence = Sequence::new(sequence);
        });
        let name = format!("producer {id}, epoch {epoch}, sequence {sequence}");
        case(name, bytes, InvalidBatch::Producer { id, epoch, sequence })
    })
    .collect()
}

fn cases() -> Vec<Case> {
    [frames(), checksums(), attributes(), counts(), timestamps(), producers()]
        .into_iter()
        .flatten()
        .collect()
}

#[test]
fn each_bad_batch_is_refused_with_its_own_error() {
    for Case { name, bytes, expected } in cases() {
        let refused = ValidatedBatch::parse(Bytes::from(bytes)).map(|batch| *batch.header());
        assert_eq!(refused, Err(expected), "{name}");
    }
}

/// A stream is cut where its length field says; what cannot be a batch leaves it untouched.
#[test]
fn splitting_refuses_the_same_batches_and_takes_nothing() {
    for Case { name, bytes, expected } in cases() {
        let mut stream = Bytes::from(bytes);
        let before = stream.clone();
        let is_about_length = matches!(expected, InvalidBatch::Length { .. });
        match ValidatedBatch::split_first(&mut stream) {
            Ok(first) if is_about_length => {
                assert_eq!(before.len(), first.bytes().len() + stream.len(), "{name}");
            }
            Err(_) if is_about_length => assert_eq!(stream, before, "{name}"),
            refused => {
                assert_eq!(refused.map(|batch| *batch.header()), Err(expected), "{name}");
                assert_eq!(stream, before, "{name}");
            }
        }
    }
}

/// The codes that the catalogue of bad input (RELIABILITY §6.1) promises to the outside.
#[test]
fn every_refusal_has_the_stable_code_of_its_family() {
    for Case { name, expected, .. } in cases() {
        let is_unknown =
            matches!(expected, InvalidBatch::Magic { .. } | InvalidBatch::UnknownCodec { .. });
        let code = if is_unknown {
            ErrorCode::UnsupportedCodec
        } else if matches!(expected, InvalidBatch::Timestamps { .. }) {
            ErrorCode::InvalidTimestamp
        } else {
            ErrorCode::CorruptBatch
        };
        assert_eq!(expected.code(), code, "{name}");
    }
}

/// Values at the edge of what is allowed, so that the table above cannot pass by refusing all.
#[test]
fn batches_at_the_limits_are_accepted() {
    type Change = fn(&mut BatchHeader);
    let edges: [(&str, Change); 7] = [
        ("epoch of time", |header| {
            header.base_timestamp = TimestampMs::new(0);
            header.max_timestamp = TimestampMs::new(0);
        }),
        ("end of time", |header| header.max_timestamp = TimestampMs::new(i64::MAX)),
        ("log append ignores the producer's time", |header| {
            header.attributes = 8;
            header.base_timestamp = TimestampMs::new(-1);
        }),
        ("smallest producer", |header| {
            header.producer_id = ProducerId::new(0);
            header.producer_epoch = ProducerEpoch::new(0);
            header.base_sequence = Sequence::new(0);
        }),
        ("largest producer", |header| {
            header.producer_id = ProducerId::new(i64::MAX);
            header.producer_epoch = ProducerEpoch::new(i16::MAX);
            header.base_sequence = Sequence::new(i32::MAX);
        }),
        ("as many compressed records as allowed", |header| {
            header.attributes = 4;
            header.record_count = i32::try_from(limits::BATCH_RECORDS_MAX).unwrap();
            header.last_offset_delta = header.record_count - 1;
        }),
        ("every known attribute bit", |header| header.attributes = 0xF8),
    ];
    for (name, change) in edges {
        let parsed = ValidatedBatch::parse(Bytes::from(with_header(change)));
        assert!(parsed.is_ok(), "{name}: {parsed:?}");
    }
}

#[test]
fn only_the_system_sets_the_attributes_of_the_system() {
    let now = TimestampMs::new(BASE_MS);
    for attributes in [0x08, 0x10, 0x20, 0x40, 0x80, 0xF8] {
        let bytes = with_header(|header| header.attributes = attributes);
        let batch = ValidatedBatch::parse(Bytes::from(bytes)).unwrap();
        let refused = batch.check_from_producer(now);
        assert_eq!(refused, Err(InvalidBatch::NotAllowed), "{attributes:#04x}");
    }
    for codec in 0..=4 {
        let bytes = with_header(|header| header.attributes = codec);
        let batch = ValidatedBatch::parse(Bytes::from(bytes)).unwrap();
        assert_eq!(batch.check_from_producer(now), Ok(()), "codec {codec}");
    }
}

#[test]
fn a_producer_may_be_an_hour_ahead_and_no_more() {
    let now = TimestampMs::new(BASE_MS);
    let latest = TimestampMs::new(BASE_MS + limits::TIMESTAMP_AHEAD_MS_MAX);
    for (max, is_accepted) in
        [(latest.get(), true), (latest.get() + 1, false), (i64::MAX, false), (BASE_MS, true)]
    {
        let max = TimestampMs::new(max);
        let bytes = with_header(|header| header.max_timestamp = max);
        let checked = ValidatedBatch::parse(Bytes::from(bytes)).unwrap().check_from_producer(now);
        let refused = InvalidBatch::FutureTimestamp { max, latest };
        assert_eq!(refused.code(), ErrorCode::InvalidTimestamp);
        assert_eq!(checked, if is_accepted { Ok(()) } else { Err(refused) }, "{max}");
    }
}

#[test]
fn one_flipped_bit_anywhere_under_the_checksum_is_noticed() {
    let good = good();
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let is_outside = bit / 8 < 8 || (12..16).contains(&(bit / 8));
        let parsed = ValidatedBatch::parse(Bytes::from(bytes));
        assert_eq!(parsed.is_ok(), is_outside, "bit {bit}");
    }
}
