//! Decompressed bytes, bounded: every allocation of this module goes through here.

use bytes::Bytes;

/// Smallest first allocation.
const CAPACITY_MIN: usize = 4 << 10;

/// More bytes came than the limit allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// Grows like a vector, but never beyond its limit.
#[derive(Debug)]
pub(super) struct Output {
    bytes: Vec<u8>,
    limit: usize,
}

impl Output {
    /// Empty, with room for `expected` bytes if the limit allows.
    pub(super) fn new(expected: usize, limit: usize) -> Self {
        Self { bytes: Vec::with_capacity(expected.max(CAPACITY_MIN).min(limit)), limit }
    }

    pub(super) const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes that may still come.
    pub(super) const fn room(&self) -> usize {
        self.limit - self.bytes.len()
    }

    pub(super) fn extend(&mut self, bytes: &[u8]) -> Result<(), Full> {
        self.reserve(bytes.len())?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// What came so far, and `length` bytes more to write into; [`Self::truncate`] what was not
    /// needed.
    pub(super) fn grow(&mut self, length: usize) -> Result<(&[u8], &mut [u8]), Full> {
        self.reserve(length)?;
        let start = self.bytes.len();
        self.bytes.resize(start + length, 0);
        let (before, fresh) = self.bytes.split_at_mut(start);
        Ok((before, fresh))
    }

    pub(super) fn truncate(&mut self, length: usize) {
        self.bytes.truncate(length);
    }

    /// Doubles, up to the limit: a vector left to itself could take twice the limit.
    fn reserve(&mut self, more: usize) -> Result<(), Full> {
        if more > self.room() {
            return Err(Full);
        }
        let (needed, capacity) = (self.bytes.len() + more, self.bytes.capacity());
        if needed > capacity {
            let target = needed.max(capacity.saturating_mul(2)).min(self.limit);
            self.bytes.reserve_exact(target - self.bytes.len());
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Bytes {
        shrunk(self.bytes)
    }
}

/// Shares a vector, giving memory back when most of it is unused: a reader may keep one record of
/// it for long.
pub(super) fn shrunk(mut bytes: Vec<u8>) -> Bytes {
    if bytes.capacity() > bytes.len() + bytes.len() / 4 + 64 {
        bytes.shrink_to_fit();
    }
    Bytes::from(bytes)
}
