//! What an operator may set.

use std::time::Duration;

/// Settings of a node's journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Bytes of one file, written with zeros in advance. Default 64 MiB: a new file every few
    /// hundred milliseconds at full speed, so that purged space comes back in small steps.
    /// At least 4 KiB.
    pub file_bytes: u64,
    /// Purged files kept for another life, beside the one prepared next. Default 2: a recycled
    /// file saves writing its zeros again.
    pub recycled_files_max: usize,
    /// Payload bytes of all groups kept in memory, newest first; older entries are read from disk.
    /// Default 64 MiB. Entries not yet durable are kept in any case.
    pub tail_bytes_max: usize,
    /// When an entry counts as flushed. Default [`FlushPolicy::Always`].
    pub flush: FlushPolicy,
}

/// When an entry counts as flushed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FlushPolicy {
    /// After `fdatasync`: survives a power cut.
    #[default]
    Always,
    /// After the write; `fdatasync` follows within this time. Entries survive the death of the
    /// process but not a power cut in between. Votes are flushed at once all the same.
    Interval(Duration),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            file_bytes: 64 << 20,
            recycled_files_max: 2,
            tail_bytes_max: 64 << 20,
            flush: FlushPolicy::default(),
        }
    }
}

impl Config {
    /// Checks the bounds of each field.
    ///
    /// # Errors
    /// A sentence that names the field.
    pub fn validate(&self) -> Result<(), String> {
        const FILE_BYTES_MIN: u64 = 4 << 10;
        const FILE_BYTES_MAX: u64 = 4 << 30;
        if !(FILE_BYTES_MIN..=FILE_BYTES_MAX).contains(&self.file_bytes) {
            return Err(format!(
                "journal file-bytes is {}; use {FILE_BYTES_MIN} to {FILE_BYTES_MAX}",
                self.file_bytes
            ));
        }
        if self.flush == FlushPolicy::Interval(Duration::ZERO) {
            return Err("journal flush interval is 0; use the policy \"always\"".to_owned());
        }
        Ok(())
    }
}
