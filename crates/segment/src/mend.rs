//! Mending a damaged segment with a sound copy of its batches, as another replica has them.

use std::sync::Arc;

use quipu_types::record::ValidatedBatch;
use quipu_types::{LeaderEpoch, Offset};

use crate::error::{FileFailure, ReadError};
use crate::metrics;
use crate::reader::SegmentReader;
use crate::rewrite::Rewrite;

/// Why a copy does not mend a segment; that one stays as it was.
#[derive(Debug, thiserror::Error)]
pub enum MendError {
    /// The copy does not continue where it should.
    #[error("the copy goes on at offset {found}, not at {expected}")]
    Gap {
        /// What is next in the segment.
        expected: Offset,
        /// What came.
        found: Offset,
    },
    /// The copy is another log: the same batches have the same bytes on every replica.
    #[error("the copy has {found} bytes, the segment has {expected}")]
    Size {
        /// Bytes of the segment.
        expected: u64,
        /// Bytes of the copy.
        found: u64,
    },
    /// Leader epochs never fall.
    #[error("the copy's batch at offset {at} is of epoch {found}, the one before of {before}")]
    Epoch {
        /// Its offset.
        at: Offset,
        /// The epoch of the batch before.
        before: LeaderEpoch,
        /// Its own.
        found: LeaderEpoch,
    },
    /// What is to be kept of this replica cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] FileFailure),
}

/// A sound copy of one segment, as far as it has come.
///
/// The copy may come from a replica that is not trusted more than this one: every batch was checked
/// by whoever made a [`ValidatedBatch`] of it, and here it must continue the one before, end where
/// the segment ends, and be as long.
pub struct Mend {
    reader: SegmentReader,
    rewrite: Rewrite,
    next: Offset,
}

impl SegmentReader {
    /// Begins to mend the segment that holds `at`. `None`: it is gone, or it is not sealed as of a
    /// durable checkpoint, and a restart may yet cut it.
    ///
    /// Not together with compaction, nor twice at a time.
    ///
    /// # Errors
    /// The file that cannot be made.
    pub fn mend(&self, at: Offset) -> Result<Option<Mend>, MendError> {
        let (view, settled) = (self.view(), self.settled());
        let holds = |base: Offset, next: Offset| base <= at && at < next && next <= settled;
        let Some(damaged) = view.sealed.iter().find(|it| holds(it.base, it.next)) else {
            return Ok(None);
        };
        let rewrite = Rewrite::begin(Arc::clone(damaged))?;
        Ok(Some(Mend { reader: self.clone(), next: damaged.base, rewrite }))
    }
}

impl Mend {
    /// The offsets that are still to come; none once the copy is whole.
    #[must_use]
    pub fn missing(&self) -> Option<(Offset, Offset)> {
        let end = self.rewrite.old().next;
        (self.next < end).then_some((self.next, end))
    }

    /// Takes the next batch of the copy. Batches behind the segment's end are left aside.
    ///
    /// # Errors
    /// [`MendError::Gap`] when it is not the next one, or reaches over the segment's end.
    pub fn put(&mut self, batch: &ValidatedBatch) -> Result<(), MendError> {
        let Some((expected, end)) = self.missing() else { return Ok(()) };
        let found = batch.header().base_offset;
        let next = found.plus(batch.record_count().into());
        if found != expected || next > end {
            return Err(MendError::Gap { expected, found });
        }
        self.rewrite.put(batch)?;
        self.next = next;
        Ok(())
    }

    /// Puts the copy in the damaged segment's place. False: that one went meanwhile.
    ///
    /// # Errors
    /// [`MendError`]; after a crash the segment is as it was, or mended.
    pub fn finish(self) -> Result<bool, MendError> {
        if let Some((expected, found)) = self.missing() {
            return Err(MendError::Gap { expected, found });
        }
        let (old, found) = (self.rewrite.old(), self.rewrite.bytes());
        // A segment too damaged to tell its youngest record may be cut short as well.
        if old.max_timestamp.is_some() && found != old.bytes {
            return Err(MendError::Size { expected: old.bytes, found });
        }
        let is_done = self.rewrite.install(&self.reader)?;
        metrics::count_mended(u64::from(is_done));
        Ok(is_done)
    }
}
