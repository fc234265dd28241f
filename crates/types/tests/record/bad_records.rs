//! Batches whose header and checksum are right and whose records are wrong.

use bytes::Bytes;
use quipu_types::record::{BatchHeader, Codec, RecordError, RecordField, ValidatedBatch};
use quipu_types::{ErrorCode, TimestampMs, limits};

use crate::sample::{
    BASE_MS, Parts, as_i64, batch_header, batch_of, records, sealed, sized, varint,
};

struct Case {
    name: String,
    count: i32,
    section: Vec<u8>,
    expected: RecordError,
}

/// One record made of `parts`, padded by a second one so that nothing fails for lack of bytes of
/// the batch.
fn first(name: impl Into<String>, parts: &Parts, expected: RecordError) -> Case {
    let second = Parts { offset_delta: varint(1), ..Parts::default() };
    let section = [parts.bytes(), second.bytes()].concat();
    Case { name: name.into(), count: 2, section, expected }
}

fn parts(change: impl FnOnce(&mut Parts)) -> Parts {
    let mut parts = Parts::default();
    change(&mut parts);
    parts
}

/// Sets the bytes of one field.
fn set(parts: &mut Parts, field: RecordField, bytes: Vec<u8>) {
    match field {
        RecordField::Length => parts.length = Some(bytes),
        RecordField::Attributes => parts.attributes = bytes,
        RecordField::TimestampDelta => parts.timestamp_delta = bytes,
        RecordField::OffsetDelta => parts.offset_delta = bytes,
        RecordField::Key => parts.key = bytes,
        RecordField::Value => parts.value = bytes,
        RecordField::HeaderCount => parts.headers = bytes,
        RecordField::HeaderKey => parts.headers = [varint(1), bytes].concat(),
        RecordField::HeaderValue => parts.headers = [varint(1), sized(b"k"), bytes].concat(),
    }
}

/// Where a field starts in a record of one-byte fields.
fn start_of(field: RecordField) -> usize {
    match field {
        RecordField::Length => 0,
        RecordField::Attributes => 1,
        RecordField::TimestampDelta => 2,
        RecordField::OffsetDelta => 3,
        RecordField::Key => 4,
        RecordField::Value => 5,
        RecordField::HeaderCount => 6,
        RecordField::HeaderKey => 7,
        RecordField::HeaderValue => 9,
    }
}

const LENGTHS: [RecordField; 6] = [
    RecordField::Length,
    RecordField::Key,
    RecordField::Value,
    RecordField::HeaderCount,
    RecordField::HeaderKey,
    RecordField::HeaderValue,
];

/// Varints that do not end, or are wider than their field, in each field that is one.
fn varints() -> Vec<Case> {
    let mut cases = Vec::new();
    let fields = LENGTHS.into_iter().chain([RecordField::TimestampDelta, RecordField::OffsetDelta]);
    for field in fields {
        let position = start_of(field);
        let bytes_max = if field == RecordField::TimestampDelta { 10 } else { 5 };
        for continued in [bytes_max, bytes_max + 1] {
            let bytes = [vec![0x80; continued], vec![0]].concat();
            let parts = parts(|parts| set(parts, field, bytes));
            let expected = RecordError::VarintTooLong { position, field, bytes_max };
            cases.push(first(format!("{field} of {continued} and more bytes"), &parts, expected));
        }
        let mut wide = vec![0xFF; bytes_max];
        wide[bytes_max - 1] = 0x10;
        let parts = parts(|parts| set(parts, field, wide));
        let expected = RecordError::VarintOverflow { position, field };
        cases.push(first(format!("{field} too wide"), &parts, expected));
    }
    cases
}

fn negative_lengths() -> Vec<Case> {
    let mut cases = Vec::new();
    for field in LENGTHS {
        let is_nullable =
            matches!(field, RecordField::Key | RecordField::Value | RecordField::HeaderValue);
        let first_bad = if is_nullable { -2 } else { -1 };
        for length in [first_bad, i32::MIN] {
            let parts = parts(|parts| set(parts, field, varint(i64::from(length))));
            let expected = RecordError::NegativeLength { position: start_of(field), field, length };
            cases.push(first(format!("{field} {length}"), &parts, expected));
        }
    }
    cases
}

/// Lengths that reach beyond the record although the batch has more bytes, or beyond the batch.
fn long_lengths() -> Vec<Case> {
    let mut cases = Vec::new();
    let bounded =
        [RecordField::Key, RecordField::Value, RecordField::HeaderKey, RecordField::HeaderValue];
    for field in bounded {
        for length in [9, 1 << 20, i32::MAX] {
            let parts = parts(|parts| set(parts, field, varint(i64::from(length))));
            let record_bytes = parts.bytes().len();
            let position = start_of(field);
            let available = record_bytes - position - varint(i64::from(length)).len();
            let needed = usize::try_from(length).unwrap();
            let expected = RecordError::Truncated { position, field, needed, available };
            cases.push(first(format!("{field} {length}"), &parts, expected));
        }
    }
    for length in [15, 1 << 20, i32::MAX] {
        let parts = parts(|parts| parts.length = Some(varint(i64::from(length))));
        let section_bytes = 14 + varint(i64::from(length)).len() - 1;
        let expected = RecordError::Truncated {
            position: 0,
            field: RecordField::Length,
            needed: usize::try_from(length).unwrap(),
            available: section_bytes - varint(i64::from(length)).len(),
        };
        cases.push(first(format!("record length {length}"), &parts, expected));
    }
    cases
}

/// Record lengths that contradict the fields inside.
fn record_lengths() -> Vec<Case> {
    let fields = [
        RecordField::Attributes,
        RecordField::TimestampDelta,
        RecordField::OffsetDelta,
        RecordField::Key,
        RecordField::Value,
        RecordField::HeaderCount,
    ];
    let mut cases: Vec<Case> = fields
        .into_iter()
        .enumerate()
        .map(|(length, field)| {
            let parts = parts(|parts| parts.length = Some(varint(as_i64(length))));
            let position = start_of(field);
            let expected = RecordError::Truncated { position, field, needed: 1, available: 0 };
            first(format!("record length {length} ends before {field}"), &parts, expected)
        })
        .collect();
    for spare in [1, 2] {
        let parts = parts(|parts| parts.rest = vec![0; spare]);
        let expected = RecordError::RecordLength { position: 0, declared: 6 + spare, used: 6 };
        cases.push(first(format!("{spare} spare bytes in a record"), &parts, expected));
    }
    cases
}

fn deltas() -> Vec<Case> {
    let mut cases = Vec::new();
    for found in [1, -1, 2, i32::MAX, i32::MIN] {
        let parts = parts(|parts| parts.offset_delta = varint(i64::from(found)));
        let expected = RecordError::OffsetDelta { position: 3, expected: 0, found };
        cases.push(first(format!("first offset delta {found}"), &parts, expected));
    }
    for (deltas, at) in [([0, 0, 1], 1), ([0, 2, 1], 1), ([0, 1, 1], 2), ([0, 1, 3], 2)] {
        let record = |delta| parts(|parts| parts.offset_delta = varint(delta)).bytes();
        let position = 7 * at + 3;
        cases.push(Case {
            name: format!("offset deltas {deltas:?}"),
            count: 3,
            section: deltas.into_iter().flat_map(record).collect(),
            expected: RecordError::OffsetDelta {
                position,
                expected: i32::try_from(at).unwrap(),
                found: i32::try_from(deltas[at]).unwrap(),
            },
        });
    }
    let max = TimestampMs::new(BASE_MS + 1_000);
    for delta in [1_001, -BASE_MS - 1, i64::MAX, i64::MIN] {
        let parts = parts(|parts| parts.timestamp_delta = varint(delta));
        let expected = RecordError::Timestamp { position: 2, delta, max };
        cases.push(first(format!("timestamp delta {delta}"), &parts, expected));
    }
    cases
}

fn headers_and_flags() -> Vec<Case> {
    let limit = limits::RECORD_HEADERS_MAX;
    let mut cases = Vec::new();
    for count in [limit + 1, 1 << 20, i32::MAX as usize] {
        let parts = parts(|parts| parts.headers = varint(as_i64(count)));
        let expected = RecordError::TooManyHeaders { position: 6, count, limit };
        cases.push(first(format!("{count} headers"), &parts, expected));
    }
    let missing = parts(|parts| parts.headers = [varint(2), sized(b"k"), varint(-1)].concat());
    let expected = RecordError::Truncated {
        position: 10,
        field: RecordField::HeaderKey,
        needed: 1,
        available: 0,
    };
    cases.push(first("one header where two are due", &missing, expected));
    for bad in [&[0xFF][..], &[0xC3], &[0xC0, 0x80], &[0xED, 0xA0, 0x80]] {
        let parts = parts(|parts| set(parts, RecordField::HeaderKey, sized(bad)));
        let expected = RecordError::HeaderKeyUtf8 { position: 8 };
        cases.push(first(format!("header key {bad:02x?}"), &parts, expected));
    }
    for attributes in [0x01, 0x20, 0x80, 0xFF] {
        let parts = parts(|parts| parts.attributes = vec![attributes]);
        let expected = RecordError::Attributes { position: 1, attributes };
        cases.push(first(format!("record attributes {attributes:#04x}"), &parts, expected));
    }
    cases
}

/// A count that is not the number of records.
fn counts() -> Vec<Case> {
    let record = |delta| parts(|parts| parts.offset_delta = varint(delta)).bytes();
    let long = parts(|parts| parts.value = sized(&[0; 100])).bytes();
    let end = long.len();
    vec![
        Case {
            name: "count 2, one record".to_owned(),
            count: 2,
            section: long.clone(),
            expected: RecordError::TooFewRecords { position: end, count: 2, found: 1 },
        },
        Case {
            name: "count 10, one record".to_owned(),
            count: 10,
            section: long,
            expected: RecordError::TooFewRecords { position: end, count: 10, found: 1 },
        },
        Case {
            name: "count 1, two records".to_owned(),
            count: 1,
            section: [record(0), record(1)].concat(),
            expected: RecordError::TrailingBytes { position: 7, count: 1, trailing: 7 },
        },
        Case {
            name: "a byte after the last record".to_owned(),
            count: 2,
            section: [record(0), record(1), vec![0]].concat(),
            expected: RecordError::TrailingBytes { position: 14, count: 2, trailing: 1 },
        },
    ]
}

fn cases() -> Vec<Case> {
    [
        varints(),
        negative_lengths(),
        long_lengths(),
        record_lengths(),
        deltas(),
        headers_and_flags(),
        counts(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn parse(header: BatchHeader, section: &[u8]) -> ValidatedBatch {
    ValidatedBatch::parse(Bytes::from(sealed(header, section))).expect("the header is right")
}

#[test]
fn each_bad_record_is_refused_with_its_own_error_and_place() {
    for Case { name, count, section, expected } in cases() {
        let batch = parse(batch_header(count), &section);
        assert_eq!(batch.check_records(), Err(expected.clone()), "check: {name}");
        let decoded: Result<Vec<_>, _> = batch.records().unwrap().collect();
        assert_eq!(decoded, Err(expected.clone()), "decode: {name}");
        let is_time = matches!(expected, RecordError::Timestamp { .. });
        let code = if is_time { ErrorCode::InvalidTimestamp } else { ErrorCode::CorruptBatch };
        assert_eq!(expected.code(), code, "{name}");
    }
}

/// The table has to stay a table: two cases of one name would hide one.
#[test]
fn the_cases_are_many_and_different() {
    let names: std::collections::BTreeSet<_> = cases().into_iter().map(|case| case.name).collect();
    assert_eq!(names.len(), cases().len());
    assert!(names.len() >= 60, "{} cases", names.len());
}

#[test]
fn nothing_comes_after_the_first_error() {
    let section = [Parts::default().bytes(), vec![1]].concat();
    let mut items = parse(batch_header(1), &section).records().unwrap();
    assert!(items.next().is_some_and(|item| item.is_ok()));
    assert!(items.next().is_some_and(|item| item.is_err()));
    assert!(items.next().is_none());
    assert!(items.next().is_none());
}

#[test]
fn records_cut_at_any_byte_are_refused() {
    let batch = batch_of(&records());
    let section = batch.section();
    for length in 0..section.len() {
        let cut = batch.records_of(section.slice(..length));
        assert!(cut.last().is_some_and(|item| item.is_err()), "cut after {length} bytes");
    }
}

#[test]
fn compressed_records_are_not_taken_for_plain_ones() {
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let header = BatchHeader { attributes: codec.bits(), ..batch_header(1) };
        let batch = parse(header, &Parts::default().bytes());
        let expected = RecordError::Compressed { codec };
        assert_eq!(batch.check_records(), Err(expected.clone()));
        assert_eq!(batch.records().map(drop), Err(expected));
    }
}

/// With the leader's time in every record the producer's deltas mean nothing and are not judged.
#[test]
fn log_append_time_overrides_every_record() {
    let wild = parts(|parts| parts.timestamp_delta = varint(i64::MIN));
    let header = BatchHeader { attributes: 0x08, ..batch_header(1) };
    let batch = parse(header, &wild.bytes());
    let (_, record) = batch.records().unwrap().next().unwrap().unwrap();
    assert_eq!(record.timestamp, header.max_timestamp);
}

#[test]
fn as_many_headers_as_allowed_are_read() {
    let limit = limits::RECORD_HEADERS_MAX;
    let header = [sized(b"k"), varint(-1)].concat();
    let headers = [varint(as_i64(limit)), header.repeat(limit)].concat();
    let batch = parse(batch_header(1), &parts(|parts| parts.headers = headers).bytes());
    let (_, record) = batch.records().unwrap().next().unwrap().unwrap();
    assert_eq!(record.headers.len(), limit);
    assert_eq!(record.header("k"), Some(None));
}
