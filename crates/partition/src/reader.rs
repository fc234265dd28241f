//! A partition as its readers see it.

use bytes::Bytes;
use quipu_segment::{
    CompactionReport, CompactionRule, Extent, Mend, MendError, Prefix, SegmentReader,
};
use quipu_types::{Offset, PartitionId, Progress, TimestampMs};
use tokio::sync::watch;

use crate::error::ReadError;
use crate::retention::{self, Cut, Limits};

/// Reads a partition. Clones are cheap and never wait for apply; calls block on the disk.
#[derive(Clone, Debug)]
pub struct PartitionHandle {
    id: PartitionId,
    published: watch::Receiver<Progress>,
    log: SegmentReader,
}

impl PartitionHandle {
    pub(crate) fn new(
        id: PartitionId,
        published: watch::Receiver<Progress>,
        log: SegmentReader,
    ) -> Self {
        Self { id, published, log }
    }

    /// Which partition this is.
    #[must_use]
    pub fn id(&self) -> PartitionId {
        self.id
    }

    /// How far readers may see.
    #[must_use]
    pub fn progress(&self) -> Progress {
        *self.published.borrow()
    }

    /// Wakes when more may be seen; closed when the partition is.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Progress> {
        self.published.clone()
    }

    /// Whole stored batches from the one that holds `from` on, below the published high watermark.
    ///
    /// At least one, even above `bytes_max`; none when `from` is the high watermark. The first one
    /// may begin before `from`, even before the log start: readers skip those records.
    ///
    /// # Errors
    /// [`ReadError::OffsetOutOfRange`] below the log start and above the high watermark.
    pub fn read(&self, from: Offset, bytes_max: usize) -> Result<Vec<Bytes>, ReadError> {
        let progress = self.progress();
        if from < progress.log_start() || from > progress.high_watermark() {
            return Err(out_of_range(from, progress));
        }
        let read = self.log.read(from, progress.high_watermark(), bytes_max);
        read.map_err(|error| self.explain(error, from))
    }

    /// As [`Self::read`], from memory alone: `None` when the disk would be needed. Never blocks, so
    /// that readers at the end need no thread.
    ///
    /// # Errors
    /// [`ReadError::OffsetOutOfRange`] as there.
    pub fn read_in_memory(
        &self,
        from: Offset,
        bytes_max: usize,
    ) -> Result<Option<Vec<Bytes>>, ReadError> {
        let progress = self.progress();
        if from < progress.log_start() || from > progress.high_watermark() {
            return Err(out_of_range(from, progress));
        }
        if from == progress.high_watermark() {
            return Ok(Some(Vec::new()));
        }
        Ok(self.log.read_in_memory(from, progress.high_watermark(), bytes_max))
    }

    /// The first record that is not older than `at`, and its timestamp; `None` when every record is
    /// older.
    ///
    /// Compressed batches are not opened: of those, the batch's first offset and its largest
    /// timestamp.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn offset_for_timestamp(
        &self,
        at: TimestampMs,
    ) -> Result<Option<(Offset, TimestampMs)>, ReadError> {
        let progress = self.progress();
        let (from, until) = (progress.log_start(), progress.high_watermark());
        let found = self.log.offset_for_timestamp(at, from, until);
        found.map_err(|error| self.explain(error, from))
    }

    /// CRC32C of everything a reader can see: equal on replicas with equal progress.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn checksum(&self) -> Result<(Progress, u32), ReadError> {
        let progress = self.progress();
        let (from, until) = (progress.log_start(), progress.high_watermark());
        let crc = self.log.checksum(from, until).map_err(|error| self.explain(error, from))?;
        Ok((progress, crc))
    }

    /// As [`Self::checksum`] of a partition that is compacted: over the newest record of each key
    /// alone, for replicas compact by themselves.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn key_checksum(&self, keys_max: usize) -> Result<(Progress, u32), ReadError> {
        let progress = self.progress();
        let (from, until) = (progress.log_start(), progress.high_watermark());
        let crc = self.log.key_checksum(from, until, keys_max);
        Ok((progress, crc.map_err(|error| self.explain(error, from))?))
    }

    /// Does a round of compaction, should one be due; see `quipu_segment::SegmentReader::compact`.
    /// Never at or above the published high watermark.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn compact(&self, rule: CompactionRule) -> Result<CompactionReport, ReadError> {
        let progress = self.progress();
        let until = rule.until.min(progress.high_watermark());
        let done = self.log.compact(&CompactionRule { until, ..rule });
        done.map_err(|error| self.explain(error, progress.log_start()))
    }

    /// Stored batches for a replica that lost some: from the one that begins at `from` on, below
    /// `until` and the published high watermark. As far as the files reach, even below the log
    /// start.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn copy_range(
        &self,
        from: Offset,
        until: Offset,
        bytes_max: usize,
    ) -> Result<Vec<Bytes>, ReadError> {
        let until = until.min(self.progress().high_watermark());
        let read = self.log.read(from, until, bytes_max);
        read.map_err(|error| self.explain(error, from))
    }

    /// The segment that holds an offset.
    #[must_use]
    pub fn extent_of(&self, offset: Offset) -> Option<Extent> {
        let extents = self.log.extents();
        extents.into_iter().find(|extent| extent.base <= offset && offset < extent.next)
    }

    /// Has the segment that holds `at` sealed by the next append, should it still grow: only then
    /// can it be mended.
    pub fn want_seal(&self, at: Offset) {
        self.log.want_seal(at);
    }

    /// Begins to mend the damaged segment that holds `at`; see `quipu_segment::SegmentReader::mend`.
    ///
    /// # Errors
    /// The file that cannot be made.
    pub fn mend(&self, at: Offset) -> Result<Option<Mend>, MendError> {
        self.log.mend(at)
    }

    /// Begins to replace what is stored up to an offset by what another replica has; see
    /// `quipu_segment::SegmentReader::copy_prefix`.
    ///
    /// # Errors
    /// The file that cannot be read or made.
    pub fn copy_prefix(&self, at: Offset) -> Result<Prefix, MendError> {
        self.log.copy_prefix(at)
    }

    /// The first offset that is stored, at or below the log start but for a log without records.
    #[must_use]
    pub fn first_offset(&self) -> Offset {
        let first = self.log.extents().first().map(|extent| extent.base);
        first.unwrap_or_else(|| self.progress().high_watermark())
    }

    /// Bytes of the segments that hold anything in `[from, until)`.
    #[must_use]
    pub fn bytes_between(&self, from: Offset, until: Offset) -> u64 {
        let extents = self.log.extents().into_iter();
        let within = extents.filter(|extent| extent.next > from && extent.base < until);
        within.map(|extent| extent.bytes).sum()
    }

    /// Which prefix retention may let go of at a time; see [`retention::cut`]. May read the segment
    /// that grows, once after a start.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn retention_cut(
        &self,
        limits: Limits,
        now: TimestampMs,
        aged_max: usize,
    ) -> Result<Option<Cut>, ReadError> {
        let progress = self.progress();
        let look = || retention::cut(&self.log.extents(), progress, limits, now, aged_max);
        let found = look();
        let has_unknown = |extents: &[Extent]| {
            extents.last().is_some_and(|last| !last.is_sealed && last.max_timestamp.is_none())
        };
        // Only when nothing else goes: by then it may be all there is.
        if found.is_none() && limits.age_ms.is_some() && has_unknown(&self.log.extents()) {
            let from = progress.log_start();
            self.log.index_growing().map_err(|error| self.explain(error, from))?;
            return Ok(look());
        }
        Ok(found)
    }

    /// Bytes of the partition's segments.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.log.size_bytes()
    }

    /// The log was trimmed, or its files went with the partition, while it was read.
    fn explain(&self, error: quipu_segment::ReadError, from: Offset) -> ReadError {
        match error {
            quipu_segment::ReadError::OutOfRange { .. } => out_of_range(from, self.progress()),
            quipu_segment::ReadError::Corruption(damage) => damage.into(),
            quipu_segment::ReadError::Io(failure) => {
                let is_gone = failure.source.kind() == std::io::ErrorKind::NotFound;
                if is_gone && self.published.has_changed().is_err() {
                    ReadError::Closed
                } else {
                    failure.into()
                }
            }
        }
    }
}

fn out_of_range(from: Offset, progress: Progress) -> ReadError {
    ReadError::OffsetOutOfRange {
        from,
        log_start: progress.log_start(),
        high_watermark: progress.high_watermark(),
    }
}
