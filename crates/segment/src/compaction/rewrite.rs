//! Putting a thinned segment in the place of the whole one.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use quipu_disk::{DiskFile, OpenMode};
use quipu_types::Offset;
use quipu_types::record::{Record, ValidatedBatch};

use super::{CompactionReport, each_batch, records_of};
use crate::error::{Corruption, FileFailure, ReadError};
use crate::file_name::{Kind, sibling};
use crate::index::{SparseIndex, StoredPlace};
use crate::index_file;
use crate::metrics;
use crate::reader::SegmentReader;
use crate::sealed::Sealed;
use crate::view::Swap;
use crate::window::widen;

/// Bytes written at once.
const WRITE_BYTES: usize = 1 << 20;

/// The new file, as far as it was written.
struct Thinned {
    file: Box<dyn DiskFile>,
    written: u64,
    waiting: BytesMut,
    index: SparseIndex,
}

impl SegmentReader {
    /// Rewrites a segment without the records that need not be kept, if there are any. Says how
    /// many tombstones are left in it.
    ///
    /// The order makes every crash harmless: the new file is whole and flushed before it gets the
    /// name; the indexes, which speak of the old one, are gone for good before that, and are
    /// rebuilt where they are missing.
    pub(super) fn thin(
        &self,
        sealed: &Arc<Sealed>,
        report: &mut CompactionReport,
        mut is_kept: impl FnMut(Offset, &Record) -> bool,
    ) -> Result<u64, ReadError> {
        // By an earlier pass of this round it may have been replaced, or trimmed away.
        let Some(sealed) = self.current(sealed) else { return Ok(0) };
        let (mut goes, mut tombstones) = (0_u64, 0_u64);
        each_batch(&sealed, |batch| {
            for (offset, record) in records_of(batch, &sealed)? {
                if is_kept(offset, &record) {
                    tombstones += u64::from(is_tombstone(&record));
                } else {
                    goes += 1;
                }
            }
            Ok(())
        })?;
        if goes > 0 {
            let bytes = self.replace(&sealed, is_kept)?;
            report.segments += 1;
            report.records += goes;
            report.bytes += sealed.bytes.saturating_sub(bytes);
            metrics::count_compacted(goes, sealed.bytes.saturating_sub(bytes));
        }
        Ok(tombstones)
    }

    /// The segment that lies where this one lay.
    fn current(&self, sealed: &Arc<Sealed>) -> Option<Arc<Sealed>> {
        let view = self.view();
        view.sealed.iter().find(|it| (it.base, it.next) == (sealed.base, sealed.next)).cloned()
    }

    fn replace(
        &self,
        old: &Arc<Sealed>,
        mut is_kept: impl FnMut(Offset, &Record) -> bool,
    ) -> Result<u64, ReadError> {
        let (disk, log) = (old.file.disk(), old.file.path());
        let dir = log.parent().unwrap_or(log);
        let path = sibling(log, Kind::Rewritten);
        let fail = |doing, error| FileFailure::new(doing, &path, error);
        index_file::remove_if_there(disk, &path).map_err(|error| fail("remove", error))?;
        let file = disk.open(&path, OpenMode::CreateNew).map_err(|error| fail("create", error))?;
        let index = SparseIndex::default();
        let mut thinned = Thinned { file, written: 0, waiting: BytesMut::new(), index };
        let mut position = 0;
        each_batch(old, |batch| {
            // A compressed batch stays as it is.
            let with_gaps = match batch.records() {
                Ok(_) => batch
                    .with_gaps(&mut is_kept)
                    .map_err(|_| Corruption::new(log, position, "records", (1, 0)))?,
                Err(_) => None,
            };
            position += widen(batch.bytes().len());
            let put = thinned.put(with_gaps.as_ref().unwrap_or(batch), old.interval);
            put.map_err(|error| fail("write", error).into())
        })?;
        thinned.finish().map_err(|error| fail("write", error))?;
        for kind in [Kind::Index, Kind::TimeIndex] {
            let path = sibling(log, kind);
            index_file::remove_if_there(disk, &path)
                .map_err(|error| FileFailure::new("remove", &path, error))?;
        }
        disk.sync_dir(dir).map_err(|error| FileFailure::new("flush", dir, error))?;
        let bytes = thinned.written;
        let new = Sealed { bytes, file: Arc::new(old.file.successor()), ..old.copy() };
        // Whoever holds the old segment goes on reading the old file.
        old.file.pin().map_err(|error| FileFailure::new("open", log, error))?;
        let swapped = self.swap(old, new, || disk.rename(&path, log));
        let new = match swapped.map_err(|error| fail("rename", error))? {
            Swap::Done(new) => new,
            Swap::Gone => {
                index_file::remove_if_there(disk, &path).map_err(|error| fail("remove", error))?;
                return Ok(bytes);
            }
        };
        disk.sync_dir(dir).map_err(|error| FileFailure::new("flush", dir, error))?;
        if let Some(summary) = new.summary() {
            index_file::write(disk, log, &summary, &thinned.index)
                .map_err(|error| FileFailure::new("write the index of", log, error))?;
        }
        Ok(bytes)
    }
}

impl Thinned {
    fn put(&mut self, batch: &ValidatedBatch, interval: u64) -> std::io::Result<()> {
        let header = batch.header();
        let place = StoredPlace {
            offset: header.base_offset,
            position: self.written + widen(self.waiting.len()),
            epoch: header.leader_epoch,
            max_timestamp: header.max_timestamp,
        };
        self.index.push(place, interval);
        self.waiting.extend_from_slice(batch.bytes());
        if self.waiting.len() >= WRITE_BYTES { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> std::io::Result<()> {
        let bytes: Bytes = self.waiting.split().freeze();
        self.file.write_all_at(&bytes, self.written)?;
        self.written += widen(bytes.len());
        Ok(())
    }

    fn finish(&mut self) -> std::io::Result<()> {
        self.write()?;
        self.file.sync_all()
    }
}

fn is_tombstone(record: &Record) -> bool {
    record.key.is_some() && record.value.is_none()
}
