//! Reading a file front to back with few large reads.

use std::path::Path;

use bytes::{Bytes, BytesMut};
use quipu_disk::DiskFile;

use crate::error::{Corruption, FileFailure, ReadError};

/// Bytes read at once where nobody knows how many are wanted.
pub(crate) const READ_ON_BYTES: usize = 64 << 10;

/// A view of a file up to a fixed end; what it hands out are slices of one buffer.
pub(crate) struct Window<'a> {
    file: &'a dyn DiskFile,
    path: &'a Path,
    end: u64,
    /// Bytes to read at once, at least; after the first read not many.
    ahead: usize,
    start: u64,
    bytes: Bytes,
}

impl<'a> Window<'a> {
    pub(crate) fn new(file: &'a dyn DiskFile, path: &'a Path, end: u64, ahead: usize) -> Self {
        Self { file, path, end, ahead, start: 0, bytes: Bytes::new() }
    }

    pub(crate) fn path(&self) -> &'a Path {
        self.path
    }

    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// `length` bytes at `at`, which end before the end.
    pub(crate) fn get(&mut self, at: u64, length: usize) -> Result<Bytes, ReadError> {
        if !self.covers(at, length) {
            self.fill(at, length)?;
        }
        let skip = to_usize(at - self.start);
        Ok(self.bytes.slice(skip..skip + length))
    }

    fn covers(&self, at: u64, length: usize) -> bool {
        at >= self.start && at + widen(length) <= self.start + widen(self.bytes.len())
    }

    fn fill(&mut self, at: u64, length: usize) -> Result<(), ReadError> {
        assert!(at + widen(length) <= self.end, "a read beyond the end of the log");
        let wanted = length.max(self.ahead).min(to_usize(self.end - at));
        let mut buffer = BytesMut::zeroed(wanted);
        let count = self
            .file
            .read_at(&mut buffer, at)
            .map_err(|error| FileFailure::new("read", self.path, error))?;
        if count < length {
            let sizes = (at + widen(length), at + widen(count));
            return Err(Corruption::new(self.path, at, "file length", sizes).into());
        }
        buffer.truncate(count);
        self.start = at;
        self.bytes = buffer.freeze();
        self.ahead = self.ahead.min(READ_ON_BYTES);
        Ok(())
    }
}

/// A length in memory as a position.
pub(crate) fn widen(length: usize) -> u64 {
    u64::try_from(length).expect("a length in memory fits in 64 bits")
}

/// A distance within a segment as a length in memory.
pub(crate) fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).expect("segments are below 4 GiB and pointers have 64 bits")
}
