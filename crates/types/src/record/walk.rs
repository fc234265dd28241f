//! Walks over the bytes of records with every bound checked; allocates nothing.

use std::ops::Range;

use super::gaps::RECORD_IS_GAP;
use super::varint::{self, InvalidVarint};
use super::{BatchHeader, RecordError, RecordField, TimestampType};
use crate::limits::RECORD_HEADERS_MAX;

/// Where the fields of one record lie, in bytes from the first record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RecordLayout {
    pub(super) is_gap: bool,
    pub(super) offset_delta: i32,
    pub(super) timestamp_delta: i64,
    pub(super) key: Option<Range<usize>>,
    pub(super) value: Option<Range<usize>>,
    pub(super) header_count: usize,
    /// The headers' bytes: read them with [`Walk::header`].
    pub(super) headers_start: usize,
}

/// A place within one record of a batch.
#[derive(Clone, Debug)]
pub(super) struct Walk<'a> {
    bytes: &'a [u8],
    position: usize,
    /// No field may reach beyond: the end of the record, once its length was read.
    end: usize,
}

impl<'a> Walk<'a> {
    pub(super) const fn new(bytes: &'a [u8], position: usize) -> Self {
        Self { bytes, position, end: bytes.len() }
    }

    pub(super) const fn position(&self) -> usize {
        self.position
    }

    /// Reads the record with number `index` of its batch, headers included. Once per walk.
    pub(super) fn record(
        &mut self,
        batch: &BatchHeader,
        index: i32,
    ) -> Result<RecordLayout, RecordError> {
        let start = self.position;
        let declared = self.length(RecordField::Length)?;
        let body = self.position;
        self.end = body + self.need(RecordField::Length, start, declared)?;
        let is_gap = self.attributes(batch)?;
        let timestamp_delta = self.timestamp_delta(batch)?;
        let offset_delta = self.offset_delta(index)?;
        let key = self.nullable(RecordField::Key)?;
        let value = self.nullable(RecordField::Value)?;
        let header_count = self.header_count()?;
        let headers_start = self.position;
        for _ in 0..header_count {
            self.header()?;
        }
        let used = self.position - body;
        if used != declared {
            return Err(RecordError::RecordLength { position: start, declared, used });
        }
        Ok(RecordLayout {
            is_gap,
            offset_delta,
            timestamp_delta,
            key,
            value,
            header_count,
            headers_start,
        })
    }

    /// Reads one header: where its key and its value lie.
    pub(super) fn header(&mut self) -> Result<(Range<usize>, Option<Range<usize>>), RecordError> {
        let start = self.position;
        let length = self.length(RecordField::HeaderKey)?;
        let key = self.take(RecordField::HeaderKey, start, length)?;
        if std::str::from_utf8(&self.bytes[key.clone()]).is_err() {
            return Err(RecordError::HeaderKeyUtf8 { position: key.start });
        }
        Ok((key, self.nullable(RecordField::HeaderValue)?))
    }

    /// Says whether the record is a gap.
    fn attributes(&mut self, batch: &BatchHeader) -> Result<bool, RecordError> {
        let at = self.take(RecordField::Attributes, self.position, 1)?.start;
        match self.bytes[at] {
            0 => Ok(false),
            RECORD_IS_GAP if batch.has_gaps() => Ok(true),
            attributes => Err(RecordError::Attributes { position: at, attributes }),
        }
    }

    /// With the leader's time in every record, the producer's deltas have no meaning.
    fn timestamp_delta(&mut self, batch: &BatchHeader) -> Result<i64, RecordError> {
        let position = self.position;
        let delta =
            self.varint(RecordField::TimestampDelta, varint::get_i64, varint::BYTES_MAX_I64)?;
        let (base, max) = (batch.base_timestamp.get(), batch.max_timestamp);
        let is_within = base.checked_add(delta).is_some_and(|at| (0..=max.get()).contains(&at));
        if is_within || batch.timestamp_type() == TimestampType::LogAppend {
            Ok(delta)
        } else {
            Err(RecordError::Timestamp { position, delta, max })
        }
    }

    fn offset_delta(&mut self, expected: i32) -> Result<i32, RecordError> {
        let position = self.position;
        let found = self.int(RecordField::OffsetDelta)?;
        if found == expected {
            Ok(found)
        } else {
            Err(RecordError::OffsetDelta { position, expected, found })
        }
    }

    fn header_count(&mut self) -> Result<usize, RecordError> {
        let position = self.position;
        let count = self.length(RecordField::HeaderCount)?;
        if count > RECORD_HEADERS_MAX {
            return Err(RecordError::TooManyHeaders { position, count, limit: RECORD_HEADERS_MAX });
        }
        Ok(count)
    }

    /// A length or count that must not be negative.
    fn length(&mut self, field: RecordField) -> Result<usize, RecordError> {
        let position = self.position;
        let length = self.int(field)?;
        usize::try_from(length).map_err(|_| RecordError::NegativeLength { position, field, length })
    }

    /// Bytes after their length, where −1 means null.
    fn nullable(&mut self, field: RecordField) -> Result<Option<Range<usize>>, RecordError> {
        let position = self.position;
        match self.int(field)? {
            -1 => Ok(None),
            length => {
                let wanted = usize::try_from(length).map_err(|_| RecordError::NegativeLength {
                    position,
                    field,
                    length,
                })?;
                self.take(field, position, wanted).map(Some)
            }
        }
    }

    fn int(&mut self, field: RecordField) -> Result<i32, RecordError> {
        self.varint(field, varint::get_i32, varint::BYTES_MAX_I32)
    }

    fn varint<T>(
        &mut self,
        field: RecordField,
        get: impl FnOnce(&[u8]) -> Result<(T, usize), InvalidVarint>,
        bytes_max: usize,
    ) -> Result<T, RecordError> {
        let position = self.position;
        let available = self.end - position;
        match get(&self.bytes[position..self.end]) {
            Ok((value, length)) => {
                self.position += length;
                Ok(value)
            }
            Err(InvalidVarint::Truncated) => {
                let needed = available + 1;
                Err(RecordError::Truncated { position, field, needed, available })
            }
            Err(InvalidVarint::TooLong) => {
                Err(RecordError::VarintTooLong { position, field, bytes_max })
            }
            Err(InvalidVarint::Overflow) => Err(RecordError::VarintOverflow { position, field }),
        }
    }

    /// Passes over `length` bytes of a field that started at `start`.
    fn take(
        &mut self,
        field: RecordField,
        start: usize,
        length: usize,
    ) -> Result<Range<usize>, RecordError> {
        let from = self.position;
        self.position += self.need(field, start, length)?;
        Ok(from..self.position)
    }

    /// Checks that `needed` bytes are left.
    fn need(
        &self,
        field: RecordField,
        position: usize,
        needed: usize,
    ) -> Result<usize, RecordError> {
        let available = self.end - self.position;
        if needed <= available {
            Ok(needed)
        } else {
            Err(RecordError::Truncated { position, field, needed, available })
        }
    }
}
