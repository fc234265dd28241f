//! The record batch: Kafka's RecordBatch v2, the one format from client to disk to consumer (D1).
//!
//! Byte table: `docs/formats/record-batch.md`. `base_offset` and `leader_epoch` lie outside the
//! checksum, so the broker assigns them without touching the rest.
//!
//! A producer fills a [`BatchBuilder`] and gets a [`ValidatedBatch`]; everybody between checks the
//! bytes once with [`ValidatedBatch::parse`]; a reader takes [`ValidatedBatch::records`].

mod builder;
mod decode;
mod error;
mod fields;
mod gaps;
mod header;
mod validate;
mod varint;
mod walk;

pub use builder::BatchBuilder;
pub use decode::RecordsIter;
pub use error::{PushError, RecordError, RecordField};
pub use fields::{Record, RecordHeader};
pub use header::{BatchHeader, Codec, HEADER_BYTES, TimestampType};
pub use validate::{InvalidBatch, ValidatedBatch};
