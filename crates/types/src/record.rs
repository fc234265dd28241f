//! The record batch: Kafka's RecordBatch v2, the one format from client to disk to consumer (D1).
//!
//! Byte table: `docs/formats/record-batch.md`. `base_offset` and `leader_epoch` lie outside the
//! checksum, so the broker assigns them without touching the rest.

mod header;
mod validate;

pub use header::{BatchHeader, Codec, TimestampType, HEADER_BYTES};
pub use validate::{InvalidBatch, ValidatedBatch};
