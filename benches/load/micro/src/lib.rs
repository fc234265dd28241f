//! What costs what inside a node: `cargo xtask bench micro`.
//!
//! Each bench prints a time per batch and bytes per second for the sizes of batches that matter;
//! K and k of a whole cluster come from `cargo xtask bench`, these say where they go.

use bytes::Bytes;
use quipu_types::TimestampMs;
use quipu_types::record::{BatchBuilder, Record, ValidatedBatch};

/// Sizes of batches, in bytes of values.
pub const BATCH_SIZES: [usize; 4] = [1 << 10, 4 << 10, 64 << 10, 256 << 10];

/// Bytes of a record's value.
pub const VALUE_BYTES: usize = 1 << 10;

/// Records of 1 KiB that do not compress.
#[must_use]
pub fn records(bytes: usize) -> Vec<Record> {
    let record = |number: usize| {
        let value = Some(noise(VALUE_BYTES, number));
        Record { timestamp: TimestampMs::new(1_000), value, ..Record::default() }
    };
    (0..bytes / VALUE_BYTES).map(record).collect()
}

/// A batch of them.
///
/// # Panics
/// Never: records of 1 KiB fit.
#[must_use]
pub fn batch(records: &[Record]) -> ValidatedBatch {
    let mut builder = BatchBuilder::new(TimestampMs::new(1_000));
    for record in records {
        builder.push(record).expect("records of 1 KiB fit");
    }
    builder.finish_plain()
}

/// Bytes that do not compress.
#[must_use]
pub fn noise(bytes: usize, seed: usize) -> Bytes {
    let mut state = (seed as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut word = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut out = Vec::with_capacity(bytes + 8);
    while out.len() < bytes {
        out.extend(word());
    }
    out.truncate(bytes);
    out.into()
}
