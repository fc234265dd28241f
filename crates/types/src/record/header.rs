//! The 61 bytes before the records.

use std::fmt;

use super::gaps::BATCH_HAS_GAPS;
use crate::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs};

/// Bytes of the header: records start here.
pub const HEADER_BYTES: usize = 61;

/// Where each field of the header starts; the table in `docs/formats/record-batch.md`.
pub(super) mod at {
    pub(in super::super) const BASE_OFFSET: usize = 0;
    pub(in super::super) const BATCH_LENGTH: usize = 8;
    pub(in super::super) const LEADER_EPOCH: usize = 12;
    pub(in super::super) const MAGIC: usize = 16;
    pub(in super::super) const CRC: usize = 17;
    pub(in super::super) const ATTRIBUTES: usize = 21;
    pub(in super::super) const LAST_OFFSET_DELTA: usize = 23;
    pub(in super::super) const BASE_TIMESTAMP: usize = 27;
    pub(in super::super) const MAX_TIMESTAMP: usize = 35;
    pub(in super::super) const PRODUCER_ID: usize = 43;
    pub(in super::super) const PRODUCER_EPOCH: usize = 51;
    pub(in super::super) const BASE_SEQUENCE: usize = 53;
    pub(in super::super) const RECORD_COUNT: usize = 57;
}

/// The format byte of this layout.
pub(super) const MAGIC: u8 = 2;

/// How the records of a batch are compressed (attribute bits 0–2). Persisted; never reuse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Plain records.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// Snappy, xerial-framed or raw.
    Snappy,
    /// LZ4 frame.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl Codec {
    /// The codec of the attribute bits.
    #[must_use]
    pub const fn from_bits(bits: i16) -> Option<Self> {
        match bits & 0x07 {
            0 => Some(Self::None),
            1 => Some(Self::Gzip),
            2 => Some(Self::Snappy),
            3 => Some(Self::Lz4),
            4 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The attribute bits of the codec.
    #[must_use]
    pub const fn bits(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        })
    }
}

/// Who set the timestamps (attribute bit 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TimestampType {
    /// The producer.
    #[default]
    Create,
    /// The leader, on append: every record of the batch has `max_timestamp`.
    LogAppend,
}

/// The header's fields, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Bytes after the length field: whole batch minus 12.
    pub batch_length: i32,
    /// Leadership that appended it; outside the checksum.
    pub leader_epoch: LeaderEpoch,
    /// CRC32C over everything from the attributes on.
    pub crc: u32,
    /// Codec, timestamp type, transactional, control, delete horizon, gaps.
    pub attributes: i16,
    /// Offset of the last record minus the base offset.
    pub last_offset_delta: i32,
    /// Timestamp of the first record.
    pub base_timestamp: TimestampMs,
    /// Largest timestamp of the batch.
    pub max_timestamp: TimestampMs,
    /// Idempotent producer, −1 for none.
    pub producer_id: ProducerId,
    /// Its epoch, −1 for none.
    pub producer_epoch: ProducerEpoch,
    /// Sequence of the first record, −1 for none.
    pub base_sequence: Sequence,
    /// Number of records.
    pub record_count: i32,
}

impl BatchHeader {
    /// Bytes up to the end of the length field: not counted by `batch_length`.
    pub const LENGTH_PREFIX_BYTES: usize = 12;

    /// Attribute bits of a codec and a timestamp type, all others zero.
    #[must_use]
    pub const fn attributes(codec: Codec, timestamp_type: TimestampType) -> i16 {
        match timestamp_type {
            TimestampType::Create => codec.bits(),
            TimestampType::LogAppend => codec.bits() | 0x08,
        }
    }

    /// Writes all fields, `crc` included, into the first 61 bytes of `out`.
    ///
    /// # Panics
    /// When `out` is shorter.
    pub fn encode_into(&self, out: &mut [u8]) {
        put(out, at::BASE_OFFSET, self.base_offset.get().to_be_bytes());
        put(out, at::BATCH_LENGTH, self.batch_length.to_be_bytes());
        put(out, at::LEADER_EPOCH, self.leader_epoch.get().to_be_bytes());
        put(out, at::MAGIC, [MAGIC]);
        put(out, at::CRC, self.crc.to_be_bytes());
        put(out, at::ATTRIBUTES, self.attributes.to_be_bytes());
        put(out, at::LAST_OFFSET_DELTA, self.last_offset_delta.to_be_bytes());
        put(out, at::BASE_TIMESTAMP, self.base_timestamp.get().to_be_bytes());
        put(out, at::MAX_TIMESTAMP, self.max_timestamp.get().to_be_bytes());
        put(out, at::PRODUCER_ID, self.producer_id.get().to_be_bytes());
        put(out, at::PRODUCER_EPOCH, self.producer_epoch.get().to_be_bytes());
        put(out, at::BASE_SEQUENCE, self.base_sequence.get().to_be_bytes());
        put(out, at::RECORD_COUNT, self.record_count.to_be_bytes());
    }

    /// Computes the checksum of a whole batch, writes it into its field and returns it.
    ///
    /// # Panics
    /// When `batch` is shorter than a header.
    pub fn seal_checksum(batch: &mut [u8]) -> u32 {
        let crc = crc32c::crc32c(&batch[at::ATTRIBUTES..]);
        put(batch, at::CRC, crc.to_be_bytes());
        crc
    }

    /// Decodes the first 61 bytes; checks nothing but that they are there.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..HEADER_BYTES)?;
        Some(Self {
            base_offset: Offset::new(u64::from_be_bytes(field(bytes, at::BASE_OFFSET))),
            batch_length: i32::from_be_bytes(field(bytes, at::BATCH_LENGTH)),
            leader_epoch: LeaderEpoch::new(i32::from_be_bytes(field(bytes, at::LEADER_EPOCH))),
            crc: u32::from_be_bytes(field(bytes, at::CRC)),
            attributes: i16::from_be_bytes(field(bytes, at::ATTRIBUTES)),
            last_offset_delta: i32::from_be_bytes(field(bytes, at::LAST_OFFSET_DELTA)),
            base_timestamp: TimestampMs::new(i64::from_be_bytes(field(bytes, at::BASE_TIMESTAMP))),
            max_timestamp: TimestampMs::new(i64::from_be_bytes(field(bytes, at::MAX_TIMESTAMP))),
            producer_id: ProducerId::new(i64::from_be_bytes(field(bytes, at::PRODUCER_ID))),
            producer_epoch: ProducerEpoch::new(i16::from_be_bytes(field(
                bytes,
                at::PRODUCER_EPOCH,
            ))),
            base_sequence: Sequence::new(i32::from_be_bytes(field(bytes, at::BASE_SEQUENCE))),
            record_count: i32::from_be_bytes(field(bytes, at::RECORD_COUNT)),
        })
    }

    /// How the records are compressed; `None` for bits nobody assigned.
    #[must_use]
    pub const fn codec(&self) -> Option<Codec> {
        Codec::from_bits(self.attributes)
    }

    /// Who set the timestamps.
    #[must_use]
    pub const fn timestamp_type(&self) -> TimestampType {
        if self.attributes & 0x08 == 0 { TimestampType::Create } else { TimestampType::LogAppend }
    }

    /// Whether the batch belongs to a transaction.
    #[must_use]
    pub const fn is_transactional(&self) -> bool {
        self.attributes & 0x10 != 0
    }

    /// Whether the batch is a marker of the system rather than users' records.
    #[must_use]
    pub const fn is_control(&self) -> bool {
        self.attributes & 0x20 != 0
    }

    /// Whether records may have gaps between them: what compaction left.
    #[must_use]
    pub const fn has_gaps(&self) -> bool {
        self.attributes & BATCH_HAS_GAPS != 0
    }

    /// Whether the producer is idempotent.
    #[must_use]
    pub const fn is_idempotent(&self) -> bool {
        self.producer_id.get() >= 0
    }
}

fn put<const N: usize>(out: &mut [u8], at: usize, bytes: [u8; N]) {
    out[at..at + N].copy_from_slice(&bytes);
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the slice has N bytes")
}
