//! Segments as retention sees them.

use std::sync::Arc;

use quipu_types::{Offset, TimestampMs};

use crate::error::ReadError;
use crate::reader::SegmentReader;

/// A segment as retention sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Its first offset.
    pub base: Offset,
    /// The offset behind its last.
    pub next: Offset,
    /// Bytes of its log.
    pub bytes: u64,
    /// Its largest timestamp; `None` when it is not known: too damaged to tell, or the segment grows
    /// and was not read since the start.
    pub max_timestamp: Option<TimestampMs>,
    /// Whether it does not grow any more.
    pub is_sealed: bool,
}

impl SegmentReader {
    /// All segments that hold something, oldest first.
    #[must_use]
    pub fn extents(&self) -> Vec<Extent> {
        let view = self.view();
        let sealed = view.sealed.iter().map(|sealed| Extent {
            base: sealed.base,
            next: sealed.next,
            bytes: sealed.bytes,
            max_timestamp: sealed.max_timestamp,
            is_sealed: true,
        });
        let active = {
            let state = view.active.read();
            (state.bytes > 0).then(|| Extent {
                base: view.active.base,
                next: state.next,
                bytes: state.bytes,
                max_timestamp: state.max_timestamp(),
                is_sealed: false,
            })
        };
        sealed.chain(active).collect()
    }

    /// Finds out how young the segment that grows is, should nobody know since the start: reads it
    /// whole, once.
    ///
    /// # Errors
    /// [`ReadError`] as of any read.
    pub fn index_growing(&self) -> Result<(), ReadError> {
        let active = Arc::clone(&self.view().active);
        active.index_up_to(active.base)
    }
}
