//! The writer of one log.

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use quipu_disk::{Disk, DiskFile, OpenMode};
use quipu_types::record::ValidatedBatch;
use quipu_types::{LeaderEpoch, Offset, TimestampMs};

use crate::active::Active;
use crate::config::Config;
use crate::error::{FileFailure, OpenError, ReadError, WriteError};
use crate::file_name::{Kind, sibling};
use crate::index::StoredPlace;
use crate::index_file;
use crate::metrics;
use crate::open_files::{SegmentFile, WriteFile};
use crate::reader::SegmentReader;
use crate::recovery::{self, Recovered, segment_file};
use crate::scan;
use crate::sealed::Sealed;
use crate::view::{Shared, View};
use crate::window::{Window, to_usize, widen};

/// Appended bytes of one log in memory before they are written: large enough to make writes few,
/// small enough for thousands of logs.
const TAIL_BYTES_MAX: u64 = 256 << 10;
/// Sealed files that wait for the next flush.
const UNFLUSHED_MAX: usize = 8;
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
    has_dir: bool,
    is_dir_dirty: bool,
    /// Whether the active segment's file is from before the start and was not flushed since. A cut
    /// at open, by this process or by one that was killed, may not be durable.
    is_inherited: bool,
    is_stopped: bool,
}

/// A file to flush.
#[derive(Debug)]
enum Unflushed {
    Log(WriteFile),
    Index(Box<dyn DiskFile>),
}

/// A segment that nobody reads any more.
#[derive(Debug)]
struct Retired {
    file: Arc<SegmentFile>,
    bytes: u64,
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
        let Recovered { view, has_dir, is_dir_dirty } =
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
            has_dir,
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
            self.write_tail()?;
        }
        Ok(())
    }

    /// Makes everything appended durable and says where the log ends.
    ///
    /// # Errors
    /// [`WriteError`]: never to be tried again; the process should end.
    pub fn flush(&mut self) -> Result<LogEnd, WriteError> {
        self.check_running()?;
        self.write_tail()?;
        self.flush_files().map_err(|failure| self.stop(failure))?;
        Ok(self.end())
    }

    fn flush_files(&mut self) -> Result<(), FileFailure> {
        let dir = &self.shared.dir;
        let writer = self.writer.take().map(Unflushed::Log);
        for unflushed in std::mem::take(&mut self.unflushed).into_iter().chain(writer) {
            unflushed.flush(dir)?;
        }
        if self.is_dir_dirty {
            self.disk.sync_dir(dir).map_err(|error| FileFailure::new("flush", dir, error))?;
            self.is_dir_dirty = false;
        }
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
        let view = self.shared.view.load_full();
        let kept = view.sealed.partition_point(|sealed| sealed.next <= log_start);
        if kept > 0 {
            self.retired.extend(view.sealed[..kept].iter().map(|sealed| Retired::of(sealed)));
            let view = View { sealed: view.sealed[kept..].to_vec(), ..(*view).clone() };
            self.shared.replace(view);
        }
        self.remove_retired()
    }

    fn remove_retired(&mut self) -> Result<TrimReport, WriteError> {
        let mut report = TrimReport::default();
        for Retired { file, bytes } in std::mem::take(&mut self.retired) {
            for kind in Kind::ALL {
                let path = sibling(file.path(), kind);
                index_file::remove_if_there(&*self.disk, &path)
                    .map_err(|error| FileFailure::new("remove", &path, error))?;
            }
            self.is_dir_dirty = self.has_dir;
            report.segments += 1;
            report.bytes += bytes;
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
        let view = self.shared.view.load_full();
        self.retired.extend(view.sealed.iter().map(|sealed| Retired::of(sealed)));
        let (bytes, waiting) = (self.active.read().file_bytes, self.waiting_bytes());
        if bytes > 0 {
            self.retired.push(Retired { file: Arc::clone(&self.active.file), bytes });
        }
        self.config.open_files.give_tail(to_usize(waiting));
        self.writer = None;
        self.unflushed.clear();
        self.start_segment(Vec::new(), base);
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
        let parent = dir.parent().unwrap_or(Path::new("."));
        self.disk.sync_dir(parent).map_err(|error| FileFailure::new("flush", parent, error))?;
        Ok(())
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
        state.bytes - state.file_bytes
    }
}

/// The active segment: growing, writing, sealing.
impl SegmentLog {
    fn is_roll_due(&mut self, length: usize, now: TimestampMs) -> Result<bool, WriteError> {
        let bytes = self.active.read().bytes;
        if bytes == 0 {
            return Ok(false);
        }
        if bytes + widen(length) > self.config.segment_bytes() {
            return Ok(true);
        }
        let first = self.first_timestamp()?;
        Ok(now.get().saturating_sub(first.get()) >= self.config.segment_age_ms())
    }

    /// The timestamp of the active segment's first batch: after a restart, from the file.
    fn first_timestamp(&mut self) -> Result<TimestampMs, WriteError> {
        if let Some(known) = self.first_timestamp {
            return Ok(known);
        }
        let read = self.read_first_timestamp();
        // A damaged first batch has no age; its segment is sealed by size.
        let known = match read {
            Ok(timestamp) => timestamp,
            Err(ReadError::Io(failure)) => return Err(self.stop(failure)),
            Err(ReadError::Corruption(_) | ReadError::OutOfRange { .. }) => {
                TimestampMs::new(i64::MAX)
            }
        };
        self.first_timestamp = Some(known);
        Ok(known)
    }

    fn read_first_timestamp(&self) -> Result<TimestampMs, ReadError> {
        let file = &self.active.file;
        let open = file.open().map_err(|error| FileFailure::new("open", file.path(), error))?;
        let end = self.active.read().file_bytes;
        let mut window = Window::new(&*open.file, file.path(), end, 0);
        let first = scan::find(&mut window, 0, self.active.base)?;
        Ok(first.header.max_timestamp)
    }

    /// Writes what waits in memory, with one call.
    fn write_tail(&mut self) -> Result<(), WriteError> {
        let (tail, at): (Vec<Bytes>, u64) = {
            let state = self.active.read();
            (state.tail.iter().map(|batch| batch.bytes.clone()).collect(), state.file_bytes)
        };
        if tail.is_empty() {
            return Ok(());
        }
        let written = self.write_at(&tail, at);
        written.map_err(|failure| self.stop(failure))?;
        let length = self.active.tail_is_written();
        self.config.open_files.give_tail(to_usize(length));
        metrics::count_written(length, self.config.open_files.tail_bytes());
        Ok(())
    }

    fn write_at(&mut self, tail: &[Bytes], at: u64) -> Result<(), FileFailure> {
        let writer = match self.writer.take() {
            Some(writer) => writer,
            None => self.open_writer(at)?,
        };
        let slices: Vec<IoSlice<'_>> = tail.iter().map(|bytes| IoSlice::new(bytes)).collect();
        writer
            .file
            .write_all_vectored_at(&slices, at)
            .map_err(|error| FileFailure::new("write", &writer.path, error))?;
        if writer.is_one_too_many() {
            Unflushed::Log(writer).flush(&self.shared.dir)
        } else {
            self.writer = Some(writer);
            Ok(())
        }
    }

    fn open_writer(&mut self, file_bytes: u64) -> Result<WriteFile, FileFailure> {
        let mode = if file_bytes > 0 { OpenMode::ReadWrite } else { OpenMode::CreateNew };
        if mode == OpenMode::CreateNew {
            self.make_dir()?;
            self.is_dir_dirty = true;
        }
        let file = &self.active.file;
        file.open_for_writing(mode).map_err(|error| FileFailure::new("open", file.path(), error))
    }

    fn make_dir(&mut self) -> Result<(), FileFailure> {
        if !self.has_dir {
            let dir = &self.shared.dir;
            self.disk.create_dir_all(dir).map_err(|error| FileFailure::new("make", dir, error))?;
            self.has_dir = true;
        }
        Ok(())
    }

    /// Seals the active segment and begins the next one.
    fn roll(&mut self) -> Result<(), WriteError> {
        self.write_tail()?;
        if self.is_inherited && self.writer.is_none() {
            // Sealed without a write: flushed all the same, or it may be longer after a power cut.
            let file_bytes = self.active.read().file_bytes;
            let writer = self.open_writer(file_bytes);
            self.writer = Some(writer.map_err(|failure| self.stop(failure))?);
        }
        let sealed = self.seal().map_err(|failure| self.stop(failure))?;
        self.unflushed.extend(self.writer.take().map(Unflushed::Log));
        if self.unflushed.len() > UNFLUSHED_MAX {
            self.flush_files().map_err(|failure| self.stop(failure))?;
        }
        let next = sealed.next;
        let mut segments = self.shared.view.load().sealed.clone();
        segments.push(Arc::new(sealed));
        self.start_segment(segments, next);
        metrics::count_sealed();
        Ok(())
    }

    /// What the active segment is from now on, its index written.
    fn seal(&mut self) -> Result<Sealed, FileFailure> {
        let active = &self.active;
        let indexed = active.index_up_to(active.base);
        let state = active.read();
        let mut sealed = Sealed {
            base: active.base,
            next: state.next,
            bytes: state.file_bytes,
            max_timestamp: None,
            file: Arc::clone(&active.file),
            interval: active.interval,
        };
        match indexed {
            Ok(()) => sealed.max_timestamp = state.index.max_timestamp,
            Err(ReadError::Io(failure)) => return Err(failure),
            // Readers of the damaged part will be told; writers need not stop.
            Err(error @ (ReadError::Corruption(_) | ReadError::OutOfRange { .. })) => {
                tracing::error!(%error, "segment is sealed without index");
            }
        }
        if let Some(summary) = sealed.summary() {
            let path = active.file.path();
            let files = index_file::write(&*self.disk, path, &summary, &state.index)
                .map_err(|error| FileFailure::new("write the index of", path, error))?;
            self.unflushed.extend(files.into_iter().map(Unflushed::Index));
            self.is_dir_dirty = true;
        }
        Ok(sealed)
    }

    fn start_segment(&mut self, sealed: Vec<Arc<Sealed>>, base: Offset) {
        let file = segment_file(&self.disk, &self.shared.dir, &self.config, base);
        let interval = self.config.index_interval_bytes.into();
        self.active = Arc::new(Active::empty(base, file, interval));
        self.first_timestamp = None;
        self.is_inherited = false;
        self.shared.replace(View { sealed, active: Arc::clone(&self.active) });
    }
}

impl Unflushed {
    fn flush(&self, dir: &Path) -> Result<(), FileFailure> {
        match self {
            Self::Log(writer) => writer
                .file
                .sync_data()
                .map_err(|error| FileFailure::new("flush", &writer.path, error)),
            Self::Index(file) => {
                file.sync_data().map_err(|error| FileFailure::new("flush an index in", dir, error))
            }
        }
    }
}

impl Retired {
    fn of(sealed: &Sealed) -> Self {
        Self { file: Arc::clone(&sealed.file), bytes: sealed.bytes }
    }
}

impl Drop for SegmentLog {
    fn drop(&mut self) {
        self.config.open_files.give_tail(to_usize(self.waiting_bytes()));
    }
}
