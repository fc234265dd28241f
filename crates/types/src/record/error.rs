//! What can be wrong with records: on the way in and on the way out.

use std::fmt;

use super::Codec;
use crate::{ErrorCode, TimestampMs};

/// A part of a record, named in errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordField {
    /// Length of the whole record.
    Length,
    /// Record attributes.
    Attributes,
    /// Timestamp minus the batch's base timestamp.
    TimestampDelta,
    /// Offset minus the batch's base offset.
    OffsetDelta,
    /// The key or its length.
    Key,
    /// The value or its length.
    Value,
    /// Number of headers.
    HeaderCount,
    /// A header's key or its length.
    HeaderKey,
    /// A header's value or its length.
    HeaderValue,
}

impl fmt::Display for RecordField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Length => "record length",
            Self::Attributes => "record attributes",
            Self::TimestampDelta => "timestamp delta",
            Self::OffsetDelta => "offset delta",
            Self::Key => "key",
            Self::Value => "value",
            Self::HeaderCount => "header count",
            Self::HeaderKey => "header key",
            Self::HeaderValue => "header value",
        })
    }
}

/// Why the records of a batch cannot be decoded. `position` counts bytes from the first record,
/// after decompression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The records must be decompressed first.
    #[error("records are compressed with {codec}; decompress them first")]
    Compressed {
        /// The batch's codec.
        codec: Codec,
    },
    /// The bytes end inside a field.
    #[error("{field} at byte {position} needs {needed} bytes, {available} are left")]
    Truncated {
        /// Where the field starts.
        position: usize,
        /// The field.
        field: RecordField,
        /// Bytes it asks for.
        needed: usize,
        /// Bytes that are left, of the record or of the batch.
        available: usize,
    },
    /// A varint does not end where it must.
    #[error("varint of {field} at byte {position} is longer than {bytes_max} bytes")]
    VarintTooLong {
        /// Where the varint starts.
        position: usize,
        /// The field.
        field: RecordField,
        /// Longest varint of this field.
        bytes_max: usize,
    },
    /// A varint has more bits than its field.
    #[error("varint of {field} at byte {position} overflows")]
    VarintOverflow {
        /// Where the varint starts.
        position: usize,
        /// The field.
        field: RecordField,
    },
    /// A length or count below zero (below −1 where null is allowed).
    #[error("{field} at byte {position} has the negative length {length}")]
    NegativeLength {
        /// Where the length starts.
        position: usize,
        /// The field.
        field: RecordField,
        /// The length.
        length: i32,
    },
    /// A record has bytes after its last header.
    #[error("record at byte {position} declares {declared} bytes but uses {used}")]
    RecordLength {
        /// Where the record starts.
        position: usize,
        /// Bytes its length field announces.
        declared: usize,
        /// Bytes its fields take.
        used: usize,
    },
    /// Offset deltas are not 0, 1, 2, …
    #[error("offset delta at byte {position} is {found}, expected {expected}")]
    OffsetDelta {
        /// Where the delta starts.
        position: usize,
        /// The record's place in its batch.
        expected: i32,
        /// The delta found.
        found: i32,
    },
    /// A timestamp before 1970 or above the batch's largest.
    #[error("timestamp delta {delta} at byte {position} leaves the range 0 to {max}")]
    Timestamp {
        /// Where the delta starts.
        position: usize,
        /// The delta found.
        delta: i64,
        /// Largest timestamp of the batch.
        max: TimestampMs,
    },
    /// Record attributes nobody assigned.
    #[error("record attributes {attributes:#04x} at byte {position} have bits without meaning")]
    Attributes {
        /// Where the attributes are.
        position: usize,
        /// The byte found.
        attributes: u8,
    },
    /// More headers than the limit.
    #[error("{count} headers at byte {position} are above the limit of {limit}")]
    TooManyHeaders {
        /// Where the count starts.
        position: usize,
        /// The count found.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// A header's key is not UTF-8.
    #[error("header key at byte {position} is not UTF-8")]
    HeaderKeyUtf8 {
        /// Where the key starts.
        position: usize,
    },
    /// The batch has more bytes than its records.
    #[error("{count} records end at byte {position}, {trailing} bytes follow")]
    TrailingBytes {
        /// Where the last record ends.
        position: usize,
        /// The batch's record count.
        count: i32,
        /// Bytes that follow.
        trailing: usize,
    },
    /// The batch has fewer records than its count says.
    #[error("records end at byte {position} after {found} of {count}")]
    TooFewRecords {
        /// Where the bytes end.
        position: usize,
        /// The batch's record count.
        count: i32,
        /// Records found.
        found: i32,
    },
}

impl RecordError {
    /// The stable code of this refusal.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Timestamp { .. } => ErrorCode::InvalidTimestamp,
            Self::Compressed { .. } => ErrorCode::UnsupportedCodec,
            Self::Truncated { .. }
            | Self::VarintTooLong { .. }
            | Self::VarintOverflow { .. }
            | Self::NegativeLength { .. }
            | Self::RecordLength { .. }
            | Self::OffsetDelta { .. }
            | Self::Attributes { .. }
            | Self::TooManyHeaders { .. }
            | Self::HeaderKeyUtf8 { .. }
            | Self::TrailingBytes { .. }
            | Self::TooFewRecords { .. } => ErrorCode::CorruptBatch,
        }
    }
}

/// Why a record cannot join a batch. The batch is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// The batch would hold more bytes than a reader accepts.
    #[error("batch would have {actual} bytes, the limit is {limit}")]
    TooLarge {
        /// Bytes with the record.
        actual: usize,
        /// The limit.
        limit: usize,
    },
    /// The batch holds as many records as it may.
    #[error("batch has {limit} records, which is the limit")]
    TooManyRecords {
        /// The limit.
        limit: u32,
    },
    /// The record has more headers than it may.
    #[error("record has {actual} headers, the limit is {limit}")]
    TooManyHeaders {
        /// Headers of the record.
        actual: usize,
        /// The limit.
        limit: usize,
    },
    /// The record is from before 1970.
    #[error("timestamp {timestamp} is before 1970")]
    Timestamp {
        /// The record's timestamp.
        timestamp: TimestampMs,
    },
}

impl PushError {
    /// The stable code of this refusal.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::TooLarge { .. } | Self::TooManyRecords { .. } | Self::TooManyHeaders { .. } => {
                ErrorCode::RecordTooLarge
            }
            Self::Timestamp { .. } => ErrorCode::InvalidTimestamp,
        }
    }
}
