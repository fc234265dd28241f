//! Builds batches: the one place where records become bytes.

use bytes::{BufMut, Bytes, BytesMut};

use super::header::{BatchHeader, Codec, HEADER_BYTES, TimestampType};
use super::validate::ValidatedBatch;
use super::{PushError, Record, varint};
use crate::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs, limits};

/// Gathers records and makes one batch of them.
///
/// - Order: offsets follow the order of [`Self::push`].
/// - Units: sizes are bytes of the whole batch before compression, its header included.
/// - The batch has base offset 0, leader epoch −1 and no producer; see
///   [`ValidatedBatch::set_producer`] and [`ValidatedBatch::stamped_prefix`].
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    /// The header's place, then the records.
    plain: Vec<u8>,
    base_timestamp: TimestampMs,
    max_timestamp: TimestampMs,
    count: u32,
}

impl BatchBuilder {
    /// An empty batch. Timestamps are stored relative to `base_timestamp`, usually the first
    /// record's; before 1970 counts as 1970.
    #[must_use]
    pub fn new(base_timestamp: TimestampMs) -> Self {
        Self::with_capacity(base_timestamp, 0)
    }

    /// As [`Self::new`], with room for a batch of `bytes`.
    #[must_use]
    pub fn with_capacity(base_timestamp: TimestampMs, bytes: usize) -> Self {
        let mut plain = Vec::with_capacity(bytes.max(HEADER_BYTES));
        plain.resize(HEADER_BYTES, 0);
        let base_timestamp = base_timestamp.max(TimestampMs::new(0));
        Self { plain, base_timestamp, max_timestamp: base_timestamp, count: 0 }
    }

    /// Number of records.
    #[must_use]
    pub const fn record_count(&self) -> u32 {
        self.count
    }

    /// Whether there is no record yet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the batch if it were finished plain now.
    #[must_use]
    pub const fn size_bytes(&self) -> usize {
        self.plain.len()
    }

    /// Bytes of the batch with `record` added: ask before [`Self::push`] to keep a limit.
    #[must_use]
    pub fn size_bytes_with(&self, record: &Record) -> usize {
        let body = self.body_bytes(record);
        self.plain.len() + varint::len(as_i64(body)) + body
    }

    /// Adds a record.
    ///
    /// # Errors
    /// [`PushError`] names the limit; the batch is then unchanged. The limits here are those of
    /// every reader; a topic's own limit is the caller's.
    pub fn push(&mut self, record: &Record) -> Result<(), PushError> {
        self.check(record)?;
        let body = self.body_bytes(record);
        let end = self.plain.len() + varint::len(as_i64(body)) + body;
        let out = &mut self.plain;
        varint::put(out, as_i64(body));
        out.push(0);
        varint::put(out, record.timestamp.get() - self.base_timestamp.get());
        varint::put(out, i64::from(self.count));
        put_bytes(out, record.key.as_ref());
        put_bytes(out, record.value.as_ref());
        varint::put(out, as_i64(record.headers.len()));
        for header in &record.headers {
            varint::put(out, as_i64(header.key().len()));
            out.extend_from_slice(header.key().as_bytes());
            put_bytes(out, header.value());
        }
        assert_eq!(out.len(), end, "computed and written size of a record agree");
        self.max_timestamp = self.max_timestamp.max(record.timestamp);
        self.count += 1;
        Ok(())
    }

    /// The batch, uncompressed.
    ///
    /// # Panics
    /// When there is no record: an empty batch has no meaning on the wire.
    #[must_use]
    pub fn finish_plain(self) -> ValidatedBatch {
        let header = self.header(Codec::None);
        seal(header, BytesMut::from(Bytes::from(self.plain)))
    }

    /// The batch, its records put through `compress`. When that does not make them smaller, the
    /// batch stays plain: readers then save the work.
    ///
    /// # Errors
    /// Whatever `compress` returns.
    ///
    /// # Panics
    /// When there is no record: an empty batch has no meaning on the wire.
    pub fn finish<E>(
        self,
        codec: Codec,
        compress: impl FnOnce(&[u8]) -> Result<Bytes, E>,
    ) -> Result<ValidatedBatch, E> {
        if codec == Codec::None {
            return Ok(self.finish_plain());
        }
        let plain = &self.plain[HEADER_BYTES..];
        let compressed = compress(plain)?;
        if compressed.len() >= plain.len() {
            return Ok(self.finish_plain());
        }
        let mut bytes = BytesMut::with_capacity(HEADER_BYTES + compressed.len());
        bytes.put_bytes(0, HEADER_BYTES);
        bytes.extend_from_slice(&compressed);
        Ok(seal(self.header(codec), bytes))
    }

    fn check(&self, record: &Record) -> Result<(), PushError> {
        if self.count >= limits::BATCH_RECORDS_MAX {
            return Err(PushError::TooManyRecords { limit: limits::BATCH_RECORDS_MAX });
        }
        let (actual, limit) = (record.headers.len(), limits::RECORD_HEADERS_MAX);
        if actual > limit {
            return Err(PushError::TooManyHeaders { actual, limit });
        }
        if record.timestamp.get() < 0 {
            return Err(PushError::Timestamp { timestamp: record.timestamp });
        }
        let (actual, limit) = (self.size_bytes_with(record), limits::DECOMPRESSED_BYTES_MAX);
        if actual > limit {
            return Err(PushError::TooLarge { actual, limit });
        }
        Ok(())
    }

    /// Bytes of a record after its length field.
    fn body_bytes(&self, record: &Record) -> usize {
        let delta = record.timestamp.get().wrapping_sub(self.base_timestamp.get());
        let headers: usize = record
            .headers
            .iter()
            .map(|header| {
                let key = header.key().len();
                varint::len(as_i64(key)) + key + bytes_len(header.value())
            })
            .sum();
        1 + varint::len(delta)
            + varint::len(i64::from(self.count))
            + bytes_len(record.key.as_ref())
            + bytes_len(record.value.as_ref())
            + varint::len(as_i64(record.headers.len()))
            + headers
    }

    /// The header; length and checksum are filled in by [`seal`].
    fn header(&self, codec: Codec) -> BatchHeader {
        assert!(self.count > 0, "a batch has at least one record");
        let count = i32::try_from(self.count).expect("bounded by BATCH_RECORDS_MAX");
        BatchHeader {
            base_offset: Offset::ZERO,
            batch_length: 0,
            leader_epoch: LeaderEpoch::new(-1),
            crc: 0,
            attributes: BatchHeader::attributes(codec, TimestampType::Create),
            last_offset_delta: count - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: ProducerId::new(-1),
            producer_epoch: ProducerEpoch::new(-1),
            base_sequence: Sequence::new(-1),
            record_count: count,
        }
    }
}

/// Writes the header into the first bytes, with the length and the checksum.
fn seal(header: BatchHeader, mut bytes: BytesMut) -> ValidatedBatch {
    let batch_length = i32::try_from(bytes.len() - BatchHeader::LENGTH_PREFIX_BYTES)
        .expect("bounded by DECOMPRESSED_BYTES_MAX");
    let mut header = BatchHeader { batch_length, ..header };
    header.encode_into(&mut bytes);
    header.crc = BatchHeader::seal_checksum(&mut bytes);
    ValidatedBatch::built(bytes.freeze(), header)
}

fn bytes_len(bytes: Option<&Bytes>) -> usize {
    bytes.map_or(1, |bytes| varint::len(as_i64(bytes.len())) + bytes.len())
}

fn put_bytes(out: &mut Vec<u8>, bytes: Option<&Bytes>) {
    match bytes {
        None => varint::put(out, -1),
        Some(bytes) => {
            varint::put(out, as_i64(bytes.len()));
            out.extend_from_slice(bytes);
        }
    }
}

fn as_i64(length: usize) -> i64 {
    i64::try_from(length).expect("no buffer is longer than isize::MAX")
}

const _: () = assert!(limits::DECOMPRESSED_BYTES_MAX < i32::MAX as usize);
