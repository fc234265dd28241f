//! Opening a log at a checkpoint: what lies beyond goes, what is missing is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quipu_disk::{Disk, OpenMode};
use quipu_types::Offset;

use crate::active::Active;
use crate::config::Config;
use crate::error::{Corruption, FileFailure, OpenError, ReadError};
use crate::file_name::{self, Kind};
use crate::index_file::{self, Summary};
use crate::log::{Folder, LogEnd};
use crate::metrics;
use crate::open_files::SegmentFile;
use crate::prefix;
use crate::scan;
use crate::sealed::Sealed;
use crate::view::View;
use crate::window::{READ_ON_BYTES, Window};

/// A log as it was found.
pub(crate) struct Recovered {
    pub(crate) view: View,
    pub(crate) folder: Folder,
    /// Whether names were removed that a power cut may bring back.
    pub(crate) is_dir_dirty: bool,
}

/// What to do with the files of a folder. Made before anything is touched.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    /// Sealed segments to keep: first offset, end, bytes of the file.
    sealed: Vec<(Offset, Offset, u64)>,
    active: Offset,
    /// Where the active segment's file must end, when there is one, and where it ends now.
    active_bytes: Option<(u64, u64)>,
    remove: Vec<(Offset, Kind)>,
}

/// The files of a log's folder.
#[derive(Debug, Default)]
struct Listing {
    logs: BTreeMap<Offset, u64>,
    names: BTreeSet<(Offset, Kind)>,
}

/// Opens the segments in `dir` as of a checkpoint.
pub(crate) fn recover(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    config: &Config,
    log_start: Offset,
    end: LogEnd,
) -> Result<Recovered, OpenError> {
    let has_dir = disk.exists(dir);
    if has_dir {
        prefix::resume(&**disk, dir)?;
    }
    let listing = if has_dir { Listing::read(&**disk, dir)? } else { Listing::default() };
    let plan = Plan::make(&listing, dir, log_start, end)?;
    let opener = Opener { disk, dir, config };
    let sealed = opener.open_sealed(&plan)?;
    let active = opener.open_active(&plan, end)?;
    for (base, kind) in &plan.remove {
        quipu_failpoint::hit("segment.recover.remove.before");
        let path = file_name::path(dir, *base, *kind);
        disk.remove_file(&path).map_err(|error| FileFailure::new("remove", &path, error))?;
    }
    let is_dir_dirty = !plan.remove.is_empty();
    let view = View { sealed, active: Arc::new(active) };
    // One that was there may be a killed process's, which had not flushed it.
    let folder = if has_dir { Folder::Unflushed } else { Folder::Missing };
    Ok(Recovered { view, folder, is_dir_dirty })
}

impl Listing {
    fn read(disk: &dyn Disk, dir: &Path) -> Result<Self, FileFailure> {
        let mut listing = Self::default();
        let entries = disk.read_dir(dir).map_err(|error| FileFailure::new("list", dir, error))?;
        for entry in entries {
            let Some((base, kind)) = file_name::parse(&entry.name) else { continue };
            listing.names.insert((base, kind));
            if kind == Kind::Log {
                listing.logs.insert(base, entry.bytes);
            }
        }
        Ok(listing)
    }
}

impl Plan {
    fn make(
        listing: &Listing,
        dir: &Path,
        log_start: Offset,
        end: LogEnd,
    ) -> Result<Self, OpenError> {
        if log_start >= end.next {
            // Nothing is kept: whatever is there was trimmed, or never made it into a checkpoint.
            let remove = listing.names.iter().copied().collect();
            return Ok(Self { sealed: Vec::new(), active: end.next, active_bytes: None, remove });
        }
        let active_bytes = Self::check_active(listing, dir, end)?;
        let sealed = Self::kept_sealed(listing, log_start, end);
        let start = sealed.first().map_or(end.segment, |(base, _, _)| *base);
        if start > log_start {
            let dir = dir.to_owned();
            return Err(OpenError::MissingOffsets { dir, start: log_start, end: start });
        }
        let mut kept: BTreeSet<(Offset, Kind)> = BTreeSet::new();
        for (base, _, _) in &sealed {
            kept.extend(Kind::SEALED.map(|kind| (*base, kind)));
        }
        if active_bytes.is_some() {
            kept.insert((end.segment, Kind::Log));
        }
        let remove = listing.names.difference(&kept).copied().collect();
        Ok(Self { sealed, active: end.segment, active_bytes, remove })
    }

    fn check_active(
        listing: &Listing,
        dir: &Path,
        end: LogEnd,
    ) -> Result<Option<(u64, u64)>, OpenError> {
        if end.bytes == 0 {
            return Ok(None);
        }
        let found_bytes = listing.logs.get(&end.segment).copied().unwrap_or(0);
        if found_bytes < end.bytes {
            let file = file_name::path(dir, end.segment, Kind::Log);
            return Err(OpenError::MissingBytes { file, expected_bytes: end.bytes, found_bytes });
        }
        Ok(Some((end.bytes, found_bytes)))
    }

    /// Sealed segments that hold something at or above the log start.
    fn kept_sealed(
        listing: &Listing,
        log_start: Offset,
        end: LogEnd,
    ) -> Vec<(Offset, Offset, u64)> {
        let bases = listing.logs.range(..end.segment);
        let nexts = bases.clone().skip(1).map(|(base, _)| *base).chain([end.segment]);
        bases
            .zip(nexts)
            .map(|((base, bytes), next)| (*base, next, *bytes))
            .filter(|(_, next, _)| *next > log_start)
            .collect()
    }
}

/// Opens segments one by one.
struct Opener<'a> {
    disk: &'a Arc<dyn Disk>,
    dir: &'a Path,
    config: &'a Config,
}

impl Opener<'_> {
    fn file(&self, base: Offset) -> SegmentFile {
        segment_file(self.disk, self.dir, self.config, base)
    }

    fn path(&self, base: Offset) -> PathBuf {
        file_name::path(self.dir, base, Kind::Log)
    }

    fn open_sealed(&self, plan: &Plan) -> Result<Vec<Arc<Sealed>>, OpenError> {
        let sealed = plan.sealed.iter();
        sealed.map(|(base, next, bytes)| self.open_one(*base, *next, *bytes)).collect()
    }

    fn open_one(
        &self,
        base: Offset,
        next: Offset,
        found_bytes: u64,
    ) -> Result<Arc<Sealed>, OpenError> {
        let path = self.path(base);
        let summary = index_file::read_summary(&**self.disk, &path)
            .map_err(|error| FileFailure::new("read the index of", &path, error))?
            // An index from before a crash may tell of a longer segment than the one sealed since.
            .filter(|summary| summary.base == base && summary.next == next);
        let (bytes, max_timestamp) = match summary {
            Some(Summary { bytes, .. }) if found_bytes < bytes => {
                return Err(OpenError::MissingBytes {
                    file: path,
                    expected_bytes: bytes,
                    found_bytes,
                });
            }
            Some(Summary { bytes, .. }) if found_bytes > bytes => {
                let sizes = (bytes, found_bytes);
                return Err(Corruption::new(&path, bytes, "file length", sizes).into());
            }
            Some(summary) => (found_bytes, Some(summary.max_timestamp)),
            None => (found_bytes, None),
        };
        let file = Arc::new(self.file(base));
        let interval = self.config.index_interval_bytes.into();
        let mut sealed = Sealed { base, next, bytes, max_timestamp, file, interval };
        if max_timestamp.is_none() {
            self.reindex(&mut sealed)?;
        }
        Ok(Arc::new(sealed))
    }

    /// Rebuilds an index that is missing, damaged or stale.
    fn reindex(&self, sealed: &mut Sealed) -> Result<(), OpenError> {
        metrics::count_index_rebuilt();
        let path = self.path(sealed.base);
        tracing::warn!(segment = %path.display(), "index is missing or damaged, rebuilding it");
        let fail = |doing, error| FileFailure::new(doing, &path, error);
        let open = sealed.file.open().map_err(|error| fail("open", error))?;
        let mut window = Window::new(&*open.file, &path, sealed.bytes, READ_ON_BYTES);
        let (index, reached) = match scan::index_all(&mut window, sealed.base, sealed.interval) {
            Ok(walked) => walked,
            Err(ReadError::Io(failure)) => return Err(failure.into()),
            // Readers will be told, and the rest of the log is not held up by it.
            Err(error @ (ReadError::Corruption(_) | ReadError::OutOfRange { .. })) => {
                tracing::error!(segment = %path.display(), %error, "segment is damaged");
                return Ok(());
            }
        };
        if reached != sealed.next {
            let (dir, start, end) = (self.dir.to_owned(), reached, sealed.next);
            return Err(OpenError::MissingOffsets { dir, start, end });
        }
        sealed.max_timestamp = index.max_timestamp;
        let summary = sealed.summary().expect("a segment that ends after its base has a batch");
        index_file::write(&**self.disk, &path, &summary, &index)
            .map_err(|error| fail("write the index of", error))?;
        Ok(())
    }

    fn open_active(&self, plan: &Plan, end: LogEnd) -> Result<Active, OpenError> {
        let file = self.file(plan.active);
        let interval = self.config.index_interval_bytes.into();
        let Some((bytes, found_bytes)) = plan.active_bytes else {
            return Ok(Active::empty(plan.active, file, interval));
        };
        if found_bytes > bytes {
            self.cut(file.path(), bytes)?;
        }
        Ok(Active::recovered(plan.active, file, interval, (bytes, end.next)))
    }

    /// Cuts off what no checkpoint knows. Not flushed: should it come back while the segment is
    /// active, the next open cuts it again.
    fn cut(&self, path: &Path, bytes: u64) -> Result<(), FileFailure> {
        let file = self
            .disk
            .open(path, OpenMode::ReadWrite)
            .map_err(|error| FileFailure::new("open", path, error))?;
        quipu_failpoint::hit("segment.recover.cut.before");
        file.set_len(bytes).map_err(|error| FileFailure::new("cut", path, error))?;
        quipu_failpoint::hit("segment.recover.cut.after");
        Ok(())
    }
}

/// The handle of a segment's file.
pub(crate) fn segment_file(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    config: &Config,
    base: Offset,
) -> SegmentFile {
    let path = file_name::path(dir, base, Kind::Log);
    SegmentFile::new(Arc::clone(disk), path, config.open_files.clone())
}
