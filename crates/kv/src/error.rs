//! What can go wrong with tables.

use std::path::PathBuf;

use crate::InvalidKey;

/// A call to the tables failed. None of these may be ignored: the caller's process cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum KvError {
    /// Another process, or another handle of this one, has the tables open.
    #[error("tables in {} are in use by another process", dir.display())]
    InUse {
        /// Where they are.
        dir: PathBuf,
    },
    /// The tables were written by a newer release.
    #[error(
        "tables in {} have format {found}, this release reads {known}: start the newer release \
         again, or restore a backup",
        dir.display()
    )]
    NewerFormat {
        /// Where they are.
        dir: PathBuf,
        /// What they have.
        found: u32,
        /// What this release reads.
        known: u32,
    },
    /// Stored bytes contradict their checksum or each other. Never skipped, never repaired here.
    #[error("tables in {} are damaged: {reason}", dir.display())]
    Corruption {
        /// Where they are.
        dir: PathBuf,
        /// What RocksDB or the check said; names the file where known.
        reason: String,
    },
    /// The disk or RocksDB refused.
    #[error("{operation} tables in {}: {reason}", dir.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// Where.
        dir: PathBuf,
        /// What was said.
        reason: String,
    },
}

impl KvError {
    /// Sorts RocksDB's error.
    pub(crate) fn new(
        operation: &'static str,
        dir: &std::path::Path,
        error: &rocksdb::Error,
    ) -> Self {
        let (dir, reason) = (dir.to_owned(), error.to_string());
        if operation == "open" && reason.contains("/LOCK") {
            return Self::InUse { dir };
        }
        if error.kind() == rocksdb::ErrorKind::Corruption {
            return Self::Corruption { dir, reason };
        }
        Self::Io { operation, dir, reason }
    }

    /// A key that no release up to this one writes.
    pub(crate) fn unknown_key(dir: &std::path::Path, invalid: &InvalidKey) -> Self {
        Self::Corruption { dir: dir.to_owned(), reason: invalid.to_string() }
    }
}
