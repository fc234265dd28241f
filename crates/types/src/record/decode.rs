//! Records out of a batch, without copying: keys, values and headers are slices of its bytes.

use std::iter::FusedIterator;
use std::ops::Range;

use bytes::Bytes;

use super::walk::{RecordLayout, Walk};
use super::{BatchHeader, Codec, Record, RecordError, RecordHeader, TimestampType, ValidatedBatch};
use crate::{Offset, TimestampMs};

/// The records of one batch with their offsets, in order; gaps are passed over.
///
/// Ends after the last record or after the first error. Every error of the batch shows up: also
/// bytes that follow the last record, or a count that is too high.
#[derive(Clone, Debug)]
pub struct RecordsIter {
    header: BatchHeader,
    /// The records, decompressed.
    section: Bytes,
    position: usize,
    index: i32,
    is_done: bool,
}

impl RecordsIter {
    /// The records of `section`, which are the decompressed bytes after the header of `batch`.
    #[must_use]
    pub const fn new(header: BatchHeader, section: Bytes) -> Self {
        Self { header, section, position: 0, index: 0, is_done: false }
    }

    fn read(&mut self) -> Result<Option<(Offset, Record)>, RecordError> {
        let layout = loop {
            let next = next_layout(&self.header, &self.section, self.position, self.index)?;
            let Some((layout, end)) = next else { return Ok(None) };
            self.position = end;
            self.index += 1;
            if !layout.is_gap {
                break layout;
            }
        };
        let record = self.record(&layout)?;
        let delta = u64::try_from(layout.offset_delta).expect("checked to be the index");
        Ok(Some((self.header.base_offset.plus(delta), record)))
    }

    fn record(&self, layout: &RecordLayout) -> Result<Record, RecordError> {
        let slice = |range: &Range<usize>| self.section.slice(range.clone());
        let mut walk = Walk::new(&self.section, layout.headers_start);
        let mut headers = Vec::with_capacity(layout.header_count);
        for _ in 0..layout.header_count {
            let (key, value) = walk.header()?;
            let header = RecordHeader::from_stored(slice(&key), value.as_ref().map(slice));
            headers.push(header.ok_or(RecordError::HeaderKeyUtf8 { position: key.start })?);
        }
        Ok(Record {
            timestamp: timestamp(&self.header, layout.timestamp_delta),
            key: layout.key.as_ref().map(slice),
            value: layout.value.as_ref().map(slice),
            headers,
        })
    }
}

impl Iterator for RecordsIter {
    type Item = Result<(Offset, Record), RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done {
            return None;
        }
        let item = self.read().transpose();
        self.is_done = !matches!(item, Some(Ok(_)));
        item
    }
}

impl FusedIterator for RecordsIter {}

impl ValidatedBatch {
    /// The bytes after the header, as stored: compressed with the header's codec.
    #[must_use]
    pub fn section(&self) -> Bytes {
        self.bytes().slice(super::HEADER_BYTES..)
    }

    /// The records of a plain batch.
    ///
    /// # Errors
    /// [`RecordError::Compressed`]: then decompress [`Self::section`] and ask
    /// [`Self::records_of`].
    pub fn records(&self) -> Result<RecordsIter, RecordError> {
        self.plain_section().map(|section| self.records_of(section))
    }

    /// The records of this batch, given its decompressed section.
    #[must_use]
    pub fn records_of(&self, section: Bytes) -> RecordsIter {
        RecordsIter::new(*self.header(), section)
    }

    /// Checks every record of a plain batch without decoding: what [`Self::records`] would refuse
    /// is refused here, allocating nothing.
    ///
    /// # Errors
    /// As the records'; [`RecordError::Compressed`] when they cannot be looked at.
    pub fn check_records(&self) -> Result<(), RecordError> {
        self.check_records_of(&self.plain_section()?)
    }

    /// As [`Self::check_records`], given the decompressed section.
    ///
    /// # Errors
    /// As the records'.
    pub fn check_records_of(&self, section: &[u8]) -> Result<(), RecordError> {
        let (mut position, mut index) = (0, 0);
        while let Some((_, end)) = next_layout(self.header(), section, position, index)? {
            position = end;
            index += 1;
        }
        Ok(())
    }

    fn plain_section(&self) -> Result<Bytes, RecordError> {
        match self.codec() {
            Codec::None => Ok(self.section()),
            codec @ (Codec::Gzip | Codec::Snappy | Codec::Lz4 | Codec::Zstd) => {
                Err(RecordError::Compressed { codec })
            }
        }
    }
}

/// Reads the record at `position`: its layout and where it ends; `None` after the last.
pub(super) fn next_layout(
    header: &BatchHeader,
    section: &[u8],
    position: usize,
    index: i32,
) -> Result<Option<(RecordLayout, usize)>, RecordError> {
    let count = header.record_count;
    let trailing = section.len() - position;
    match (index < count, trailing) {
        (false, 0) => Ok(None),
        (false, _) => Err(RecordError::TrailingBytes { position, count, trailing }),
        (true, 0) => Err(RecordError::TooFewRecords { position, count, found: index }),
        (true, _) => {
            let mut walk = Walk::new(section, position);
            let layout = walk.record(header, index)?;
            Ok(Some((layout, walk.position())))
        }
    }
}

fn timestamp(header: &BatchHeader, delta: i64) -> TimestampMs {
    match header.timestamp_type() {
        TimestampType::LogAppend => header.max_timestamp,
        TimestampType::Create => TimestampMs::new(header.base_timestamp.get() + delta),
    }
}
