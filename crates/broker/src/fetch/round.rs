//! One partition being read on, round by round.

use bytes::Bytes;
use quipu_partition::PartitionHandle;
use quipu_types::record::BatchHeader;
use quipu_types::{Offset, Progress, ShardId};
use tokio::sync::watch;

use super::{FetchError, FetchedBatches};

/// What a fetch needs of a partition: a seam, so that its rounds are tested alone.
pub(crate) trait Readable: Send + 'static {
    fn watch(&self) -> watch::Receiver<Progress>;
    /// Whole batches from `from` on, at least one; blocks.
    fn read(&self, from: Offset, bytes_max: usize) -> Result<Vec<Bytes>, FetchError>;
}

impl Readable for PartitionHandle {
    fn watch(&self) -> watch::Receiver<Progress> {
        Self::watch(self)
    }

    fn read(&self, from: Offset, bytes_max: usize) -> Result<Vec<Bytes>, FetchError> {
        Self::read(self, from, bytes_max).map_err(|error| FetchError::from_read(&error, from))
    }
}

/// A partition and what was read of it so far.
pub(crate) struct Reader<R> {
    pub(super) shard: ShardId,
    pub(super) watch: watch::Receiver<Progress>,
    source: R,
    /// The offset to read next.
    next: Offset,
    bytes_max: usize,
    /// Bounds at first sight, and at the last.
    first_seen: Progress,
    seen: Progress,
    batches: Vec<Bytes>,
    bytes: usize,
    /// The last read stopped short of the end: what follows does not fit any more.
    is_full: bool,
}

impl<R: Readable> Reader<R> {
    pub(super) fn new(shard: ShardId, source: R, from: Offset, bytes_max: usize) -> Self {
        let watch = source.watch();
        let seen = *watch.borrow();
        Self {
            shard,
            watch,
            source,
            next: from,
            bytes_max,
            first_seen: seen,
            seen,
            batches: Vec::new(),
            bytes: 0,
            is_full: false,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Takes note of the bounds; what moves later wakes the wait.
    pub(super) fn survey(&mut self) -> Result<(), FetchError> {
        self.seen = *self.watch.borrow_and_update();
        let (log_start, high_watermark) = (self.seen.log_start(), self.seen.high_watermark());
        let is_within = log_start <= self.next && self.next <= high_watermark;
        // What was read before the log start moved is served all the same.
        if is_within || !self.is_empty() {
            Ok(())
        } else {
            Err(FetchError::OffsetOutOfRange { asked: self.next, log_start, high_watermark })
        }
    }

    pub(super) fn has_work(&self) -> bool {
        let is_readable =
            self.seen.log_start() <= self.next && self.next < self.seen.high_watermark();
        is_readable && (self.bytes < self.bytes_max || self.is_empty())
    }

    /// Reads on within `left` bytes; beyond them only the first batch of the whole answer.
    /// Returns the bytes read.
    pub(super) fn read(&mut self, left: usize, is_first: bool) -> Result<usize, FetchError> {
        let limit = left.min(self.bytes_max.saturating_sub(self.bytes));
        if !self.has_work() {
            return Ok(0);
        }
        if limit == 0 && !is_first {
            self.is_full = true;
            return Ok(0);
        }
        let second = self.next.plus(1);
        if second < self.seen.high_watermark()
            && quipu_failpoint::is_planted("plant.fetch.one-late")
        {
            self.next = second;
        }
        let mut read = 0;
        for batch in self.source.read(self.next, limit.max(1))? {
            let is_owed = is_first && read == 0;
            if read + batch.len() > limit && !is_owed {
                break;
            }
            self.next = end_of(&batch).unwrap_or(self.next);
            read += batch.len();
            self.batches.push(batch);
        }
        self.bytes += read;
        self.is_full = self.next < self.seen.high_watermark();
        if self.next > self.seen.high_watermark() {
            // More was published before the read than before the look; the wait is still to see it.
            self.seen = *self.watch.borrow();
        }
        Ok(read)
    }

    /// What goes into the answer; `None` when there is nothing to tell.
    pub(super) fn finish(self) -> Option<FetchedBatches> {
        let is_news = !self.batches.is_empty() || self.seen != self.first_seen;
        is_news.then_some(FetchedBatches { progress: self.seen, batches: self.batches })
    }
}

/// The offset after the last batch of some that lie back to back.
fn end_of(mut batches: &[u8]) -> Option<Offset> {
    let mut end = None;
    while let Some(header) = BatchHeader::decode(batches) {
        let count = u64::try_from(header.record_count).ok()?;
        end = Some(header.base_offset.plus(count));
        let length = usize::try_from(header.batch_length).ok()?;
        batches = batches.get(BatchHeader::LENGTH_PREFIX_BYTES + length..)?;
    }
    end
}
