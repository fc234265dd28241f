//! Walking over the batches of a file, header by header.

use bytes::Bytes;
use quipu_types::Offset;
use quipu_types::record::{BatchHeader, HEADER_BYTES};

use crate::error::{Corruption, ReadError};
use crate::index::{SparseIndex, StoredPlace};
use crate::window::{Window, to_usize, widen};

/// Where the checksum's range starts: the attributes.
const CHECKED_FROM: usize = 21;
const MAGIC_AT: usize = 16;
const MAGIC: u8 = 2;

/// A batch whose header fits to what is before it. Its records are not checked yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) header: BatchHeader,
    pub(crate) position: u64,
    /// Bytes of the whole batch.
    pub(crate) length: usize,
    /// The offset after its last record.
    pub(crate) next: Offset,
}

impl Found {
    /// Where the next batch begins.
    pub(crate) fn end(&self) -> u64 {
        self.position + widen(self.length)
    }

    pub(crate) fn place(&self) -> StoredPlace {
        StoredPlace {
            offset: self.header.base_offset,
            position: self.position,
            epoch: self.header.leader_epoch,
            max_timestamp: self.header.max_timestamp,
        }
    }
}

/// Finds the batch at `position`, which must begin with the offset `expected`.
pub(crate) fn find(
    window: &mut Window<'_>,
    position: u64,
    expected: Offset,
) -> Result<Found, ReadError> {
    let path = window.path();
    let damage = |field, values| ReadError::from(Corruption::new(path, position, field, values));
    let left = window.end() - position;
    if left < widen(HEADER_BYTES) {
        return Err(damage("bytes of a batch header", (widen(HEADER_BYTES), left)));
    }
    let bytes = window.get(position, HEADER_BYTES)?;
    let header = BatchHeader::decode(&bytes).expect("a header's bytes were read");
    if header.base_offset != expected {
        return Err(damage("base offset", (expected.get(), header.base_offset.get())));
    }
    if bytes[MAGIC_AT] != MAGIC {
        return Err(damage("magic", (MAGIC.into(), bytes[MAGIC_AT].into())));
    }
    let count = u64::try_from(header.record_count).unwrap_or(0);
    if count == 0 || header.last_offset_delta != header.record_count - 1 {
        let delta = u64::try_from(header.last_offset_delta).unwrap_or(u64::MAX);
        return Err(damage("record count", (delta.wrapping_add(1), count)));
    }
    let declared = i64::from(header.batch_length) + widen_prefix();
    let length = u64::try_from(declared).unwrap_or(0);
    if length < widen(HEADER_BYTES) || length > left {
        return Err(damage("batch length", (left, length)));
    }
    let length = to_usize(length);
    Ok(Found { header, position, length, next: expected.plus(count) })
}

/// The bytes of a batch, checksum and leader epoch checked.
pub(crate) fn verified(
    window: &mut Window<'_>,
    found: &Found,
    index: &SparseIndex,
) -> Result<Bytes, ReadError> {
    let (path, header) = (window.path(), &found.header);
    let damage = |field, values| Corruption::new(path, found.position, field, values);
    let bytes = window.get(found.position, found.length)?;
    let computed = crc32c::crc32c(&bytes[CHECKED_FROM..]);
    if computed != header.crc {
        return Err(damage("checksum", (computed.into(), header.crc.into())).into());
    }
    // The only bytes outside of the checksum that nothing else pins down.
    let stored_under = index.epoch_of(header.base_offset);
    if stored_under.is_some_and(|epoch| epoch != header.leader_epoch) {
        let expected = stored_under.map_or(0, |epoch| i64::from(epoch.get()));
        let found = i64::from(header.leader_epoch.get());
        let values = (expected.cast_unsigned(), found.cast_unsigned());
        return Err(damage("leader epoch", values).into());
    }
    Ok(bytes)
}

/// Indexes the batches from `base` on up to the window's end; gives the offset after the last.
pub(crate) fn index_all(
    window: &mut Window<'_>,
    base: Offset,
    interval: u64,
) -> Result<(SparseIndex, Offset), ReadError> {
    let mut index = SparseIndex::default();
    let (mut position, mut next) = (0, base);
    while position < window.end() {
        let found = find(window, position, next)?;
        index.push(found.place(), interval);
        (position, next) = (found.end(), found.next);
    }
    Ok((index, next))
}

fn widen_prefix() -> i64 {
    i64::try_from(BatchHeader::LENGTH_PREFIX_BYTES).expect("twelve")
}
