//! The active segment of a log: written, sealed, followed by the next.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use quipu_disk::{Disk, OpenMode};
use quipu_types::{Offset, TimestampMs};

use super::pending::Unflushed;
use super::{Folder, SegmentLog};
use crate::active::Active;
use crate::error::{FileFailure, ReadError, WriteError};
use crate::index_file;
use crate::metrics;
use crate::open_files::{Extent, WriteFile};
use crate::recovery::segment_file;
use crate::scan;
use crate::sealed::Sealed;
use crate::view::View;
use crate::window::{Window, to_usize, widen};

/// Sealed files that wait for the next flush.
const UNFLUSHED_MAX: usize = 8;

/// Makes a log's folder. To flush its name is left to the next flush of the log: a thousand logs
/// begin as fast as they are written to.
fn make_folder(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    match (disk.create_dir(dir), dir.parent()) {
        (Err(error), Some(parent)) if error.kind() == io::ErrorKind::NotFound => {
            disk.create_dir_all(parent)?;
            disk.create_dir(dir)
        }
        (made, _) => made,
    }
}

impl SegmentLog {
    pub(super) fn is_roll_due(
        &mut self,
        length: usize,
        now: TimestampMs,
    ) -> Result<bool, WriteError> {
        let bytes = self.active.read().bytes;
        if bytes == 0 {
            return Ok(false);
        }
        if bytes + widen(length) > self.config.segment_bytes()
            || self.shared.is_to_be_sealed(self.active.base)
        {
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

    /// Writes what waits in memory.
    pub(super) fn write_tail(&mut self, extent: Extent) -> Result<(), WriteError> {
        let (waiting, at) = self.active.waiting();
        if waiting.is_empty() {
            return Ok(());
        }
        let written = self.write_at(&waiting, at, extent);
        let end = written.map_err(|failure| self.stop(failure))?;
        self.active.is_written(end);
        self.config.open_files.give_tail(to_usize(end - at));
        metrics::count_written(end - at, self.config.open_files.tail_bytes());
        Ok(())
    }

    fn write_at(&mut self, bytes: &[Bytes], at: u64, extent: Extent) -> Result<u64, FileFailure> {
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => self.open_writer(at)?,
        };
        quipu_failpoint::hit("segment.append.before");
        let end = writer
            .write(bytes, at, extent)
            .map_err(|error| FileFailure::new("write", &writer.path, error))?;
        quipu_failpoint::hit("segment.append.after");
        if writer.is_one_too_many() {
            Unflushed::Log(writer).flush(&self.shared.dir)?;
        } else {
            self.writer = Some(writer);
        }
        Ok(end)
    }

    fn open_writer(&mut self, file_bytes: u64) -> Result<WriteFile, FileFailure> {
        let mode = if file_bytes > 0 { OpenMode::ReadWrite } else { OpenMode::CreateNew };
        if mode == OpenMode::CreateNew {
            self.make_dir()?;
            self.is_dir_dirty = true;
            quipu_failpoint::hit("segment.create.before");
        }
        let file = &self.active.file;
        file.open_for_writing(mode, file_bytes)
            .map_err(|error| FileFailure::new("open", file.path(), error))
    }

    fn make_dir(&mut self) -> Result<(), FileFailure> {
        if self.folder == Folder::Missing {
            let dir = &self.shared.dir;
            make_folder(&*self.disk, dir).map_err(|error| FileFailure::new("make", dir, error))?;
            self.folder = Folder::Unflushed;
        }
        Ok(())
    }

    /// Seals the active segment and begins the next one.
    pub(super) fn roll(&mut self) -> Result<(), WriteError> {
        self.write_tail(Extent::All)?;
        self.active.keep_nothing();
        if self.is_inherited && self.writer.is_none() {
            // Sealed without a write: flushed all the same, or it may be longer after a power cut.
            let file_bytes = self.active.read().file_bytes;
            let writer = self.open_writer(file_bytes);
            self.writer = Some(writer.map_err(|failure| self.stop(failure))?);
        }
        quipu_failpoint::hit("segment.roll.before");
        let sealed = self.seal().map_err(|failure| self.stop(failure))?;
        self.unflushed.extend(self.writer.take().map(Unflushed::Log));
        if self.unflushed.len() > UNFLUSHED_MAX {
            self.flush_files().map_err(|failure| self.stop(failure))?;
        }
        let next = sealed.next;
        self.start_segment(next, |segments| {
            let sealed = std::iter::once(Arc::new(sealed));
            segments.iter().cloned().chain(sealed).collect()
        });
        quipu_failpoint::hit("segment.roll.after");
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

    /// Begins a segment behind what is made of the sealed ones.
    pub(super) fn start_segment(
        &mut self,
        base: Offset,
        sealed: impl FnOnce(&[Arc<Sealed>]) -> Vec<Arc<Sealed>>,
    ) {
        let file = segment_file(&self.disk, &self.shared.dir, &self.config, base);
        let interval = self.config.index_interval_bytes.into();
        self.active = Arc::new(Active::empty(base, file, interval));
        self.first_timestamp = None;
        self.is_inherited = false;
        let active = Arc::clone(&self.active);
        self.shared.change(|view| View { sealed: sealed(&view.sealed), active });
    }
}
