//! The 61 bytes before the records.

use crate::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs};

/// Bytes of the header: records start here.
pub const HEADER_BYTES: usize = 61;

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
    /// Codec, timestamp type, transactional, control, delete horizon.
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
    /// Decodes the first 61 bytes; checks nothing but that they are there.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..HEADER_BYTES)?;
        Some(Self {
            base_offset: Offset::new(u64::from_be_bytes(field(bytes, 0))),
            batch_length: i32::from_be_bytes(field(bytes, 8)),
            leader_epoch: LeaderEpoch::new(i32::from_be_bytes(field(bytes, 12))),
            crc: u32::from_be_bytes(field(bytes, 17)),
            attributes: i16::from_be_bytes(field(bytes, 21)),
            last_offset_delta: i32::from_be_bytes(field(bytes, 23)),
            base_timestamp: TimestampMs::new(i64::from_be_bytes(field(bytes, 27))),
            max_timestamp: TimestampMs::new(i64::from_be_bytes(field(bytes, 35))),
            producer_id: ProducerId::new(i64::from_be_bytes(field(bytes, 43))),
            producer_epoch: ProducerEpoch::new(i16::from_be_bytes(field(bytes, 51))),
            base_sequence: Sequence::new(i32::from_be_bytes(field(bytes, 53))),
            record_count: i32::from_be_bytes(field(bytes, 57)),
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

    /// Whether the producer is idempotent.
    #[must_use]
    pub const fn is_idempotent(&self) -> bool {
        self.producer_id.get() >= 0
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the slice has N bytes")
}
