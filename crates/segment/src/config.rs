//! How a log is cut into files.

use std::time::Duration;

use crate::OpenFiles;

/// Largest segment: bounds what a rebuilt index costs.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// How a log is cut into files. The cut is local: replicas need not agree on it. Every value works:
/// sizes out of bounds are acted on as the nearest one within.
#[derive(Clone, Debug)]
pub struct Config {
    /// A segment is sealed before it grows beyond this. Unit: bytes. Default 128 MiB: retention
    /// works in steps of it, and there is one file per step. At least one batch, at most 1 GiB.
    pub segment_bytes: u64,
    /// A segment is sealed when the next batch is this much younger than its first, by the batches'
    /// timestamps. Default 7 days, as Kafka's.
    pub segment_age_max: Duration,
    /// Between two entries of the index. Unit: bytes. Default 16 KiB: what a read may have to skip,
    /// against 24 bytes of memory per entry. 0: every batch.
    pub index_interval_bytes: u32,
    /// Open files and memory that all logs of a process share: clones of one value share it.
    pub open_files: OpenFiles,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            segment_bytes: 128 << 20,
            segment_age_max: Duration::from_secs(7 * 24 * 3600),
            index_interval_bytes: 16 << 10,
            open_files: OpenFiles::default(),
        }
    }
}

impl Config {
    /// The size that is acted on.
    pub(crate) fn segment_bytes(&self) -> u64 {
        self.segment_bytes.min(SEGMENT_BYTES_MAX)
    }

    /// The age that is acted on, in milliseconds.
    pub(crate) fn segment_age_ms(&self) -> i64 {
        i64::try_from(self.segment_age_max.as_millis()).unwrap_or(i64::MAX)
    }
}
