//! A segment that does not change any more.

use std::sync::Arc;

use quipu_types::{Offset, TimestampMs};

use crate::error::{Corruption, FileFailure, ReadError};
use crate::index::SparseIndex;
use crate::index_file::{self, Summary};
use crate::metrics;
use crate::open_files::{OpenFile, SegmentFile};
use crate::scan;
use crate::window::{READ_ON_BYTES, Window};

/// A segment that does not change any more.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) base: Offset,
    pub(crate) next: Offset,
    /// Bytes of the log file.
    pub(crate) bytes: u64,
    /// Largest timestamp; `None` when the segment is too damaged to tell.
    pub(crate) max_timestamp: Option<TimestampMs>,
    pub(crate) file: Arc<SegmentFile>,
    pub(crate) interval: u64,
}

impl Sealed {
    /// The file, open for reading, and its index.
    pub(crate) fn open(&self) -> Result<(Arc<OpenFile>, Arc<SparseIndex>), ReadError> {
        let open = self.file.open().map_err(|error| self.failure("open", error))?;
        let index = match open.index.get() {
            Some(index) => Arc::clone(index),
            None => {
                let index = Arc::new(self.load_index(&open)?);
                Arc::clone(open.index.get_or_init(|| index))
            }
        };
        Ok((open, index))
    }

    /// The index from its files, or from the log.
    fn load_index(&self, open: &OpenFile) -> Result<SparseIndex, ReadError> {
        let path = self.file.path();
        if let Some(summary) = self.summary() {
            let read = index_file::read(self.file.disk(), path, &summary)
                .map_err(|error| self.failure("read the index of", error))?;
            if let Some(index) = read {
                return Ok(index);
            }
        }
        tracing::warn!(segment = %path.display(), "index is missing or damaged, rebuilding it");
        self.rebuild_index(open)
    }

    /// Walks over the whole log.
    pub(crate) fn rebuild_index(&self, open: &OpenFile) -> Result<SparseIndex, ReadError> {
        metrics::count_index_rebuilt();
        let mut window = Window::new(&*open.file, self.file.path(), self.bytes, READ_ON_BYTES);
        let (index, next) = scan::index_all(&mut window, self.base, self.interval)?;
        if next != self.next {
            let ends = (self.next.get(), next.get());
            return Err(Corruption::new(self.file.path(), self.bytes, "end offset", ends).into());
        }
        Ok(index)
    }

    /// The same segment once more.
    pub(crate) fn copy(&self) -> Self {
        let Self { base, next, bytes, max_timestamp, interval, .. } = *self;
        Self { base, next, bytes, max_timestamp, file: Arc::clone(&self.file), interval }
    }

    pub(crate) fn summary(&self) -> Option<Summary> {
        let Self { base, next, bytes, max_timestamp, .. } = *self;
        max_timestamp.map(|max_timestamp| Summary { base, next, bytes, max_timestamp })
    }

    fn failure(&self, doing: &'static str, error: std::io::Error) -> FileFailure {
        FileFailure::new(doing, self.file.path(), error)
    }
}
