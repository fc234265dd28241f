//! The writer of one log.

mod growth;
mod pending;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quipu_disk::Disk;
use quipu_types::record::ValidatedBatch;
use quipu_types::{LeaderEpoch, Offset, TimestampMs};

pub(crate) use self::pending::Folder;
use self::pending::{Retired, Unflushed};
use crate::active::Active;
use crate::config::Config;
use crate::error::{FileFailure, OpenError, WriteError};
use crate::file_name::{Kind, sibling};
use crate::index::StoredPlace;
use crate::index_file;
use crate::metrics;
use crate::open_files::{Extent, WriteFile};
use crate::reader::SegmentReader;
use crate::recovery::{self, Recovered};
use crate::view::{Shared, View};
use crate::window::{to_usize, widen};

/// Appended bytes of one log in memory before they are written: large enough to make writes few,
/// small enough for thousands of logs.
const TAIL_BYTES_MAX: u64 = 256 << 10;
/// Bytes of a stored batch that are set on append.
const PREFIX_BYTES: usize = 16;

/// Where a log ends: what a checkpoint records. The default is the end of an empty log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogEnd {
    /// First offset of the active segment.
    pub segment: Offset,
    /// Bytes of the active segment's file.
    pub bytes: u64,
    /// Next offset to append.
    pub next: Offset,
}

/// What [`SegmentLog::trim`] removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrimReport {
    /// Segments removed.
    pub segments: u64,
    /// Bytes freed.
    pub bytes: u64,
}

/// One log: the only writer of its folder.
///
/// - Appends go to memory first and become visible to readers at once; who may read up to where is
///   the caller's affair.
/// - After a failed write or flush nothing is written any more ([`WriteError::Stopped`]).
/// - Dropping it writes nothing: what was not flushed is appended again from the journal.
#[derive(Debug)]
pub struct SegmentLog {
    disk: Arc<dyn Disk>,
    config: Config,
    shared: Arc<Shared>,
    active: Arc<Active>,
    /// Timestamp of the active segment's first batch, once known.
    first_timestamp: Option<TimestampMs>,
    /// The active segment's file, open since the first write after the last flush.
    writer: Option<WriteFile>,
    unflushed: Vec<Unflushed>,
    /// Given up by a reset; removed with the next trim.
    retired: Vec<Retired>,
    folder: Folder,
    is_dir_dirty: bool,
    /// Whether the active segment's file is from before the start and was not flushed since. A cut
    /// at open, by this process or by one that was killed, may not be durable.
    is_inherited: bool,
    is_stopped: bool,
}

impl SegmentLog {
    /// Opens the log in `dir` as of a checkpoint.
    ///
    /// What lies beyond `end` is removed: it will be appended again. What lies wholly below
    /// `log_start` is removed too. Indexes that are missing or damaged are rebuilt. A log that was
    /// never appended to costs no file and no folder.
    ///
    /// # Errors
    /// [`OpenError::MissingBytes`] and [`OpenError::MissingOffsets`] when the files hold less than
    /// the checkpoint says.
    ///
    /// # Panics
    /// When `end` contradicts itself: the checkpoint was checked before.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        config: Config,
        log_start: Offset,
        end: LogEnd,
    ) -> Result<Self, OpenError> {
        let is_empty = end.next == end.segment;
        assert!(end.segment <= end.next && is_empty == (end.bytes == 0), "a log end with a law");
        let Recovered { view, folder, is_dir_dirty } =
            recovery::recover(&disk, &dir, &config, log_start, end)?;
        let is_inherited = view.active.read().bytes > 0;
        Ok(Self {
            disk,
            config,
            active: Arc::clone(&view.active),
            shared: Arc::new(Shared::new(dir, view)),
            first_timestamp: None,
            writer: None,
            unflushed: Vec::new(),
            retired: Vec::new(),
            folder,
            is_dir_dirty,
            is_inherited,
            is_stopped: false,
        })
    }

    /// Appends a batch at `base`, which must be the log's end. Its first 16 bytes are stamped.
    ///
    /// `now` decides whether the segment is too old to take it; the batch's largest timestamp
    /// serves.
    ///
    /// # Errors
    /// [`WriteError`]: the log takes no further writes.
    ///
    /// # Panics
    /// When `base` is not the log's end.
    pub fn append(
        &mut self,
        base: Offset,
        epoch: LeaderEpoch,
        batch: &ValidatedBatch,
        now: TimestampMs,
    ) -> Result<(), WriteError> {
        let mut bytes = BytesMut::with_capacity(batch.bytes().len());
        bytes.extend_from_slice(&batch.stamped_prefix(base, epoch));
        bytes.extend_from_slice(&batch.bytes()[PREFIX_BYTES..]);
        self.put(base, epoch, batch, (bytes.freeze(), now))
    }

    /// Appends a batch that carries its offset and leader epoch already, as from a snapshot.
    ///
    /// # Errors
    /// As [`Self::append`].
    ///
    /// # Panics
    /// When the batch's base offset is not the log's end.
    pub fn append_stored(&mut self, stored: &ValidatedBatch) -> Result<(), WriteError> {
        let header = stored.header();
        // A copy of its own: the batch may be a slice of a much larger buffer.
        let bytes = Bytes::copy_from_slice(stored.bytes());
        let put = (bytes, header.max_timestamp);
        self.put(header.base_offset, header.leader_epoch, stored, put)
    }

    fn put(
        &mut self,
        base: Offset,
        epoch: LeaderEpoch,
        batch: &ValidatedBatch,
        (bytes, now): (Bytes, TimestampMs),
    ) -> Result<(), WriteError> {
        self.check_running()?;
        if self.is_roll_due(bytes.len(), now)? {
            self.roll()?;
        }
        self.first_timestamp.get_or_insert(now);
        let length = bytes.len();
        let position = self.active.read().bytes;
        let max_timestamp = batch.header().max_timestamp;
        let place = StoredPlace { offset: base, position, epoch, max_timestamp };
        self.active.push(place, base.plus(batch.record_count().into()), bytes);
        self.shared.grow(widen(length));
        self.config.open_files.take_tail(length);
        let waiting = self.waiting_bytes();
        if waiting >= TAIL_BYTES_MAX || self.config.open_files.is_memory_full() {
            self.write_tail(Extent::Pages)?;
        }
        Ok(())
    }

    /// Makes everything appended durable and says where the log ends.
    ///
    /// # Errors
    /// [`WriteError`]: never to be tried again; the process should end.
    pub fn flush(&mut self) -> Result<LogEnd, WriteError> {
        self.check_running()?;
        quipu_failpoint::hit("segment.flush.before");
        self.write_tail(Extent::All)?;
        self.active.keep_nothing();
        self.flush_files().map_err(|failure| self.stop(failure))?;
        Ok(self.end())
    }

    fn flush_files(&mut self) -> Result<(), FileFailure> {
        let dir = &self.shared.dir;
        let writer = self.writer.take().map(Unflushed::Log);
        for unflushed in std::mem::take(&mut self.unflushed).into_iter().chain(writer) {
            unflushed.flush(dir)?;
        }
        quipu_failpoint::hit("segment.flush.sync-dir.before");
        if self.is_dir_dirty {
            self.disk.sync_dir(dir).map_err(|error| FileFailure::new("flush", dir, error))?;
            self.is_dir_dirty = false;
        }
        if self.folder == Folder::Unflushed {
            let parent = dir.parent().unwrap_or(dir);
            self.disk.sync_dir(parent).map_err(|error| FileFailure::new("flush", parent, error))?;
            self.folder = Folder::Flushed;
        }
        quipu_failpoint::hit("segment.flush.after");
        Ok(())
    }

    /// Removes segments wholly below `log_start`.
    ///
    /// Only once a checkpoint with this log start is durable: an older checkpoint needs the files.
    ///
    /// # Errors
    /// A file that cannot be removed; the log goes on, and the next open removes it.
    pub fn trim(&mut self, log_start: Offset) -> Result<TrimReport, WriteError> {
        self.check_running()?;
        if log_start >= self.end().next && self.size_bytes() > 0 {
            self.reset(self.end().next);
        }
        let retired = &mut self.retired;
        self.shared.change(|view| {
            let kept = view.sealed.partition_point(|sealed| sealed.next <= log_start);
            retired.extend(view.sealed[..kept].iter().map(|sealed| Retired::of(sealed)));
            View { sealed: view.sealed[kept..].to_vec(), ..view.clone() }
        });
        self.remove_retired()
    }

    fn remove_retired(&mut self) -> Result<TrimReport, WriteError> {
        let mut report = TrimReport::default();
        for Retired { file, bytes } in std::mem::take(&mut self.retired) {
            quipu_failpoint::hit("segment.remove.before");
            for kind in Kind::ALL {
                let path = sibling(file.path(), kind);
                index_file::remove_if_there(&*self.disk, &path)
                    .map_err(|error| FileFailure::new("remove", &path, error))?;
            }
            self.is_dir_dirty = self.folder != Folder::Missing;
            report.segments += 1;
            report.bytes += bytes;
            quipu_failpoint::hit("segment.remove.after");
        }
        metrics::count_removed(report.segments);
        Ok(report)
    }

    /// Gives up everything and continues at `base`, at or above the log's end. The files go with
    /// the next [`Self::trim`]: until a checkpoint of the new state is durable, the old one needs
    /// them.
    ///
    /// # Panics
    /// When `base` is below the log's end: offsets are never used twice.
    pub fn reset(&mut self, base: Offset) {
        assert!(base >= self.end().next, "a reset never goes back");
        let (bytes, waiting) = (self.active.read().written, self.waiting_bytes());
        if bytes > 0 {
            self.retired.push(Retired { file: Arc::clone(&self.active.file), bytes });
        }
        self.config.open_files.give_tail(to_usize(waiting));
        self.writer = None;
        self.unflushed.clear();
        let mut retired = Vec::new();
        self.start_segment(base, |sealed| {
            retired.extend(sealed.iter().map(|sealed| Retired::of(sealed)));
            Vec::new()
        });
        self.retired.extend(retired);
    }

    /// The owner's checkpoint that ends here is durable: what was sealed by then may be compacted.
    pub fn settle(&self, end: LogEnd) {
        self.shared.settle(end.segment);
    }

    /// Removes the log with its folder.
    ///
    /// # Errors
    /// What cannot be removed.
    pub fn delete(self) -> Result<(), WriteError> {
        let dir = self.shared.dir.clone();
        if !self.disk.exists(&dir) {
            return Ok(());
        }
        let fail = |error| FileFailure::new("remove", &dir, error);
        self.disk.remove_dir_all(&dir).map_err(fail)?;
        let parent = dir.parent().unwrap_or_else(|| Path::new("."));
        self.disk.sync_dir(parent).map_err(|error| FileFailure::new("flush", parent, error))?;
        Ok(())
    }

    /// Cuts the log into files of another size and age from now on. What is sealed stays as it is;
    /// a segment that grows and is too large or too old is sealed by the next append.
    pub fn reconfigure(&mut self, segment_bytes: u64, segment_age_max: Duration) {
        self.config.segment_bytes = segment_bytes;
        self.config.segment_age_max = segment_age_max;
    }

    /// Where the log ends now, flushed or not.
    #[must_use]
    pub fn end(&self) -> LogEnd {
        let state = self.active.read();
        LogEnd { segment: self.active.base, bytes: state.bytes, next: state.next }
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.shared.size_bytes()
    }

    /// A reader; clone it freely.
    #[must_use]
    pub fn reader(&self) -> SegmentReader {
        SegmentReader::new(Arc::clone(&self.shared))
    }

    fn check_running(&self) -> Result<(), WriteError> {
        if self.is_stopped {
            return Err(WriteError::Stopped { dir: self.shared.dir.clone() });
        }
        Ok(())
    }

    fn stop(&mut self, failure: FileFailure) -> WriteError {
        self.is_stopped = true;
        self.writer = None;
        self.unflushed.clear();
        failure.into()
    }

    fn waiting_bytes(&self) -> u64 {
        let state = self.active.read();
        state.bytes - state.written
    }
}

impl Drop for SegmentLog {
    fn drop(&mut self) {
        self.config.open_files.give_tail(to_usize(self.waiting_bytes()));
    }
}
