//! What records carry: a number that is sent once, and enough around it to notice a change.

use bytes::Bytes;
use quipu_client::{NewRecord, RecordHeader, TimestampMs};

use super::place::Place;
use crate::history::Value;

/// Digits of a record's number at the begin of its value.
const DIGITS: usize = 16;
/// Filler behind the number, so that records differ in size.
const FILLER: &[u8; 64] = b"streams of knotted strings keep what was counted, in its order. ";
/// What a record without a readable number counts as: never sent.
const UNREADABLE: u64 = u64::MAX;

/// The record of a number, and what the history calls it.
pub(super) fn record(place: &Place, number: u64, wall_ms: i64) -> (NewRecord, Value) {
    let filler = usize::try_from(number % 64).expect("below 64");
    let mut value = format!("{number:016x}").into_bytes();
    value.extend_from_slice(&FILLER[..filler]);
    let record = NewRecord::new(place.topic.clone(), value)
        .partition(place.index)
        .key(format!("key-{}", number % 97))
        .header("n", number.to_be_bytes().to_vec())
        .timestamp(TimestampMs::new(wall_ms));
    let found = read(&record.key, &record.value, &record.headers, wall_ms);
    (record, found)
}

/// What the history calls a record that was read.
pub(super) fn read(
    key: &Option<Bytes>,
    value: &Option<Bytes>,
    headers: &[RecordHeader],
    timestamp_ms: i64,
) -> Value {
    let number = value.as_deref().and_then(number).unwrap_or(UNREADABLE);
    let mut sum = add(0, key.as_deref());
    sum = add(sum, value.as_deref());
    for header in headers {
        sum = add(sum, Some(header.key().as_bytes()));
        sum = add(sum, header.value().map(|value| &**value));
    }
    Value(number, add(sum, Some(&timestamp_ms.to_be_bytes())))
}

/// A batch that cannot be decoded: the checker calls it a record that nobody sent.
pub(super) const fn unreadable() -> Value {
    Value(UNREADABLE, 0)
}

fn number(value: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(value.get(..DIGITS)?).ok()?;
    u64::from_str_radix(digits, 16).ok()
}

/// Lengths count, so that bytes cannot move from one field to the next unnoticed; none and empty
/// differ.
fn add(sum: u32, field: Option<&[u8]>) -> u32 {
    let length = field.map_or(u64::MAX, |field| u64::try_from(field.len()).unwrap_or(u64::MAX));
    let sum = crc32c::crc32c_append(sum, &length.to_be_bytes());
    crc32c::crc32c_append(sum, field.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_known_again_and_any_change_is_seen() {
        let (record, sent) = record(&Place::new("events", 1), 77, 1_700_000_000_000);
        let found =
            |key: &Option<Bytes>, value: &Option<Bytes>, at| read(key, value, &record.headers, at);
        assert_eq!(found(&record.key, &record.value, 1_700_000_000_000), sent);
        assert_eq!(sent.0, 77);
        let changed = Some(Bytes::from("key-x"));
        assert_ne!(found(&changed, &record.value, 1_700_000_000_000).1, sent.1);
        assert_ne!(found(&None, &record.value, 1_700_000_000_000).1, sent.1);
        assert_ne!(found(&record.key, &record.value, 1_700_000_000_001).1, sent.1);
        assert_ne!(read(&record.key, &record.value, &[], 1_700_000_000_000).1, sent.1);
        let torn = record.value.as_ref().map(|value| value.slice(..10));
        assert_eq!(found(&record.key, &torn, 1_700_000_000_000).0, UNREADABLE);
    }
}
