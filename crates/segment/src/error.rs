//! What can go wrong, per operation.

use std::io;
use std::path::{Path, PathBuf};

use quipu_types::{Effect, Offset, Retry};

use crate::metrics;

/// A call on a file that failed.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {}: {source}", .file.display())]
pub struct FileFailure {
    /// What was tried, as a verb.
    pub doing: &'static str,
    /// On which file or folder.
    pub file: PathBuf,
    /// What the operating system says.
    pub source: io::Error,
}

impl FileFailure {
    pub(crate) fn new(doing: &'static str, file: &Path, source: io::Error) -> Self {
        Self { doing, file: file.to_owned(), source }
    }
}

/// Bytes on disk are not those that were written. Never skipped, never served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} is damaged at byte {position}: {field} is {found:#x}, expected {expected:#x}", .file.display())]
pub struct Corruption {
    /// The damaged file.
    pub file: PathBuf,
    /// Where the damaged batch begins.
    pub position: u64,
    /// What does not fit.
    pub field: &'static str,
    /// What it should be.
    pub expected: u64,
    /// What it is.
    pub found: u64,
}

impl Corruption {
    /// Names damage, and counts it.
    pub(crate) fn new(
        file: &Path,
        position: u64,
        field: &'static str,
        (expected, found): (u64, u64),
    ) -> Self {
        metrics::count_corruption();
        Self { file: file.to_owned(), position, field, expected, found }
    }
}

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Bytes below the checkpoint's end are not there: the log is never silently shorter.
    #[error("{} has {found_bytes} bytes, the checkpoint needs {expected_bytes}", .file.display())]
    MissingBytes {
        /// The file.
        file: PathBuf,
        /// Bytes it must have.
        expected_bytes: u64,
        /// Bytes it has; 0 when it does not exist.
        found_bytes: u64,
    },
    /// Offsets below the checkpoint's end are in no file.
    #[error("offsets {start} to {end} are missing in {}", .dir.display())]
    MissingOffsets {
        /// The log's folder.
        dir: PathBuf,
        /// First missing offset.
        start: Offset,
        /// Where the missing range ends, exclusive.
        end: Offset,
    },
    /// A file is damaged.
    #[error(transparent)]
    Corruption(#[from] Corruption),
    /// A file cannot be read, cut or removed.
    #[error(transparent)]
    Io(#[from] FileFailure),
}

/// Why a log cannot be written to, flushed or trimmed. The log takes no further writes: what the
/// failed one left is cut off at the next open.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] FileFailure),
    /// An earlier write or flush failed. It is never tried again: pages of a failed flush count as
    /// clean although they never arrived.
    #[error("{} takes no writes since an earlier one failed", .dir.display())]
    Stopped {
        /// The log's folder.
        dir: PathBuf,
    },
}

/// Why a read has no result.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The offset is not in the log: trimmed, or not yet appended.
    #[error("offset {from} is outside of {start} to {end}")]
    OutOfRange {
        /// What was asked for.
        from: Offset,
        /// First offset of the first segment.
        start: Offset,
        /// End of the log, exclusive.
        end: Offset,
    },
    /// The bytes are damaged.
    #[error(transparent)]
    Corruption(#[from] Corruption),
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] FileFailure),
}

impl ReadError {
    /// Reading changes nothing.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        match self {
            Self::OutOfRange { .. } | Self::Corruption(_) | Self::Io(_) => Effect::None,
        }
    }

    /// Another try at the same place gives the same answer.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        match self {
            Self::OutOfRange { .. } | Self::Corruption(_) | Self::Io(_) => Retry::Never,
        }
    }
}
