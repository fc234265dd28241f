//! Files that wait: for the next flush, or to be removed.

use std::path::Path;
use std::sync::Arc;

use quipu_disk::DiskFile;

use crate::error::FileFailure;
use crate::open_files::{SegmentFile, WriteFile};
use crate::sealed::Sealed;

/// How far a log's folder has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Folder {
    /// A log that was never appended to has none.
    Missing,
    /// Its name may be lost with the power.
    Unflushed,
    Flushed,
}

/// A file to flush.
#[derive(Debug)]
pub(super) enum Unflushed {
    Log(WriteFile),
    Index(Box<dyn DiskFile>),
}

/// A segment that nobody reads any more.
#[derive(Debug)]
pub(super) struct Retired {
    pub(super) file: Arc<SegmentFile>,
    pub(super) bytes: u64,
}

impl Unflushed {
    pub(super) fn flush(&self, dir: &Path) -> Result<(), FileFailure> {
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
    pub(super) fn of(sealed: &Sealed) -> Self {
        Self { file: Arc::clone(&sealed.file), bytes: sealed.bytes }
    }
}
