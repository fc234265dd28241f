//! The last place where bytes are doubted.

use bytes::{Bytes, BytesMut};

use super::gaps::BATCH_HAS_GAPS;
use super::header::{BatchHeader, Codec, HEADER_BYTES, MAGIC, TimestampType, at};
use crate::{
    ErrorCode, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs, limits,
};

const LENGTH_PREFIX: usize = BatchHeader::LENGTH_PREFIX_BYTES;
/// Bytes of the smallest record: length, attributes, two deltas, two null fields, no header.
const RECORD_BYTES_MIN: usize = 7;
/// Attribute bits with a meaning: codec, timestamp type, transactional, control, delete horizon,
/// gaps.
const KNOWN_ATTRIBUTES: i16 = 0x7F | BATCH_HAS_GAPS;
/// Those of them that no producer sets: all but the codec.
const SYSTEM_ATTRIBUTES: i16 = KNOWN_ATTRIBUTES & !0x07;

/// A batch whose layout, counts and checksum were checked. The records inside are not decoded.
#[derive(Clone, Debug)]
pub struct ValidatedBatch {
    bytes: Bytes,
    header: BatchHeader,
}

/// Why bytes are not a record batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidBatch {
    /// Fewer bytes than a header.
    #[error("a record batch has {actual} bytes, a header alone has {HEADER_BYTES}")]
    Short {
        /// Bytes that came.
        actual: usize,
    },
    /// The length field and the bytes disagree.
    #[error("batch length says {declared} bytes in all, {actual} came")]
    Length {
        /// Bytes the length field asks for, itself included.
        declared: i64,
        /// Bytes that came.
        actual: usize,
    },
    /// Not format 2.
    #[error("batch format (magic) {found} is not supported; send format 2")]
    Magic {
        /// The format byte.
        found: u8,
    },
    /// The checksum does not match.
    #[error("batch checksum is {found:#010x}, the bytes give {expected:#010x}")]
    Checksum {
        /// Computed here.
        expected: u32,
        /// In the header.
        found: u32,
    },
    /// A codec nobody assigned.
    #[error("compression codec {bits} is unknown; use none, gzip, snappy, lz4 or zstd")]
    UnknownCodec {
        /// Attribute bits 0–2.
        bits: i16,
    },
    /// Attribute bits nobody assigned.
    #[error("attributes {attributes:#06x} have bits without meaning")]
    Attributes {
        /// All attribute bits.
        attributes: i16,
    },
    /// Count and offset delta contradict each other, or the count is not positive.
    #[error("record count {count} and last offset delta {last_offset_delta} do not fit together")]
    Count {
        /// The count field.
        count: i32,
        /// The delta field.
        last_offset_delta: i32,
    },
    /// More records than bytes or than the limit allows.
    #[error("record count {count} is above the limit of {limit}")]
    TooManyRecords {
        /// The count field.
        count: i32,
        /// What is allowed here.
        limit: u32,
    },
    /// Timestamps contradict each other or lie before 1970.
    #[error("timestamps are not valid: first {base}, largest {max}")]
    Timestamps {
        /// Timestamp of the first record.
        base: TimestampMs,
        /// Largest timestamp.
        max: TimestampMs,
    },
    /// Producer id, epoch and sequence are not all set or all unset.
    #[error("producer id {id}, epoch {epoch} and sequence {sequence} must be set together")]
    Producer {
        /// Producer id.
        id: i64,
        /// Producer epoch.
        epoch: i16,
        /// First sequence.
        sequence: i32,
    },
    /// A timestamp too far ahead of the leader's clock.
    #[error("timestamp {max} is ahead of {latest}, the latest one accepted now")]
    FutureTimestamp {
        /// Largest timestamp of the batch.
        max: TimestampMs,
        /// The leader's clock plus the tolerance.
        latest: TimestampMs,
    },
    /// Attributes that only the system sets: transactional, control, log-append time, delete
    /// horizon, gaps.
    #[error(
        "transactional, control, log-append-time, delete-horizon and compacted batches are not \
         accepted from producers"
    )]
    NotAllowed,
}

impl InvalidBatch {
    /// The stable code of this refusal.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Magic { .. } | Self::UnknownCodec { .. } => ErrorCode::UnsupportedCodec,
            Self::Timestamps { .. } | Self::FutureTimestamp { .. } => ErrorCode::InvalidTimestamp,
            Self::Short { .. }
            | Self::Length { .. }
            | Self::Checksum { .. }
            | Self::Attributes { .. }
            | Self::Count { .. }
            | Self::TooManyRecords { .. }
            | Self::Producer { .. }
            | Self::NotAllowed => ErrorCode::CorruptBatch,
        }
    }
}

impl ValidatedBatch {
    /// Checks that `bytes` are exactly one well-formed batch, checksum included.
    ///
    /// # Errors
    /// [`InvalidBatch`] names the field and what was expected.
    pub fn parse(bytes: Bytes) -> Result<Self, InvalidBatch> {
        let header =
            BatchHeader::decode(&bytes).ok_or(InvalidBatch::Short { actual: bytes.len() })?;
        check_frame(&bytes, &header)?;
        check_fields(&bytes, &header)?;
        let expected = crc32c::crc32c(&bytes[at::ATTRIBUTES..]);
        if expected != header.crc {
            return Err(InvalidBatch::Checksum { expected, found: header.crc });
        }
        Ok(Self { bytes, header })
    }

    /// Checks the first batch of `bytes` and splits it off; what follows stays.
    ///
    /// # Errors
    /// As [`Self::parse`]; `bytes` is then unchanged.
    pub fn split_first(bytes: &mut Bytes) -> Result<Self, InvalidBatch> {
        let header =
            BatchHeader::decode(bytes).ok_or(InvalidBatch::Short { actual: bytes.len() })?;
        let declared = i64::from(header.batch_length) + LENGTH_PREFIX as i64;
        let length = usize::try_from(declared)
            .ok()
            .filter(|length| (HEADER_BYTES..=bytes.len()).contains(length))
            .ok_or(InvalidBatch::Length { declared, actual: bytes.len() })?;
        let batch = Self::parse(bytes.slice(..length))?;
        let _ = bytes.split_to(length);
        Ok(batch)
    }

    /// What a producer may send beyond a well-formed batch: users' records only, none more than
    /// [`limits::TIMESTAMP_AHEAD_MS_MAX`] ahead of the leader's clock `now`.
    ///
    /// # Errors
    /// [`InvalidBatch::NotAllowed`], [`InvalidBatch::FutureTimestamp`].
    pub fn check_from_producer(&self, now: TimestampMs) -> Result<(), InvalidBatch> {
        if self.header.attributes & SYSTEM_ATTRIBUTES != 0 {
            return Err(InvalidBatch::NotAllowed);
        }
        let latest = now.get().saturating_add(limits::TIMESTAMP_AHEAD_MS_MAX);
        let (max, latest) = (self.header.max_timestamp, TimestampMs::new(latest));
        if max > latest { Err(InvalidBatch::FutureTimestamp { max, latest }) } else { Ok(()) }
    }

    /// The batch's bytes as they came.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The decoded header.
    #[must_use]
    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// How the records are compressed.
    #[must_use]
    pub fn codec(&self) -> Codec {
        self.header.codec().expect("checked known")
    }

    /// Number of records, hence of offsets.
    #[must_use]
    pub fn record_count(&self) -> u32 {
        u32::try_from(self.header.record_count).expect("checked positive")
    }

    /// The 16 first bytes with base offset and leader epoch set: the only ones that change at
    /// apply. The rest of the stored batch is `bytes()[16..]`.
    #[must_use]
    pub fn stamped_prefix(&self, base: Offset, epoch: LeaderEpoch) -> [u8; 16] {
        let mut prefix = [0; 16];
        prefix[..8].copy_from_slice(&base.get().to_be_bytes());
        prefix[8..12].copy_from_slice(&self.bytes[8..12]);
        prefix[12..].copy_from_slice(&epoch.get().to_be_bytes());
        prefix
    }

    /// The batch with the leader's time in every record (timestamp type log-append).
    #[must_use]
    pub fn with_log_append_time(&self, now: TimestampMs) -> Self {
        let attributes = self.header.attributes | 0x08;
        let mut batch = self.clone();
        batch.rewrite(BatchHeader { attributes, max_timestamp: now, ..self.header });
        batch
    }

    /// Sets the idempotent producer: a client does so once, when the batch leaves for the broker,
    /// so that a retry sends the same bytes. −1 in all three means none.
    ///
    /// Copies the batch only when its bytes are shared.
    ///
    /// # Errors
    /// [`InvalidBatch::Producer`] unless the three are all set or all unset.
    pub fn set_producer(
        &mut self,
        id: ProducerId,
        epoch: ProducerEpoch,
        base_sequence: Sequence,
    ) -> Result<(), InvalidBatch> {
        let header =
            BatchHeader { producer_id: id, producer_epoch: epoch, base_sequence, ..self.header };
        check_producer(&header)?;
        self.rewrite(header);
        Ok(())
    }

    /// A batch that was made here, correct by construction.
    pub(super) fn built(bytes: Bytes, header: BatchHeader) -> Self {
        debug_assert_eq!(
            Self::parse(bytes.clone()).map(|batch| batch.header),
            Ok(header),
            "a built batch passes the check"
        );
        Self { bytes, header }
    }

    /// Replaces the header, with a fresh checksum.
    fn rewrite(&mut self, header: BatchHeader) {
        let mut bytes = std::mem::take(&mut self.bytes)
            .try_into_mut()
            .unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        header.encode_into(&mut bytes);
        let crc = BatchHeader::seal_checksum(&mut bytes);
        self.bytes = bytes.freeze();
        self.header = BatchHeader { crc, ..header };
    }
}

fn check_frame(bytes: &Bytes, header: &BatchHeader) -> Result<(), InvalidBatch> {
    if bytes[at::MAGIC] != MAGIC {
        return Err(InvalidBatch::Magic { found: bytes[at::MAGIC] });
    }
    let declared = i64::from(header.batch_length) + LENGTH_PREFIX as i64;
    if i64::try_from(bytes.len()) != Ok(declared) {
        return Err(InvalidBatch::Length { declared, actual: bytes.len() });
    }
    Ok(())
}

fn check_fields(bytes: &Bytes, header: &BatchHeader) -> Result<(), InvalidBatch> {
    let BatchHeader { attributes, record_count, last_offset_delta, .. } = *header;
    let Some(codec) = Codec::from_bits(attributes) else {
        return Err(InvalidBatch::UnknownCodec { bits: attributes & 0x07 });
    };
    if attributes & !KNOWN_ATTRIBUTES != 0 {
        return Err(InvalidBatch::Attributes { attributes });
    }
    if record_count < 1 || last_offset_delta != record_count - 1 {
        return Err(InvalidBatch::Count { count: record_count, last_offset_delta });
    }
    check_record_count(bytes.len(), codec, record_count)?;
    let (base, max) = (header.base_timestamp, header.max_timestamp);
    let is_create = header.timestamp_type() == TimestampType::Create;
    if max.get() < 0 || (is_create && (base.get() < 0 || base > max)) {
        return Err(InvalidBatch::Timestamps { base, max });
    }
    check_producer(header)
}

/// A plain record takes at least 7 bytes, so a count beyond that is a lie.
fn check_record_count(bytes: usize, codec: Codec, count: i32) -> Result<(), InvalidBatch> {
    let by_bytes = match codec {
        Codec::None => u32::try_from((bytes - HEADER_BYTES) / RECORD_BYTES_MIN).unwrap_or(u32::MAX),
        Codec::Gzip | Codec::Snappy | Codec::Lz4 | Codec::Zstd => u32::MAX,
    };
    let limit = limits::BATCH_RECORDS_MAX.min(by_bytes);
    if u32::try_from(count).is_ok_and(|count| count <= limit) {
        Ok(())
    } else {
        Err(InvalidBatch::TooManyRecords { count, limit })
    }
}

fn check_producer(header: &BatchHeader) -> Result<(), InvalidBatch> {
    let id = header.producer_id.get();
    let epoch = header.producer_epoch.get();
    let sequence = header.base_sequence.get();
    let is_unset = id == -1 && epoch == -1 && sequence == -1;
    let is_set = id >= 0 && epoch >= 0 && sequence >= 0;
    if is_unset || is_set { Ok(()) } else { Err(InvalidBatch::Producer { id, epoch, sequence }) }
}
