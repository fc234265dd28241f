//! Putting a new file in the place of a sealed segment.
//!
//! The order makes every crash harmless: the new file is whole and flushed before it gets the name;
//! the indexes, which speak of the old one, are gone for good before that, and are rebuilt where
//! they are missing.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use quipu_disk::{DiskFile, OpenMode, Writeback};
use quipu_types::TimestampMs;
use quipu_types::record::ValidatedBatch;

use crate::error::FileFailure;
use crate::file_name::{Kind, sibling};
use crate::index::{SparseIndex, StoredPlace};
use crate::index_file;
use crate::reader::SegmentReader;
use crate::sealed::Sealed;
use crate::view::Swap;
use crate::window::widen;

/// Bytes written at once.
const WRITE_BYTES: usize = 1 << 20;

/// A new file for a segment, as far as it was written. Dropped before it is installed, it leaves a
/// file that the next rewrite or the next start removes.
pub(crate) struct Rewrite {
    old: Arc<Sealed>,
    path: PathBuf,
    file: Box<dyn DiskFile>,
    written: u64,
    writeback: Writeback,
    waiting: BytesMut,
    index: SparseIndex,
    max_timestamp: Option<TimestampMs>,
}

impl Rewrite {
    /// Begins to write what is to take the place of `old`. One at a time per segment.
    pub(crate) fn begin(old: Arc<Sealed>) -> Result<Self, FileFailure> {
        Self::begin_as(old, Kind::Rewritten)
    }

    /// As [`Self::begin`], under a name of its own.
    pub(crate) fn begin_as(old: Arc<Sealed>, kind: Kind) -> Result<Self, FileFailure> {
        let disk = old.file.disk();
        let path = sibling(old.file.path(), kind);
        let fail = |doing, error| FileFailure::new(doing, &path, error);
        index_file::remove_if_there(disk, &path).map_err(|error| fail("remove", error))?;
        let file = disk.open(&path, OpenMode::CreateNew).map_err(|error| fail("create", error))?;
        let (waiting, index) = (BytesMut::new(), SparseIndex::default());
        let (written, writeback, max_timestamp) = (0, Writeback::default(), None);
        Ok(Self { old, path, file, written, writeback, waiting, index, max_timestamp })
    }

    /// The segment that is to be replaced.
    pub(crate) fn old(&self) -> &Sealed {
        &self.old
    }

    /// Bytes put so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.written + widen(self.waiting.len())
    }

    /// Adds a batch behind the others.
    pub(crate) fn put(&mut self, batch: &ValidatedBatch) -> Result<(), FileFailure> {
        let header = batch.header();
        let place = StoredPlace {
            offset: header.base_offset,
            position: self.bytes(),
            epoch: header.leader_epoch,
            max_timestamp: header.max_timestamp,
        };
        self.index.push(place, self.old.interval);
        self.max_timestamp = self.max_timestamp.max(Some(header.max_timestamp));
        self.waiting.extend_from_slice(batch.bytes());
        if self.waiting.len() >= WRITE_BYTES { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), FileFailure> {
        let bytes: Bytes = self.waiting.split().freeze();
        let written = self.file.write_all_at(&bytes, self.written);
        written.map_err(|error| FileFailure::new("write", &self.path, error))?;
        self.written += widen(bytes.len());
        self.writeback.grown(&*self.file, self.written);
        Ok(())
    }

    /// Makes it durable where it is.
    pub(crate) fn stage(mut self) -> Result<Sealed, FileFailure> {
        self.write()?;
        let Self { old, path, file, written, max_timestamp, .. } = self;
        file.sync_all().map_err(|error| FileFailure::new("flush", &path, error))?;
        let file = Arc::new(old.file.at(path));
        Ok(Sealed { bytes: written, file, max_timestamp, ..old.copy() })
    }

    /// Makes it durable and puts it in the place of the old one. False: that one went meanwhile.
    pub(crate) fn install(mut self, reader: &SegmentReader) -> Result<bool, FileFailure> {
        self.write()?;
        let Self { old, path, file, written, index, max_timestamp, .. } = self;
        let (disk, log) = (old.file.disk(), old.file.path());
        let fail = |doing, error| FileFailure::new(doing, &path, error);
        file.sync_all().map_err(|error| fail("flush", error))?;
        for kind in [Kind::Index, Kind::TimeIndex] {
            let path = sibling(log, kind);
            index_file::remove_if_there(disk, &path)
                .map_err(|error| FileFailure::new("remove", &path, error))?;
        }
        sync_folder(&old)?;
        let file = Arc::new(old.file.successor());
        let max_timestamp = old.max_timestamp.or(max_timestamp);
        let new = Sealed { bytes: written, file, max_timestamp, ..old.copy() };
        // Whoever holds the old segment goes on reading the old file.
        let swapped = match old.file.pin() {
            Ok(()) => reader.swap(&old, new, || disk.rename(&path, log)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Swap::Gone),
            Err(error) => return Err(FileFailure::new("open", log, error)),
        };
        let new = match swapped.map_err(|error| fail("rename", error))? {
            Swap::Done(new) => new,
            Swap::Gone => {
                index_file::remove_if_there(disk, &path).map_err(|error| fail("remove", error))?;
                return Ok(false);
            }
        };
        sync_folder(&old)?;
        if let Some(summary) = new.summary() {
            index_file::write(disk, log, &summary, &index)
                .map_err(|error| FileFailure::new("write the index of", log, error))?;
        }
        Ok(true)
    }
}

fn sync_folder(segment: &Sealed) -> Result<(), FileFailure> {
    let log = segment.file.path();
    let dir = log.parent().unwrap_or_else(|| Path::new("."));
    segment.file.disk().sync_dir(dir).map_err(|error| FileFailure::new("flush", dir, error))
}
