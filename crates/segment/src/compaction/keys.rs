//! Where each key comes last, in bounded memory.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use quipu_types::Offset;
use quipu_types::record::{Record, ValidatedBatch};

use crate::contents;
use crate::error::ReadError;
use crate::reader::SegmentReader;

/// Bytes read at once for a checksum.
const READ_BYTES: usize = 1 << 20;

/// Digests of keys: 128 bits under two secrets that this process drew. Two of a billion keys are
/// taken for one with a probability below 10^-20, and nobody outside can make two that are.
#[derive(Debug, Default)]
pub(super) struct KeyHasher {
    secrets: (RandomState, RandomState),
}

impl KeyHasher {
    fn digest(&self, key: &[u8]) -> u128 {
        let (high, low) = (self.secrets.0.hash_one(key), self.secrets.1.hash_one(key));
        (u128::from(high) << 64) | u128::from(low)
    }
}

/// Where each key of a part of all keys comes last.
#[derive(Debug)]
pub(super) struct LastOffsets<'a> {
    hasher: &'a KeyHasher,
    part: u128,
    parts: u128,
    offsets: HashMap<u128, Offset>,
}

impl<'a> LastOffsets<'a> {
    /// Of `parts` equal parts of all keys, the one numbered `part`.
    pub(super) fn new(hasher: &'a KeyHasher, part: u64, parts: u64) -> Self {
        let (part, parts) = (u128::from(part), u128::from(parts));
        Self { hasher, part, parts, offsets: HashMap::new() }
    }

    /// A record with this key; offsets come in order.
    pub(super) fn note(&mut self, key: &[u8], offset: Offset) {
        let digest = self.hasher.digest(key);
        if digest % self.parts == self.part {
            self.offsets.insert(digest, offset);
        }
    }

    /// Where a key came last, if it came and is of this part.
    pub(super) fn of(&self, key: &[u8]) -> Option<Offset> {
        self.offsets.get(&self.hasher.digest(key)).copied()
    }
}

/// See [`SegmentReader::key_checksum`].
pub(super) fn checksum(
    reader: &SegmentReader,
    (from, until): (Offset, Offset),
    keys_max: usize,
) -> Result<u32, ReadError> {
    let hasher = KeyHasher::default();
    let records = until.get().saturating_sub(from.get());
    let parts = records.div_ceil(u64::try_from(keys_max.max(1)).unwrap_or(u64::MAX)).max(1);
    // One sum for each record, put together without order: parts come one after the other.
    let (mut sum, mut count) = (0_u64, 0_u64);
    for part in 0..parts {
        let mut last = LastOffsets::new(&hasher, part, parts);
        each_record(reader, from, until, |offset, record| {
            if let Some(key) = &record.key {
                last.note(key, offset);
            }
        })?;
        each_record(reader, from, until, |offset, record| {
            let is_newest = match &record.key {
                Some(key) => last.of(key) == Some(offset) && record.value.is_some(),
                None => part == 0,
            };
            if is_newest {
                sum = sum.wrapping_add(record_sum(offset, record));
                count += 1;
            }
        })?;
    }
    let bytes = [sum.to_be_bytes(), count.to_be_bytes()].concat();
    Ok(crc32c::crc32c(&bytes))
}

/// 64 bits of a record with its place, the same on every replica.
fn record_sum(offset: Offset, record: &Record) -> u64 {
    let mut bytes = offset.get().to_be_bytes().to_vec();
    bytes.extend(record.timestamp.get().to_be_bytes());
    let mut put = |field: Option<&[u8]>| {
        let length = field.map_or(-1, |field| i64::try_from(field.len()).unwrap_or(i64::MAX));
        bytes.extend(length.to_be_bytes());
        bytes.extend(field.unwrap_or_default());
    };
    put(record.key.as_deref());
    put(record.value.as_deref());
    for header in &record.headers {
        put(Some(header.key().as_bytes()));
        put(header.value().map(|value| &value[..]));
    }
    // Spread, so that two differences do not cancel out in the sum.
    u64::from(crc32c::crc32c(&bytes)).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Walks over the records of a range. A batch that nobody can look into stands for its own, as one
/// record without a key.
fn each_record(
    reader: &SegmentReader,
    from: Offset,
    until: Offset,
    mut take: impl FnMut(Offset, &Record),
) -> Result<(), ReadError> {
    let mut at = from;
    while at < until {
        let batches = reader.read(at, until, READ_BYTES)?;
        for bytes in batches {
            let batch = ValidatedBatch::parse(bytes).expect("a stored batch was checked");
            let base = batch.header().base_offset;
            at = base.plus(batch.record_count().into());
            match contents::plain(&batch) {
                Some(section) => {
                    for (offset, record) in batch.records_of(section).flatten() {
                        if offset >= from && offset < until {
                            take(offset, &record);
                        }
                    }
                }
                None => {
                    let value = Some(batch.section());
                    take(base, &Record { value, ..Record::default() });
                }
            }
        }
    }
    Ok(())
}
